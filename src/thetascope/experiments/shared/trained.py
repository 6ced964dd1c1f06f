"""Studies that train: what a training scores, filled into a result training by training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import xarray as xr

from thetascope.errors import TrainingError
from thetascope.experiments.framework.plan import Plan
from thetascope.experiments.framework.source import ReferenceSource
from thetascope.experiments.framework.timing import Expected
from thetascope.progress import LONG_SECONDS, duration, progress_bar, say
from thetascope.results.status import MISSING
from thetascope.results.store import Block, Store
from thetascope.scoring.cache import FirstPoint
from thetascope.scoring.fast.choice import Engine
from thetascope.state import State
from thetascope.training.training import Training, scores


class TrainedSource(ReferenceSource):
    """A study that runs a training from its initial state, whose scores are the reference.

    Args:
        training: what is run.
        title: one line for people.
        labels: of the dimensions of what is scored.
        settings: what a stored result must agree with.
    """

    reference_name = "initial"

    def __init__(self, training: Training, title: str, labels: Mapping[str, Sequence[int] | range], settings: Mapping[str, Any]) -> None:
        model = training.model()
        self.training, self.title, self.settings, self.objective = training, title, settings, training.objective(model)
        self.coords = {dim: np.asarray(values) for dim, values in labels.items()}
        self.state = self.objective.bind(State.of(model.state_dict(), label="initial state", step=0, epoch=0))
        self.reference = scores(self.objective, self.state)
        about = {"training_samples": training.samples, "training_epochs": training.epochs, "seed": training.seed}
        self.attrs = {"loss_name": self.objective.loss, **about}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Nothing: a training changes the modes of its models itself."""
        yield

    def identity(self) -> Mapping[str, Any]:
        """What the training is."""
        return {"training": self.training.fingerprint(self.settings["epochs"])}

    def blocks(self, first: FirstPoint, engine: Engine) -> Sequence[Block]:
        """Each score by itself."""
        shape = tuple(len(np.asarray(values)) for values in self.coords.values())
        return [Block("", tuple(self.coords), shape, tuple(self.reference), 1)]

    @abstractmethod
    def steps(self, missing: Sequence[int]) -> int:
        """How many optimizer steps the missing scores take."""

    @abstractmethod
    def described(self, missing: Sequence[int]) -> str:
        """What is trained for them, in words."""

    @abstractmethod
    def train(self, store: Store, missing: Sequence[int], advance: Callable[..., None]) -> Mapping[str, Any]:
        """Train, and store the missing scores; `advance` is told each step, and what was scored. Returns what the result says of it."""

    def fill(self, store: Store, engine: Engine, first: FirstPoint, *, progress: bool) -> Mapping[str, Any]:
        """Say what will be trained and how long it takes, then train."""
        missing = np.flatnonzero(~store.done("")).tolist()
        if not missing:
            return {}
        steps = self.steps(missing)
        a_step = self.training.step_seconds(steps) if progress else 0.0
        seconds = steps * a_step + len(missing) * first.seconds
        shown = progress and seconds > LONG_SECONDS
        say(
            f"{self.title}: {self.described(missing)}, {steps:,} optimizer steps on {self.objective.device}, about {duration(seconds)} "
            f"({duration(a_step) if a_step >= 1e-3 else 'under 1 ms'} a step, measured on a few)",
            shown=shown,
        )
        with progress_bar("training", steps, shown=shown) as advance:
            return self.train(store, missing, advance)

    def plan(self, stored: xr.Dataset | None, engine: Engine) -> Plan:
        """A few steps are made on a model of their own; memory is not measured."""
        total = int(np.prod([len(np.asarray(values)) for values in self.coords.values()]))
        missing = list(range(total)) if stored is None else np.flatnonzero(stored["status"].values == MISSING).tolist()
        steps, first = self.steps(missing) if missing else 0, self.first_point()
        step = self.training.step_seconds(steps) if steps else 0.0
        seconds = steps * step + len(missing) * first.seconds
        expected = Expected(seconds, seconds, step, "measured on a few")
        where = f"trained and scored on {self.objective.device}"
        return Plan(self.title, steps, steps, "optimizer steps", total - len(missing), expected, first.samples, where, None)


def checked_training(training: object) -> Training:
    """Itself, or an error that says how to make one."""
    if isinstance(training, Training):
        return training
    raise TrainingError(f"expected a ts.Training, got {type(training).__name__}; make one with ts.Training(model_factory, …)")
