"""What an average of checkpoints is worth: points, and what is chosen among them on a part of the samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from thetascope.arrays import Floats
from thetascope.errors import ResultError, UsageError
from thetascope.experiments.framework.plan import Plan
from thetascope.experiments.framework.points import AllPoints, PointsSource
from thetascope.experiments.shared.checked import checked_int
from thetascope.experiments.shared.training_path import checked_trajectory, places_of, recorded_requests
from thetascope.geometry.averages import averages, decay_weights, subset_weights, window_weights
from thetascope.geometry.points import Points
from thetascope.progress import LONG_SECONDS, duration, progress_bar, say
from thetascope.results.filled import Filled
from thetascope.results.status import MISSING, named
from thetascope.results.store import Block
from thetascope.scoring.batches import Batches
from thetascope.scoring.cache import FirstPoint
from thetascope.scoring.clusters.away import place_for
from thetascope.scoring.fast.choice import Engine
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.scoring.runner import Runner
from thetascope.state import State
from thetascope.trajectory import Trajectory

LAST, BEST, SOUP, CHOSEN = "last", "best", "soup", "chosen"
CHOICE, TRIAL = "choice_", "trial_"


def source(
    objective: Objective,
    trajectory: Trajectory,
    windows: Sequence[int] | None,
    decays: Sequence[float],
    greedy: bool,
    holdout: float | None,
) -> AverageSource:
    """The recorded states and their averages, to be chosen on one part of the samples and told on the other."""
    states = [objective.bind(state) for state in checked_trajectory(trajectory)]
    sizes, rates = _checked_windows(trajectory, windows), _checked_decays(decays)
    made = {f"window-{size}": ("window", window_weights(len(states), size), np.nan) for size in sizes}
    made |= {f"decay-{rate:g}": ("decay", decay_weights(len(states), rate), rate) for rate in rates}
    share = _checked_holdout(holdout)
    parts = None if share is None else objective.parted(1 - share)
    choosing, telling = (objective, objective) if parts is None else parts
    names = [LAST, BEST, *made, *([SOUP] if greedy else []), CHOSEN]
    kinds = {LAST: LAST, BEST: BEST, SOUP: SOUP, CHOSEN: CHOSEN} | {name: kind for name, (kind, _, _) in made.items()}
    chosen: dict[str, Any] = {"windows": sizes, "decays": rates, "greedy": bool(greedy), "holdout": share}
    indices = list(range(len(states)))
    weights = {name: row for name, (_, row, _) in made.items()}
    return AverageSource(
        title=f"averages of {len(states)} recorded states",
        objective=telling,
        requests=recorded_requests(telling, states, "actual_"),
        coords={"average": names, "state": np.asarray(indices), **({"trial": np.arange(1, len(states))} if greedy else {})},
        labels={
            "kind": (("average",), [kinds[name] for name in names]),
            "decay": (("average",), [made[name][2] if name in made else np.nan for name in names]),
        },
        settings=chosen,
        known=places_of(trajectory, indices),
        attrs={"loss_name": objective.loss, "held_out": None if parts is None else share, "windows": sizes, "greedy": bool(greedy)},
        reference=states[-1],
        choosing=choosing,
        weights=weights,
        names=names,
        data=objective.batches,
    )


@dataclass(eq=False)
class AverageSource(PointsSource):
    """Points on the telling part of the samples; those on the choosing part decide some of them.

    Attributes:
        choosing: scores on the part of the samples on which is chosen.
        weights: ``[T]`` of each average that is known beforehand.
        names: of all averages.
        data: all of it.
    """

    choosing: Objective = field(kw_only=True)
    weights: Mapping[str, Floats] = field(kw_only=True)
    names: Sequence[str] = field(kw_only=True)
    data: Batches = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.recorded = self.requests[0].points.basis
        self.choosing = self.choosing.against(self.recorded[-1])

    # --- what is scored ------------------------------------------------------------------------------------------

    def _points(self, rows: Sequence[Floats]) -> Points:
        space = self.objective.model.space
        return averages(self.recorded, np.stack(rows), space.floating_parameters, space.floating_buffers)

    def _one(self, prefix: str, count: int, place: int, row: Floats) -> AllPoints:
        """A request of so many points of which one is an average; the others are the last state, which is all that is held of them."""
        rows = [self._last] * count
        rows[place] = row
        return AllPoints(self._points(rows), ("trial" if prefix == TRIAL else "average",), (count,), prefix=prefix)

    @property
    def _last(self) -> Floats:
        return window_weights(len(self.recorded), 1)

    def _states_on(self, objective: Objective, prefix: str) -> AllPoints:
        return AllPoints(objective.stored(self.recorded), ("state",), (len(self.recorded),), prefix=prefix)

    def _rows(self, found: Mapping[str, Floats]) -> list[Floats]:
        """The weights of each average; of those that are not known yet the last state's."""
        return [{**self.weights, **found}.get(name, self._last) for name in self.names]

    @property
    def undivided(self) -> str:
        """Averages are chosen by what others scored."""
        return "which averages are scored depends on what others scored"

    @property
    def _has_trials(self) -> bool:
        return SOUP in self.names and len(self.recorded) > 1

    def fingerprint(self, experiment: str) -> dict[str, Any]:
        """Of the data as a whole: seed and holdout say how it is parted."""
        found = super().fingerprint(experiment)
        return found if self.choosing.batches is self.objective.batches else {**found, "data": self.data.survey.fingerprint}

    def identity(self) -> Mapping[str, Any]:
        """The averages too."""
        own = {"averages": self._points(self._rows({})).digest()}
        return {**super().identity(), **own}

    def prepare(self, path: Path | None) -> None:
        """How many samples are drawn from each part, where the objective leaves that open."""
        super().prepare(path)
        if self.choosing.chosen is not None and self.choosing.chosen is not self.objective.chosen:
            PointsSource.prepare(self._chooser, path)

    @property
    def _chooser(self) -> PointsSource:
        """The states on the choosing part, as work of its own."""
        return PointsSource(
            title=self.title,
            objective=self.choosing,
            requests=[self._states_on(self.choosing, f"{CHOICE}actual_")],
            coords={},
            settings={},
            reference=self.recorded[-1],
        )

    def first_point(self) -> FirstPoint:
        """Of both parts."""
        self._chooser.first_point()
        return super().first_point()

    def recheck(self, store: Filled) -> FirstPoint:
        """Of both parts."""
        self._chooser.recheck(store)
        return super().recheck(store)

    def resumed(self, store: Filled) -> FirstPoint:
        """Both parts in the batches that they were scored in."""
        self.choosing.batches.rebatched(store.data.attrs["batch_size"])
        return super().resumed(store)

    @property
    def _own(self) -> list[tuple[str, str, int]]:
        """What is scored besides the requests: the prefix, the dimension and how many points."""
        count, every = len(self.recorded), len(self.names)
        found = [("", "average", every), (CHOICE, "average", every), (f"{CHOICE}actual_", "state", count)]
        return found + ([(TRIAL, "trial", count - 1)] if self._has_trials else [])

    def blocks(self, first: FirstPoint, engine: Engine) -> Sequence[Block]:
        """States and averages on each part, and the trials of the soup; each point is stored by itself, for others hang on it."""
        shapes: list[tuple[str, tuple[str, ...], tuple[int, ...]]] = [(prefix, (dim,), (count,)) for prefix, dim, count in self._own]
        shapes += [(request.prefix, request.dims, (len(request.points),)) for request in self.requests]
        return [Block(prefix, dims, shape, first.names, 1) for prefix, dims, shape in shapes]

    def fill(self, store: Filled, engine: Engine, first: FirstPoint, *, progress: bool) -> Mapping[str, Any]:
        """Score the states, choose among them and their averages, and tell what they are worth."""
        choosing, telling = (Runner(each, store, engine, place=place_for(each)) for each in (self.choosing, self.objective))
        done = np.concatenate([store.done(block.prefix) for block in self.blocks(first, engine)])
        total, left = len(done), int((~done).sum())
        seconds, shown = left * first.seconds, progress and left * first.seconds > LONG_SECONDS
        stored = f" ({total - left:,} of {total:,} are stored already)" if left < total else ""
        where = f"with the {engine.backend.name} engine on {self.objective.device}{telling.place.told}"
        say(f"{self.title}: {left:,} points to score{stored} {where}, about {duration(seconds)} (measured on one)", shown=shown)

        def score(runner: Runner, prefix: str, count: int, place: int, row: Floats) -> None:
            if not store.done(prefix)[place]:
                runner.cells(self._one(prefix, count, place, row), [place])

        def trial(k: int, row: Floats) -> float:
            score(choosing, TRIAL, len(self.recorded) - 1, k, row)
            return float(_choices(store.data, TRIAL)[k])

        every = len(self.names)
        with progress_bar("scoring", left, shown=shown) as advance:
            choosing.advance = telling.advance = advance
            choosing.everything(self._states_on(self.choosing, f"{CHOICE}actual_"))
            if self._has_trials:
                self._soup(store.data, trial)
            for place, row in enumerate(self._rows(self._decided(store.data))[:-1]):
                score(choosing, CHOICE, every, place, row)
            rows = self._rows(self._decided(store.data))  # the chosen one, the last, is known now
            score(choosing, CHOICE, every, every - 1, rows[-1])
            for request in self.requests:
                telling.everything(request)
            for place, row in enumerate(rows):
                score(telling, "", every, place, row)
        return {**choosing.notes, **telling.notes}

    # --- what is chosen ------------------------------------------------------------------------------------------

    def _order(self, data: xr.Dataset) -> list[int]:
        """The states in order of their loss on the choosing part, of equal ones the later first."""
        losses = _choices(data, f"{CHOICE}actual_")
        return sorted(range(len(losses)), key=lambda t: (losses[t], -t))

    def _soup(self, data: xr.Dataset, trial: Callable[[int, Floats], float]) -> list[int]:
        """The states in the greedy soup: each stays that does not make the loss higher.

        Args:
            data: with the states' losses on the choosing part.
            trial: the loss of the k-th trial, an average of these weights.
        """
        order, count = self._order(data), len(self.recorded)
        members, loss = order[:1], float(_choices(data, f"{CHOICE}actual_")[order[0]])
        for k, state in enumerate(order[1:]):
            tried = trial(k, subset_weights(count, [*members, state]))
            if tried <= loss:
                members, loss = [*members, state], tried
        return members

    def _winner(self, data: xr.Dataset) -> str:
        """The best average on the choosing part, as far as scores tell."""
        losses = _choices(data, CHOICE)
        among = [place for place, name in enumerate(self.names) if name not in (LAST, BEST, CHOSEN)]
        return self.names[min(among, key=lambda place: losses[place])]

    def _decided(self, data: xr.Dataset) -> dict[str, Floats]:
        """The weights of what is chosen, as far as scores tell."""
        count, best = len(self.recorded), self._order(data)[:1]
        tried = _choices(data, TRIAL) if self._has_trials else np.empty(0)
        soup = sorted(self._soup(data, lambda k, _: float(tried[k]))) if self._has_trials else best
        found = {BEST: subset_weights(count, best), SOUP: subset_weights(count, soup)}
        return {**found, CHOSEN: {**self.weights, **found}[self._winner(data)]}

    def derived(self, data: xr.Dataset) -> tuple[Any, Mapping[str, Any]]:
        """Which are chosen, how many states are in each, and how high windows lie above the valley."""
        variables, attrs = super().derived(data)
        found = self._decided(data)
        rows = np.stack(self._rows(found))
        losses, own = np.asarray(data["actual_loss"].values, np.float64), np.asarray(data["loss"].values, np.float64)
        is_window = np.array([name.startswith("window-") for name in self.names])
        variables = {
            **variables,
            "size": (("average",), (rows > 0).sum(axis=1)),
            "valley_height": (("average",), np.where(is_window, rows @ losses, np.nan) - own),
            "weight": (("average", "state"), rows),
        }
        told = {
            "chosen": self._winner(data),
            "best": int(data["state"].values[found[BEST].argmax()]),
            "samples_choosing": self.choosing.batches.survey.rows,
        }
        return variables, {**attrs, **told}

    def plan(self, stored: xr.Dataset | None, engine: Engine) -> Plan:
        """Of all points: each takes a full pass over its part."""
        found = super().plan(stored, engine)
        there = 0
        if stored is not None:
            there = sum(int((stored[named(prefix, "status")].values != MISSING).sum()) for prefix, _, _ in self._own)
        todo = sum(count for _, _, count in self._own) - there
        time = replace(found.time, least=found.time.least + todo * found.time.each, seconds=found.time.seconds + todo * found.time.each)
        return replace(found, least=found.least + todo, todo=found.todo + todo, stored=found.stored + there, time=time)

    # --- states --------------------------------------------------------------------------------------------------

    def named_state(self, data: xr.Dataset, label: str) -> State:
        """An average as a state of the model, with the statistics that it was scored with, under all names of its state dict."""
        names = data["average"].values.astype(str).tolist()
        if label not in names:
            raise ResultError(f'no average "{label}" in this result; there are: {", ".join(names)}')
        points = self._points([np.asarray(data["weight"].values[names.index(label)], np.float64)])
        model = self.objective.model
        with model.running():
            own = EagerBackend(self.objective, points).point(0)
        return State.of({**own, **{name: own[first] for name, first in model.space.ties.items()}}, label=f'average "{label}"')


