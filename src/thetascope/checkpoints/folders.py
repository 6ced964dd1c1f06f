"""Which states lie in a folder: its checkpoints, each once, and nothing that is none (optimizers, schedulers, random states)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from thetascope.checkpoints.formats import RUN_FILE, format_of
from thetascope.checkpoints.opened import SHARD, check_inside
from thetascope.checkpoints.pickled import SUFFIXES as PICKLED_SUFFIXES
from thetascope.checkpoints.safetensors_alone import SUFFIX as SAFETENSORS_SUFFIX
from thetascope.checkpoints.safetensors_alone import is_safetensors
from thetascope.checkpoints.shards import SUFFIX as INDEX_SUFFIX
from thetascope.checkpoints.weights_only import holds_pickle
from thetascope.errors import TrajectoryError

SUFFIXES = (SAFETENSORS_SUFFIX, *PICKLED_SUFFIXES)
BELOW = ("checkpoints",)
"""Where Lightning puts them, in a logger's folder."""
_BESIDE = re.compile(r"(optimizer|scheduler|scaler|rng_state.*|training_args|random_states.*|.*_optim_states|optim.*|sampler.*)\.\w+$")
"""Files beside checkpoints that hold no model."""


@dataclass(frozen=True)
class StatesFound:
    """The states in a folder, in the order of their names, and whether that was the whole folder or one state."""

    places: tuple[Path, ...]
    is_one: bool


def states_in(folder: Path) -> StatesFound:
    """The files and folders that hold a state each.

    Raises:
        TrajectoryError: there is none, or the folder is a run directory.
    """
    if (folder / RUN_FILE).is_file() and (folder / "states").is_dir():
        raise TrajectoryError(f'"{folder}" is a run directory; open it with ts.Trajectory("{folder}")')
    entries = sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=natural_key)
    many = [entry for entry in entries if entry.is_dir() and _is_moment(entry)]
    if many:
        return StatesFound(_inside(folder, many), is_one=False)
    if format_of(folder) is not None:
        return StatesFound((folder,), is_one=True)
    files = [entry for entry in entries if _is_state(entry)]
    folders = [entry for entry in entries if entry.is_dir() and format_of(entry) is not None]
    if files or folders:
        return StatesFound(_inside(folder, sorted([*files, *folders], key=natural_key)), is_one=False)
    for name in BELOW:
        if (folder / name).is_dir():
            return states_in(folder / name)
    runs = [entry for entry in entries if (entry / RUN_FILE).is_file()]
    if runs:
        raise TrajectoryError(f'"{folder}" holds run directories; open one of them, such as ts.Trajectory("{runs[0]}")')
    kinds = f"folders of checkpoints (checkpoint-500, …), or files ({', '.join(SUFFIXES)}, or any that torch.save wrote)"
    raise TrajectoryError(f'"{folder}" holds no checkpoint files; looked for {kinds}. Pass a list of files or a folder of them')


def _is_moment(folder: Path) -> bool:
    """Whether a folder is a checkpoint of a training, as its name says: checkpoint-500, global_step500."""
    return bool(re.search(r"(checkpoint|step|epoch|iter)[-_=]?\d+", folder.name)) and format_of(folder) is not None


def _is_state(path: Path) -> bool:
    if not path.is_file() or _BESIDE.fullmatch(path.name) or SHARD.match(path.name):
        return False
    return path.suffix in SUFFIXES or path.name.endswith(INDEX_SUFFIX) or _holds_tensors(path)


def _holds_tensors(path: Path) -> bool:
    """Whether a file of another suffix is one of torch.save or safetensors."""
    return is_safetensors(path) or holds_pickle(path)


def _inside(folder: Path, entries: Iterable[Path]) -> tuple[Path, ...]:
    found = tuple(entries)
    for entry in found:
        check_inside(folder, entry)
    return found


def natural_key(path: Path) -> list[tuple[int, int | str]]:
    """epoch9 before epoch10."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", str(path)) if part]
