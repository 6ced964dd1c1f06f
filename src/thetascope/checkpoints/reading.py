"""Checkpoints as states: which files there are, in which order, and when in the training each was."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from torch import Tensor

from thetascope.checkpoints.folders import natural_key, states_in
from thetascope.checkpoints.formats import base_of, open_checkpoint
from thetascope.checkpoints.hugging_face import trainer_state
from thetascope.checkpoints.moments import moment_in_name
from thetascope.checkpoints.opened import How, Moment, Opened
from thetascope.errors import CheckpointError, TrajectoryError
from thetascope.files import distinct_names
from thetascope.state import State

PathLike = str | os.PathLike[str]

GIVEN, OWN, BESIDE, NAMES = "as given", "the files' own", "trainer_state.json", "the names of the files"
"""Where steps and epochs come from."""
SAME = ("last", "best")
"""Names of files that repeat another state of the same folder begin so."""


@dataclass(frozen=True)
class Reading:
    """How files are read; `checkpoints.opened.How` says what each means."""

    key: str | None = None
    prefix: str | None = None
    allow: Sequence[str | type] = ()
    ignore: Sequence[str] = ()
    base: PathLike | Mapping[str, Tensor] | None = None

    def how(self) -> How:
        """The same with the base opened."""
        for name, given, what in (("allow", self.allow, "class names"), ("ignore", self.ignore, "names or globs")):
            if isinstance(given, str):
                raise CheckpointError(f'{name} must be a list of {what}, got the string "{given}": write ["{given}"]')
        return How(self.key, self.prefix, tuple(self.allow), tuple(self.ignore), base_of(self.base, tuple(self.allow)))


@dataclass(frozen=True)
class ReadStates:
    """States, where they come from, and what is to be said of that."""

    states: list[State]
    origin: str
    folder: Path | None
    notes: Mapping[str, str]


@dataclass(frozen=True)
class _Dated:
    """A checkpoint, and when it was: by its own files, by what lies beside it, by its name."""

    opened: Opened
    sources: Mapping[str, Moment]
    metrics: Mapping[str, float]

    @property
    def moment(self) -> Moment:
        found = Moment()
        for moment in self.sources.values():
            found = found.completed(moment)
        return found

    def source_of(self, name: str) -> str:
        return next((source for source, moment in self.sources.items() if getattr(moment, name) is not None), "")


def read_states(
    paths: PathLike | Iterable[PathLike], steps: Sequence[int] | None, epochs: Sequence[float] | None, reading: Reading
) -> ReadStates:
    """Open checkpoints in their order.

    Raises:
        CheckpointError: one is missing, damaged or refused.
        TrajectoryError: there is none, or what is known of their order contradicts it.
    """
    places, folder = _places(paths)
    how = reading.how()
    dated = [_dated(open_checkpoint(place, how)) for place in places]
    left_out: list[str] = []
    if folder is not None:
        dated, left_out = _ordered(folder, dated)
    for name, given in (("steps", steps), ("epochs", epochs)):
        if given is not None and len(given) != len(dated):
            raise TrajectoryError(f"{name} must hold one value per state: expected {len(dated)}, got {len(given)}")
    labels = distinct_names([each.opened.path for each in dated])
    known_steps, from_steps = _known("step", dated, steps, labels)
    known_epochs, from_epochs = _known("epoch", dated, epochs, labels, rising=known_steps is None)
    states = [
        State(
            each.opened.source,
            label=f'"{label}"',
            step=None if known_steps is None else int(known_steps[i]),
            epoch=None if known_epochs is None else known_epochs[i],
            metrics=each.metrics,
        )
        for i, (each, label) in enumerate(zip(dated, labels, strict=True))
    ]
    homes = {each.opened.path.absolute().parent for each in dated}
    home = folder.absolute() if folder is not None else homes.pop() if len(homes) == 1 else None
    notes = {"steps": from_steps, "epochs": from_epochs, "tensors": _kinds(dated)}
    if left_out:
        notes["tensors"] += f"; left out, as another file holds the same step: {', '.join(left_out)}"
    if any(each.metrics for each in dated):
        notes["metrics"] = BESIDE
    return ReadStates(states, _origin(folder, dated), home, {name: note for name, note in notes.items() if note})


def _places(paths: PathLike | Iterable[PathLike]) -> tuple[list[Path], Path | None]:
    """The files and folders that hold a state each; and the folder, where they were found in one."""
    given = [Path(paths)] if isinstance(paths, str | os.PathLike) else [Path(path) for path in paths]
    if len(given) == 1:
        if not given[0].exists():
            raise TrajectoryError(f'"{given[0]}" does not exist; pass a list of files or a folder of them')
        if given[0].is_dir():
            found = states_in(given[0])
            return list(found.places), None if found.is_one else given[0]
    return given, None


def _dated(opened: Opened) -> _Dated:
    """When a checkpoint was. What it says itself comes first, then what lies in its folder, then its name, then its folder's."""
    path = opened.path
    beside, metrics = (Moment(), dict[str, float]()) if path.is_dir() else trainer_state(path.parent)
    own = BESIDE if path.is_dir() and opened.own != Moment() and (path / BESIDE).is_file() else OWN
    sources = {own: opened.own, **({BESIDE: beside} if own != BESIDE else {}), NAMES: moment_in_name(path).completed(_of_folder(path))}
    return _Dated(opened, sources, {**metrics, **opened.metrics})