def _choices(data: xr.Dataset, prefix: str) -> Floats:
    """Losses on the choosing part; infinite where they are not finite, or not there yet."""
    return np.nan_to_num(np.asarray(data[f"{prefix}loss"].values, np.float64), nan=np.inf, posinf=np.inf)


def _checked_windows(trajectory: Trajectory, windows: Sequence[int] | None) -> list[int]:
    count = len(trajectory)
    if windows is None:
        late = sum(trajectory.progress(i) >= 0.5 for i in range(count))
        doubled = [2**k for k in range(1, count.bit_length()) if 2**k <= late]
        return sorted({*doubled, late} - {0, 1}) or [1]
    if not isinstance(windows, list | tuple | range | np.ndarray):
        raise UsageError(f"windows must be a list of numbers of states, such as [2, 4, 8]. Got {windows!r} instead.")
    sizes = [checked_int("windows", size, 1) for size in windows]
    if not sizes or any(size > count for size in sizes) or len(set(sizes)) < len(sizes):
        raise UsageError(f"windows must be different numbers up to the {count} recorded states. Got {list(windows)} instead.")
    return sizes


def _checked_decays(decays: Sequence[float]) -> list[float]:
    rates: list[Any] = list(decays) if isinstance(decays, list | tuple | np.ndarray) else [decays]
    if any(not isinstance(rate, float) or not 0 < rate < 1 for rate in rates) or len(set(rates)) < len(rates):
        raise UsageError(f"decays must be different numbers between 0 and 1, such as [0.9, 0.99]. Got {decays!r} instead.")
    return [float(rate) for rate in rates]


def _checked_holdout(holdout: float | None) -> float | None:
    if holdout is None or (isinstance(holdout, float) and 0 < holdout < 1):
        return holdout
    raise UsageError(f"holdout must be a share between 0 and 1, or None to choose and tell on all samples. Got {holdout!r} instead.")
