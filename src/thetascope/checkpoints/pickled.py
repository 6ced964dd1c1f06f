"""Files of torch.save, whatever they are called: mapped once, and read a tensor at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from thetascope.checkpoints.contents import check_tensors, moment_in, state_dict_in
from thetascope.checkpoints.open_files import OPEN_FILES
from thetascope.checkpoints.opened import Format, How, Moment, Opened, check_whole
from thetascope.checkpoints.weights_only import LEGACY, ZIP, is_zip, load_weights_only
from thetascope.errors import CheckpointError
from thetascope.state import TensorSpec


class PickledSource:
    """The state dict inside one file of torch.save, which stays mapped while it is read."""

    def __init__(self, path: Path, *, key: str | None, allow: Sequence[str | type]) -> None:
        self.path, self._key, self._allow = path, key, tuple(allow)
        self.specs: Mapping[str, TensorSpec] = {name: TensorSpec.of(tensor) for name, tensor in self._tensors().items()}

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Copies of the tensors `names`, on the CPU."""
        tensors = self._tensors()
        absent = [name for name in names if name not in tensors]
        if absent:
            raise CheckpointError(f'"{self.path}" changed since it was opened: it now lacks {", ".join(absent)}')
        return {name: tensors[name].detach().clone() for name in names}

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        """Some values of one tensor; of a mapped file no others are read."""
        return self._tensors()[name].detach().reshape(-1)[start:stop].clone()

    @property
    def moment(self) -> Moment:
        """When the file was written, as it says itself."""
        return self._opened()[1]

    def _tensors(self) -> dict[str, Tensor]:
        return self._opened()[0]

    def _opened(self) -> tuple[dict[str, Tensor], Moment]:
        found: tuple[dict[str, Tensor], Moment] = OPEN_FILES.content(self.path, (self._key, self._allow), self._load)
        return found

    def _load(self) -> tuple[Any, int]:
        content, size = load_weights_only(self.path, self._allow), self.path.stat().st_size
        tensors = state_dict_in(content, self._key, self.path)
        check_tensors(tensors, self.path, size)
        return (tensors, moment_in(content)), 0 if is_zip(self.path) else size


def _recognised(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(len(LEGACY))
    # damaged ones, and what pickle alone wrote, are told as such
    return head.startswith(ZIP) or head == LEGACY or path.suffix in SUFFIXES


SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".tar")
"""What torch.save's files are mostly called."""


def _opened(path: Path, how: How) -> Opened:
    check_whole(path)
    source = PickledSource(path, key=how.key, allow=how.allow)
    return Opened(path, source, "torch.save", own=source.moment)


PICKLED = Format("a file of torch.save", _recognised, _opened)
