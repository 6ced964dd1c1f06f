"""A trajectory: the states of one training in order, read lazily."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import overload

from torch import Tensor

from thetascope.errors import TrajectoryError
from thetascope.recording.checkpoints import SUFFIXES, open_checkpoint
from thetascope.recording.run_directory import RunDirectory
from thetascope.state import ParameterSpace, State
from thetascope.state.names import fitted_names, ways_to_strip

PathLike = str | os.PathLike[str]


class Trajectory(Sequence[State]):
    """The states of one training in the order of their steps.

    Args:
        path: a run directory that a Recorder wrote.

    Raises:
        RecordingError: the directory is not one, or is damaged.
        TrajectoryError: it holds no state.

    Example:
        >>> trajectory = ts.Trajectory("runs/digits")
        >>> len(trajectory), trajectory[-1].step, trajectory.at(0.5).step
        (11, 280, 140)
    """

    def __init__(self, path: PathLike) -> None:
        self._set(RunDirectory.open(Path(path)).states(), f'"{path}"', Path(path).absolute())

    @classmethod
    def from_files(
        cls,
        paths: PathLike | Iterable[PathLike],
        steps: Sequence[int] | None = None,
        epochs: Sequence[float] | None = None,
        key: str | None = None,
        prefix: str | None = None,
        allow: Sequence[str | type] = (),
    ) -> Trajectory:
        """A trajectory of checkpoint files: .safetensors, or what torch.save wrote (.pt, .pth, .ckpt, .bin, .tar).

        Args:
            paths: the files, or one folder of them. Names that differ only in their numbers are put into natural
                order (epoch9 before epoch10); a list of other names (first.pt, last.pt) keeps its own.
            steps: one per file, in the order of `paths`; the states are then ordered by them.
            epochs: one per file, in the order of `paths`.
            key: where in a checkpoint the state dict lies, if not at the top or under state_dict, model,
                model_state_dict or net.
            prefix: take only names that start so, and leave it out.
            allow: classes that weights-only loading may build, such as "argparse.Namespace".

        Raises:
            CheckpointError: a file is missing, damaged or refused. Nothing in a refused file is run.
            TrajectoryError: the files hold states of different models; every difference is listed.

        Example:
            >>> torch.save(Net().state_dict(), "epoch0.pt")
            >>> torch.save({"state_dict": model.state_dict(), "epoch": 5}, "epoch5.pt")
            >>> ts.Trajectory.from_files(["epoch0.pt", "epoch5.pt"], epochs=[0, 5]).epochs
            [0.0, 5.0]
        """
        files = _files_of(paths)
        labelled = _arranged(files, steps, epochs)
        states = []
        for file, step, epoch in labelled:
            source = open_checkpoint(file, key=key, prefix=prefix, allow=allow)
            states.append(State(source, label=f'"{file.name}"', step=step, epoch=epoch))
        folders = {file.absolute().parent for file in files}
        return cls._of(states, f"{len(files)} files", folders.pop() if len(folders) == 1 else None)

    @classmethod
    def from_states(
        cls, states: Iterable[Mapping[str, Tensor]], steps: Sequence[int] | None = None, epochs: Sequence[float] | None = None
    ) -> Trajectory:
        """A trajectory of state dicts in memory. They are kept, not copied: pass copies of a live model's.

        Raises:
            TrajectoryError: there is none, they differ in names or shapes, or steps do not rise.

        Example:
            >>> ts.Trajectory.from_states([Net().state_dict(), model.state_dict()], steps=[0, 100]).steps
            [0, 100]
        """
        given = list(states)
        _check_count("steps", steps, len(given))
        _check_count("epochs", epochs, len(given))
        made = []
        for i, state in enumerate(given):
            step = None if steps is None else int(steps[i])
            epoch = None if epochs is None else float(epochs[i])
            made.append(_placed(state, f"state {i}", step, epoch))
        return cls._of(made, "memory" if made else "the list of states")

    @classmethod
    def _of(cls, states: Sequence[State], origin: str, folder: Path | None = None) -> Trajectory:
        trajectory = cls.__new__(cls)
        trajectory._set(_unified(states), origin, folder)
        return trajectory

    def _set(self, states: Sequence[State], origin: str, folder: Path | None) -> None:
        if not states:
            raise TrajectoryError(f"{origin} holds no state yet; record one, or pass the checkpoints of a training")
        self._states, self._origin, self._folder = tuple(states), origin, folder
        recorded = [state.step for state in states if state.step is not None]
        self.steps: list[int] = recorded if len(recorded) == len(states) else list(range(len(states)))
        epochs = [state.epoch for state in states if state.epoch is not None]
        self.epochs: list[float] = epochs if len(epochs) == len(states) else list(map(float, range(len(states))))
        for earlier, later in pairwise(self.steps):
            if later <= earlier:
                raise TrajectoryError(f"steps must rise from state to state; {later} follows {earlier} in {self.steps}")

    @property
    def run(self) -> Path | None:
        """The run directory that the states were recorded in; None where they come from elsewhere."""
        return self._states[0].run

    @property
    def folder(self) -> Path | None:
        """Where the states lie: the run directory, or the one folder of all checkpoint files; None for states in memory."""
        return self._folder

    def progress(self, index: int) -> float:
        """How far state `index` is in the training: 0 at the first step, 1 at the last."""
        first, last = self.steps[0], self.steps[-1]
        return 0.0 if first == last else (self.steps[index] - first) / (last - first)

    def index_at(self, fraction: float) -> int:
        """The index of the state nearest to `fraction` of the progress; of two equally near ones the earlier."""
        if not 0 <= fraction <= 1:
            raise TrajectoryError(f"progress lies between 0 (first state) and 1 (last). Got {fraction} instead.")
        target = self.steps[0] + fraction * (self.steps[-1] - self.steps[0])
        # rounded, because halves of steps are rarely exact fractions, and a tie may not turn on the last bit
        return min(range(len(self)), key=lambda i: (round(abs(self.steps[i] - target), 6), i))

    def at(self, fraction: float) -> State:
        """The state nearest to `fraction` of the progress in steps; of two equally near ones the earlier."""
        return self[self.index_at(fraction)]

    def __len__(self) -> int:
        return len(self._states)

    @overload
    def __getitem__(self, index: int) -> State: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[State]: ...
    def __getitem__(self, index: int | slice) -> State | Sequence[State]:
        if isinstance(index, int) and not -len(self) <= index < len(self):
            raise IndexError(f"state {index} of a trajectory of {len(self)} states")
        return self._states[index]

    def __iter__(self) -> Iterator[State]:
        return iter(self._states)

    def __repr__(self) -> str:
        specs = self._states[0].specs
        metrics = dict.fromkeys(name for state in self._states for name in state.metrics)
        return (
            f"Trajectory: {len(self)} states from {self._origin}\n"
            f"  steps    {_few(self.steps)}\n"
            f"  epochs   {_few(self.epochs)}\n"
            f"  metrics  {', '.join(metrics) or 'none recorded'}\n"
            f"  tensors  {len(specs)}, {sum(spec.size for spec in specs.values()):,} values"
        )


def _few(numbers: Sequence[float]) -> str:
    """The first three and the last two."""
    texts = [f"{number:g}" if isinstance(number, float) else f"{number:,}" for number in numbers]
    return ", ".join(texts if len(texts) <= 6 else [*texts[:3], "…", *texts[-2:]])


def _placed(state: Mapping[str, Tensor], label: str, step: int | None, epoch: float | None) -> State:
    """`state` with this step and epoch; a State keeps what it knows where they are None."""
    if not isinstance(state, State):
        return State.of(state, label=label, step=step, epoch=epoch)
    if step is None and epoch is None:
        return state
    placed = state.renamed({name: name for name in state.specs})
    placed.step = state.step if step is None else step
    placed.epoch = state.epoch if epoch is None else epoch
    return placed


def _unified(states: Sequence[State]) -> list[State]:
    """Give all states the names of the first, wrappers' prefixes left out where they must be, or say all that differs."""
    if not states:
        return []
    problem = ""
    for names in ways_to_strip(states[0].specs):
        space = ParameterSpace({new: states[0].specs[old] for new, old in names.items()})
        unified = [_fitted(state, space) for state in states]
        differences = [(i, space.compare(state.specs)) for i, state in enumerate(unified)]
        wrong = next(((i, difference) for i, difference in differences if difference), None)
        if wrong is None:
            return unified
        i, difference = wrong
        problem = problem or (
            f"state {i} ({states[i].label}) {difference.describe()}; expected the names and shapes of state 0 ({states[0].label})"
        )
    raise TrajectoryError(problem)