def _of_folder(path: Path) -> Moment:
    return Moment() if path.is_dir() else moment_in_name(path.parent)


def _ordered(folder: Path, dated: list[_Dated]) -> tuple[list[_Dated], list[str]]:
    """A folder's states in the order of their steps, or epochs, or names; and those that are there twice."""
    dated = sorted(dated, key=lambda each: natural_key(each.opened.path))
    for name in ("step", "epoch"):
        times = [getattr(each.moment, name) for each in dated]
        if all(time is not None for time in times) and len(set(times)) > 1:
            in_order = sorted(dated, key=lambda each: getattr(each.moment, name))
            kept = [each for each in in_order if not _is_repeated(each, in_order, name)]
            return kept, [each.opened.path.name for each in in_order if each not in kept]
    return dated, []


def _is_repeated(one: _Dated, every: Sequence[_Dated], name: str) -> bool:
    """Whether it is called last or best, and another of the same step has a name of its own."""
    same = [other for other in every if getattr(other.moment, name) == getattr(one.moment, name)]
    plain = [other for other in same if not other.opened.path.name.lower().startswith(SAME)]
    return (bool(plain) and one not in plain) or (not plain and one is not same[0])


def _known(
    name: str, dated: Sequence[_Dated], given: Sequence[float] | None, labels: Sequence[str], *, rising: bool = True
) -> tuple[list[float] | None, str]:
    """The steps or epochs, if all are known, and from where. Where all are the same, they are not those of one training.

    Raises:
        TrajectoryError: what files or names say falls, or is twice the same.
    """
    if given is not None:
        return list(given), GIVEN
    found = [getattr(each.moment, name) for each in dated]
    if any(time is None for time in found) or (len(found) > 1 and len(set(found)) == 1):
        return None, ""
    sources = list(dict.fromkeys(each.source_of(name) for each in dated))
    for place, (earlier, later) in enumerate(pairwise(found)):
        if later < earlier or (later == earlier and name == "step"):
            if not rising:
                return None, ""
            twice = "the same twice" if later == earlier else f"not in order: {later:g} follows {earlier:g}"
            raise TrajectoryError(
                f'the {name}s of "{labels[place]}" and "{labels[place + 1]}" are {twice} (from {" and ".join(sources)}). List the states '
                f"in the order of the training, each once, or say {name}s="
            )
    return found, f"from {' and '.join(sources)}"


def _kinds(dated: Sequence[_Dated]) -> str:
    """Of which kinds the checkpoints are, and in how many files they lie."""
    kinds = ", ".join(dict.fromkeys(each.opened.kind for each in dated))
    files = sum(each.opened.files for each in dated)
    return kinds if files == len(dated) else f"{kinds}, in {files} files"


def _origin(folder: Path | None, dated: Sequence[_Dated]) -> str:
    if folder is not None:
        return f'"{folder}"'
    return f'"{dated[0].opened.path}"' if len(dated) == 1 else f"{len(dated)} files"
