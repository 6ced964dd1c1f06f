"""Writing tensors to safetensors files, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from thetascope.errors import RecordingError
from thetascope.files import write_atomically


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], *, sweep: bool = False) -> None:
    """Write `tensors` (contiguous, on the CPU) to `path`, whole or not at all; with `sweep` what was left beside it is removed.

    Raises:
        RecordingError: safetensors files know no such dtype.
        OSError: the file cannot be written (a full disk, say).
    """

    def write(partial: Path) -> None:
        partial.touch()
        mode = partial.stat().st_mode
        try:
            save_file(dict(tensors), partial)
        except SafetensorError as error:
            raise OSError(f'"{path}" could not be written: {error}') from error
        except KeyError as error:
            names = ", ".join(f'"{name}"' for name, tensor in tensors.items() if tensor.dtype == error.args[0])
            raise RecordingError(
                f"states are kept in safetensors files, which hold no {error}: convert {names} to another dtype"
            ) from error
        partial.chmod(mode)  # save_file makes a file that nobody but its owner may read

    write_atomically(path, write, sweep=sweep)  # the Recorder sweeps its folder when it opens it
