"""What every kind of checkpoint is opened as, and what a kind has to say of itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from thetascope.errors import CheckpointError
from thetascope.state import TensorSource

LONGEST_NAME, SHOWN_NAMES = 80, 8
"""Of names that messages show: so many letters, and so many names."""


@dataclass(frozen=True)
class How:
    """How checkpoints are read.

    Attributes:
        key: where in a checkpoint the state dict lies; the parts of nested ones are joined by dots.
        prefix: of names: others are left out, and it itself.
        allow: classes that weights-only loading may build.
        ignore: names and globs of tensors that are left out.
        base: the tensors that adapters and trainable-only files stand upon.
    """

    key: str | None = None
    prefix: str | None = None
    allow: tuple[str | type, ...] = ()
    ignore: tuple[str, ...] = ()
    base: TensorSource | None = None


@dataclass(frozen=True)
class Moment:
    """When in a training a state was: what is known of it, and from where."""

    step: int | None = None
    epoch: float | None = None

    def completed(self, other: Moment) -> Moment:
        """This one, what is not known of it taken from another."""
        return Moment(other.step if self.step is None else self.step, other.epoch if self.epoch is None else self.epoch)


@dataclass(frozen=True)
class Opened:
    """One state as it lies on the disk.

    Attributes:
        path: the file or the folder.
        source: its tensors, read when they are asked for.
        kind: what it is, for people: "safetensors", "PEFT adapter".
        files: in how many files its tensors lie.
        own: when it was, as its own files say.
        metrics: what its own files say was measured then.
        adapter: of an adapter, its configuration.
    """

    path: Path
    source: TensorSource
    kind: str
    files: int = 1
    own: Moment = Moment()
    metrics: Mapping[str, float] = field(default_factory=dict)
    adapter: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Format:
    """A kind of checkpoint.

    Attributes:
        name: for people.
        recognises: whether a file or folder is of this kind, by its content.
        open: of one that is; raises CheckpointError where it is damaged or refused.
    """

    name: str
    recognises: Callable[[Path], bool]
    open: Callable[[Path, How], Opened]


def shortened(name: object) -> str:
    """A name out of a file as messages show it: no longer than a line, whatever the file says."""
    text = name if isinstance(name, str) else str(name) if isinstance(name, int | float) else f"a {type(name).__name__}"
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"


def listed(names: Iterable[object]) -> str:
    """The first few names, and how many more there are."""
    every = list(names)
    shown = ", ".join(f'"{shortened(name)}"' if isinstance(name, str) else shortened(name) for name in every[:SHOWN_NAMES])
    return shown if len(every) <= SHOWN_NAMES else f"{shown} and {len(every) - SHOWN_NAMES} more"


def inside(folder: Path, name: object, said_by: Path) -> Path:
    """The file of that name in a folder, as another file names it.

    A link is followed within the folder only, and to the `blobs` beside Hugging Face's snapshots, which hold all of a snapshot's files.

    Raises:
        CheckpointError: the name, or a link, leads out of the folder.
    """
    if not isinstance(name, str) or not name or "\0" in name or name in (".", "..") or set(name) & set("/\\") or Path(name).is_absolute():
        raise CheckpointError(f'"{said_by}" names {listed([name])}, which is no file of its own folder; nothing else is read. Restore it')
    path = folder / name
    check_inside(folder, path)
    return path


def check_inside(folder: Path, path: Path) -> None:
    """Whether a file lies in a folder also once links are followed.

    Raises:
        CheckpointError: it lies elsewhere.
    """
    try:
        home, place = folder.resolve(), path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f'"{path}" cannot be followed ({error}); restore it') from error
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    if not (place.is_relative_to(home) or place.is_relative_to(blobs)):
        raise CheckpointError(f'"{path}" is a link that leads out of its folder; put the file itself there, or pass the files as a list')


def dense_problem(tensors: Mapping[str, Tensor]) -> str:
    """Why no state can be made of some tensors; nothing where one can."""
    sharded = [name for name, tensor in tensors.items() if type(tensor).__name__ in ("DTensor", "ShardedTensor")]
    if sharded:
        return SHARDED
    odd = [name for name, tensor in tensors.items() if type(tensor) not in PLAIN and hasattr(tensor, "__tensor_flatten__")]
    if odd:
        return f"holds quantised tensors: {listed(odd)}. {DEQUANTISE}"
    return quantised_problem(tensors)


PLAIN: Sequence[type] = (Tensor,)
SHARDED = (
    "holds one process's part of sharded tensors (DTensor), not a state. Pass the folder of torch.distributed.checkpoint, or save whole "
    "tensors: get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))"
)
DEQUANTISE = "Save the weights before they were quantised, or dequantised (in transformers model.dequantize())"
_QUANTISED = (".qweight", ".qzeros", ".SCB", ".absmax", ".weight_packed", "_scale_inv", ".quant_map", ".nested_absmax")


def quantised_problem(names: Iterable[str]) -> str:
    """What is said of names that only quantised weights have (bitsandbytes, GPTQ, AWQ, FP8 with scales)."""
    odd = [name for name in names if name.endswith(_QUANTISED) or ".quant_state." in name]
    return f"holds quantised weights: {listed(odd)}. {DEQUANTISE}" if odd else ""


SHARD = re.compile(r"(.*)-\d{5}-of-(\d{5})(\.\w+)$")


def check_whole(path: Path) -> None:
    """Whether a file is no shard of a state that lies in several.

    Raises:
        CheckpointError: it is one.
    """
    found = SHARD.match(path.name)
    if found and int(found[2]) > 1:
        index = f"{found[1]}{found[3]}.index.json"
        raise CheckpointError(
            f'"{path}" is one of {int(found[2])} parts of one state. Pass their index, "{path.with_name(index)}", or their folder'
        )