def _fitted(state: State, space: ParameterSpace) -> State:
    names = fitted_names(state.specs, space)
    return state if all(new == old for new, old in names.items()) else state.renamed(names)


def _files_of(paths: PathLike | Iterable[PathLike]) -> list[Path]:
    if not isinstance(paths, str | os.PathLike):
        return [Path(path) for path in paths]
    folder = Path(paths)
    if not folder.exists():
        raise TrajectoryError(f'"{folder}" does not exist; pass a list of files or a folder of them')
    if folder.is_file():
        return [folder]
    files = [file for file in folder.glob("*") if file.suffix in SUFFIXES]
    if not files:
        raise TrajectoryError(f'"{folder}" holds no checkpoint files ({", ".join(SUFFIXES)}); pass a list of files or a folder of them')
    return sorted(files, key=_natural_key)


def _natural_key(path: Path) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", str(path)) if part]


def _arranged(
    files: list[Path], steps: Sequence[int] | None, epochs: Sequence[float] | None
) -> list[tuple[Path, int | None, float | None]]:
    _check_count("steps", steps, len(files))
    _check_count("epochs", epochs, len(files))
    rows = [(file, None if steps is None else int(steps[i]), None if epochs is None else float(epochs[i])) for i, file in enumerate(files)]
    if steps is not None:
        return sorted(rows, key=lambda row: row[1] or 0)
    # names that differ in more than their numbers carry an order that only their list knows
    skeletons = {re.sub(r"\d+", "0", str(file)) for file in files}
    return sorted(rows, key=lambda row: _natural_key(row[0])) if len(skeletons) == 1 else rows


def _check_count(name: str, given: Sequence[object] | None, expected: int) -> None:
    if given is not None and len(given) != expected:
        raise TrajectoryError(f"{name} must hold one value per state: expected {expected}, got {len(given)}")
