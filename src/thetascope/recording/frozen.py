"""What `trainable_only` writes once: which tensors those are, and whether they are still as they were written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from thetascope.errors import RecordingError
from thetascope.recording.ranks import Ranks
from thetascope.recording.run_directory import RunDirectory
from thetascope.recording.run_files import FROZEN_FILE
from thetascope.recording.safetensors_files import SafetensorsSource
from thetascope.state import ParameterSpace, digest_of, digest_of_source
from thetascope.state.written import write_safetensors


class FrozenTensors:
    """The tensors that were written once and were not changed since, with the versions in which they were written."""

    def __init__(self, versions: Mapping[str, int]) -> None:
        self._versions = dict(versions)

    @classmethod
    def write(cls, folder: Path, tensors: Mapping[str, Tensor], space: ParameterSpace, ranks: Ranks) -> tuple[FrozenTensors, str]:
        """Write the parameters that require no gradient; with their digest."""
        frozen = {n: p for n, p in tensors.items() if not p.requires_grad and n in space.parameters}
        copies = ranks.copied(frozen)
        write_safetensors(folder / FROZEN_FILE, copies)
        return cls({name: tensor._version for name, tensor in frozen.items()}), digest_of(copies)

    @classmethod
    def compared(cls, run: RunDirectory, tensors: Mapping[str, Tensor], ranks: Ranks) -> FrozenTensors:
        """Those of an earlier recording. What was written once must still be so, or a state would mix two models.

        Raises:
            RecordingError: a frozen tensor differs, or the file that holds them was altered.
        """
        written = SafetensorsSource(run.path / FROZEN_FILE)
        if run.frozen_digest not in (None, digest_of_source(written)):
            raise RecordingError(f'"{written.path}" does not hold what was written; restore it from a copy')
        newest = [SafetensorsSource(run.state_path(record.ordinal)) for record in run.read_log().stored[-1:]]
        versions = {}
        for name in written.specs:
            if tensors[name].requires_grad:
                continue
            if digest_of(written.read([name])) == digest_of(ranks.whole({name: tensors[name]})):
                versions[name] = tensors[name]._version
            elif not any(name in state.specs for state in newest):  # else it was trained meanwhile
                raise RecordingError(
                    f'the frozen "{name}" differs from the one "{run.path}" holds; load the same frozen values before '
                    "recording on, or record into a new directory"
                )
        return cls(versions)

    def without(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What a state's own file must hold: what is or ever was trainable, and all buffers."""
        for name in list(self._versions):
            if tensors[name].requires_grad or tensors[name]._version != self._versions[name]:
                del self._versions[name]
        return {name: tensor for name, tensor in tensors.items() if name not in self._versions}
