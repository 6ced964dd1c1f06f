"""A trajectory: the states of one training in order, read lazily."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, overload

from torch import Tensor

from thetascope.checkpoints.histories import History, Metrics, read_history
from thetascope.checkpoints.reading import PathLike, Reading, read_states
from thetascope.errors import TrajectoryError
from thetascope.files import is_locked
from thetascope.recording.run_directory import RunDirectory
from thetascope.shown import shown
from thetascope.state import ParameterSpace, State
from thetascope.state.names import fit, ways_to_strip, ways_within

Clock = Literal["step", "epoch", "state"]


class Trajectory(Sequence[State]):
    """The states of one training in the order of their steps; or states of which no step is known, in the order given.

    Args:
        path: a run directory that a Recorder wrote.

    Attributes:
        steps: of the optimizer, one a state; None where that of any is not known.
        epochs: one a state, fractions of epochs too; None where that of any is not known.
        clock: what `progress` counts: "step", or "epoch" where only they are known, or "state": the states themselves, evenly.

    Raises:
        RecordingError: the directory is not one, or is damaged.
        TrajectoryError: it holds no state.

    Example:
        >>> trajectory = ts.Trajectory("runs/digits")
        >>> len(trajectory), trajectory[-1].step, trajectory.at(0.5).step
        (11, 280, 140)
    """

    def __init__(self, path: PathLike) -> None:
        goes_on = ", which is being recorded into" if is_locked(Path(path)) else ""
        self._set(RunDirectory.open(Path(path)).states(), f'"{path}"{goes_on}', Path(path).absolute())

    @classmethod
    def from_files(
        cls,
        paths: PathLike | Iterable[PathLike],
        steps: Sequence[int] | None = None,
        epochs: Sequence[float] | None = None,
        key: str | None = None,
        prefix: str | None = None,
        allow: Sequence[str | type] = (),
        ignore: Sequence[str] = (),
        base: PathLike | Mapping[str, Tensor] | None = None,
    ) -> Trajectory:
        """A trajectory of checkpoints, whatever wrote them and whatever they are called.

        Read are files of torch.save and safetensors under any name, states in several files by their index, folders of
        torch.distributed.checkpoint, DeepSpeed's checkpoints, and PEFT's adapters on their base.

        Args:
            paths: a list keeps its order, that of the training. A folder: the output of Hugging Face's Trainer (checkpoint-500, …), the
                checkpoints of Lightning (last.ckpt once), any other folder of checkpoints, or one checkpoint that is a folder.
                Its states come in the order of their steps or epochs, where these are known, else of their names.
            steps: one a state, in that order. Where not given, what the files say themselves (global_step, step, trainer_state.json),
                else what names say (checkpoint-500, step=120); else None.
            epochs: one a state, in that order; where not given, as steps (epoch; epoch=3, epoch3).
            key: where in a checkpoint the state dict lies, nested with dots ("nets.G"), if not at the top or under state_dict, model,
                model_state_dict, net or module.
            prefix: take only names that start so, and leave it out.
            allow: classes that weights-only loading may build, such as "argparse.Namespace".
            ignore: names or globs of tensors that are left out.
            base: for PEFT's adapters, and for files that hold only what was trained: the base model's file, folder or state dict.

        Raises:
            CheckpointError: a file is missing, damaged or refused. Nothing in a refused file is run.
            TrajectoryError: the files hold states of different models, which is told by the first differences; or steps or epochs fall.

        Example:
            >>> torch.save(Net().state_dict(), "epoch0.pt")
            >>> torch.save({"state_dict": model.state_dict(), "epoch": 5}, "epoch5.pt")
            >>> ts.Trajectory.from_files(["epoch0.pt", "epoch5.pt"]).epochs
            [0.0, 5.0]
        """
        reading = Reading(key=key, prefix=prefix, allow=allow, ignore=ignore, base=base)
        found = read_states(paths, _whole_numbers(steps), _numbers(epochs), reading)
        trajectory = cls._of(found.states, found.origin, found.folder)
        trajectory._notes = found.notes
        return trajectory

    @classmethod
    def from_states(
        cls, states: Iterable[Mapping[str, Tensor]], steps: Sequence[int] | None = None, epochs: Sequence[float] | None = None
    ) -> Trajectory:
        """A trajectory of state dicts in memory. They are kept, not copied: pass copies of a live model's.

        Raises:
            TrajectoryError: there is none, they differ in names or shapes, or steps do not rise, or epochs fall.

        Example:
            >>> ts.Trajectory.from_states([Net().state_dict(), model.state_dict()], steps=[0, 100]).steps
            [0, 100]
        """
        given = list(states)
        steps, epochs = _whole_numbers(steps), _numbers(epochs)
        for name, values in (("steps", steps), ("epochs", epochs)):
            if values is not None and len(values) != len(given):
                raise TrajectoryError(f"{name} must hold one value per state: expected {len(given)}, got {len(values)}")
        made = []
        for i, state in enumerate(given):
            step = None if steps is None else steps[i]
            epoch = None if epochs is None else epochs[i]
            made.append(_placed(state, f"state {i}", step, epoch))
        return cls._of(made, "memory" if made else "the list of states")

    @classmethod
    def _of(cls, states: Sequence[State], origin: str, folder: Path | None = None) -> Trajectory:
        trajectory = cls.__new__(cls)
        trajectory._set(_unified(states), origin, folder)
        for earlier, later in pairwise(trajectory.epochs or ()):
            if later < earlier:
                raise TrajectoryError(f"epochs may not fall from state to state; {later:g} follows {earlier:g}. List states in their order")
        return trajectory

    def _set(self, states: Sequence[State], origin: str, folder: Path | None) -> None:
        if not states:
            raise TrajectoryError(f"{origin} holds no state yet; record one, or pass the checkpoints of a training")
        self._states, self._origin, self._folder = tuple(states), origin, folder
        self._notes: Mapping[str, str] = {}
        steps = [state.step for state in states if state.step is not None]
        self.steps: list[int] | None = steps if len(steps) == len(states) else None
        epochs = [state.epoch for state in states if state.epoch is not None]
        self.epochs: list[float] | None = epochs if len(epochs) == len(states) else None
        for earlier, later in pairwise(self.steps or ()):
            if later <= earlier:
                raise TrajectoryError(f"steps must rise from state to state; {later} follows {earlier} in {_few(self.steps or ())}")
        rise = self.epochs is not None and all(later > earlier for earlier, later in pairwise(self.epochs))
        self.clock: Clock = "step" if self.steps is not None else "epoch" if rise and self.epochs is not None else "state"

    @property
    def _times(self) -> Sequence[float]:
        """When each state was, by the clock."""
        if self.steps is not None:
            return self.steps
        return self.epochs if self.clock == "epoch" and self.epochs is not None else range(len(self))

    @property
    def run(self) -> Path | None:
        """The run directory that the states were recorded in; None where they come from elsewhere."""
        return self._states[0].run

    @property
    def folder(self) -> Path | None:
        """Where the states lie: the run directory, or the one folder of all checkpoint files; None for states in memory."""
        return self._folder

    def progress(self, index: int) -> float:
        """How far state `index` is in the training: 0 at the first state, 1 at the last, by the `clock`."""
        times = self._times
        return 0.0 if times[0] == times[-1] else (times[index] - times[0]) / (times[-1] - times[0])

    def index_at(self, fraction: float) -> int:
        """The index of the state nearest to `fraction` of the progress; of two equally near ones the earlier."""
        if not 0 <= fraction <= 1:
            raise TrajectoryError(f"progress lies between 0 (first state) and 1 (last). Got {fraction} instead.")
        times = self._times
        target = times[0] + fraction * (times[-1] - times[0])
        # rounded, because halves of steps are rarely exact fractions, and a tie may not turn on the last bit
        return min(range(len(self)), key=lambda i: (round(abs(times[i] - target), 6), i))

    def at(self, fraction: float) -> State:
        """The state nearest to `fraction` of the progress; of two equally near ones the earlier."""
        return self[self.index_at(fraction)]

    def called(self, index: int) -> str:
        """What texts call state `index`: its step and epoch as far as they are known, else its number."""
        step = None if self.steps is None else self.steps[index]
        return moment_of(step, None if self.epochs is None else self.epochs[index], index % len(self))

    def with_metrics(self, history: History) -> Trajectory:
        """The same states with metrics that were logged elsewhere, joined by step; those that a state has already stay beside them.

        Args:
            history: a file or folder of logs (Hugging Face's trainer_state.json, metrics.csv of Lightning's CSVLogger, TensorBoard's
                event files, for which ``tensorboard`` is needed), or metrics by step, ``{120: {"val_loss": 0.3}}``, or rows with a
                ``step``. Loggers that count steps from 0 write those of step 120 at 119, which are taken where there are none at 120.

        Raises:
            TrajectoryError: the steps of the states are not known, or nothing was logged at any of them.
            CheckpointError: a log is missing or damaged.

        Example:
            >>> few = ts.Trajectory.from_states([Net().state_dict(), model.state_dict()], steps=[0, 100])
            >>> few.with_metrics({100: {"val_loss": 0.3}})[1].metrics
            {'val_loss': 0.3}
        """
        found, where = read_history(history)
        if self.steps is None:
            raise TrajectoryError("metrics are joined by step, and the steps of these states are not known: give steps=")
        joined = [found.get(step) or found.get(step - 1, {}) for step in self.steps]
        if not any(joined):
            there = _few(sorted(found)) if found else "nothing"
            raise TrajectoryError(f"{where} holds no metrics at the steps {_few(self.steps)}; there are some at: {there}")
        states = [_measured(state, metrics) for state, metrics in zip(self, joined, strict=True)]
        trajectory = type(self).__new__(type(self))
        trajectory._set(states, self._origin, self._folder)
        trajectory._notes = {**self._notes, "metrics": f"from {where}"}
        return trajectory

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
        return shown(
            f"Trajectory: {len(self)} states from {self._origin}\n"
            f"  steps    {_few(self.steps) if self.steps else 'not known'}{self._note('steps')}\n"
            f"  epochs   {_few(self.epochs) if self.epochs else 'not known'}{self._note('epochs')}\n"
            f"  metrics  {', '.join(metrics) or 'none recorded'}{self._note('metrics')}\n"
            f"  tensors  {len(specs)}, {sum(spec.size for spec in specs.values()):,} values{self._note('tensors')}"
        )

    def _note(self, about: str) -> str:
        """Where something comes from, in brackets."""
        return f" ({self._notes[about]})" if self._notes.get(about) else ""


def moment_of(step: int | None, epoch: float | None, place: int) -> str:
    """What a state is called: ``step 1,000 (epoch 2)``, ``epoch 2``, or ``state 3``, counted from 0."""
    if step is None:
        return f"state {place}" if epoch is None else f"epoch {epoch:g}"
    return f"step {step:,}" if epoch is None else f"step {step:,} (epoch {epoch:g})"


def _whole_numbers(given: Sequence[int] | None) -> list[int] | None:
    """Steps as they are given, checked."""
    found = _numbers(given, "steps")
    for number in found or ():
        if not number.is_integer():
            raise TrajectoryError(f"steps are whole numbers. Got {number:g} instead.")
    return None if found is None else [int(number) for number in found]


def _numbers(given: Sequence[float] | None, name: str = "epochs") -> list[float] | None:
    if given is None:
        return None
    found = []
    for number in given:
        try:
            value = float(number)
        except (TypeError, ValueError, OverflowError):
            value = float("nan")
        if not abs(value) < 2**53:
            raise TrajectoryError(f"{name} are finite numbers, one a state. Got {number!r} instead.")
        found.append(value)
    return found


def _measured(state: State, metrics: Metrics) -> State:
    """The state with more metrics."""
    again = state.renamed({name: name for name in state.specs})
    again.metrics, again.ends_run = {**state.metrics, **metrics}, state.ends_run
    return again


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
    """Give all states the names of the first, wrappers' prefixes left out where they must be, or say how they differ.

    Counters that not all of them have are left out of all: no pass in evaluation mode needs them.
    """
    if not states:
        return []
    problem = ""
    first = states[0].specs
    for names in [*ways_to_strip(first), *ways_within(first)]:
        space = ParameterSpace({new: first[old] for new, old in names.items()})
        fits = [fit(state.specs, space) for state in states]
        wrong = next(((i, found.difference) for i, found in enumerate(fits) if found.difference), None)
        if wrong is None:
            lacking = {name for found in fits for name in found.lacking}
            return [
                _named(state, {new: old for new, old in found.names.items() if new not in lacking})
                for state, found in zip(states, fits, strict=True)
            ]
        i, difference = wrong
        problem = problem or (
            f"state {i} ({states[i].label}) {difference.describe()}; expected the names and shapes of state 0 ({states[0].label})"
        )
    raise TrajectoryError(problem)


def _named(state: State, names: Mapping[str, str]) -> State:
    unchanged = len(names) == len(state.specs) and all(new == old for new, old in names.items())
    return state if unchanged else state.renamed(names)
