"""Training on random subsets of each size, each time from the same initial state, and scoring on all validation data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
import xarray as xr

from thetascope.experiments.framework.source import Variables
from thetascope.experiments.shared.recommendations import checked_limit, median_of_rows, recommended_train_size
from thetascope.experiments.shared.subsets import Sizes, checked_sizes, drawn_subset, from_to, ladder
from thetascope.experiments.shared.trained import TrainedSource, checked_training
from thetascope.results.store import Store
from thetascope.scoring.clusters.apart import Apart
from thetascope.scoring.clusters.tasks import Probe
from thetascope.scoring.objective import Objective
from thetascope.training.data import checked_count
from thetascope.training.training import Training, scores, shown_scores


def source(training: Training, sizes: Sizes, repeats: int, tolerance: float) -> SizesSource:
    """The trainings on subsets."""
    training, tolerance = checked_training(training), checked_limit(tolerance)
    chosen = checked_sizes(sizes, training.samples, "training", ladder(training.samples))
    return SizesSource(training, chosen, checked_count("repeats", repeats), tolerance)


class SizesSource(TrainedSource):
    """A training for each size and repeat."""

    def __init__(self, training: Training, sizes: list[int], repeats: int, tolerance: float) -> None:
        settings = {"sizes": sizes, "repeats": repeats, "epochs": training.epochs}
        super().__init__(training, f"training on {from_to(sizes)} samples", {"size": sizes, "repeat": range(repeats)}, settings)
        self._sizes, self._tolerance = sizes, tolerance
        self._trainings = [(size, repeat) for size in sizes for repeat in range(repeats)]

    def steps(self, missing: Sequence[int]) -> int:
        """Of all missing trainings."""
        return sum(self.training.steps(self._trainings[at][0]) for at in missing)

    def described(self, missing: Sequence[int]) -> str:
        """How many trainings, and of what."""
        total = len(self._trainings)
        there = f" ({total - len(missing)} of {total} are stored already)" if len(missing) < total else ""
        return f"{len(missing)} trainings{there} of {self.training.epochs} epochs on {from_to(self._sizes)} samples"

    def train(self, store: Store, missing: Sequence[int], advance: Callable[..., None]) -> Mapping[str, Any]:
        """One training after the other, or by workers."""
        work = Trainings(self.training, lambda step: advance(1))
        places = {self._trainings[at]: at for at in missing}
        trained = Apart(work, list(places))
        for (size, repeat), found in trained:
            store.write("", places[size, repeat], {name: [found[name]] for name in self.reference})
            steps = 0 if trained.is_here else self.training.steps(size)
            advance(steps, f"{size:,} samples, {repeat + 1}/{self.settings['repeats']}: {shown_scores(found)}")
        return trained.notes

    def derived(self, data: xr.Dataset) -> tuple[Variables, Mapping[str, Any]]:
        """Medians over the repeats, and the recommendation."""
        medians = {f"{name}_median": (("size",), median_of_rows(data[name].values)) for name in self.reference}
        found = recommended_train_size(self._sizes, data["loss"].values, float(data["initial_loss"]), self._tolerance)
        return medians, {**found.attrs(), "tolerance": self._tolerance}


class Trainings:
    """Trainings on subsets, by their size and repeat.

    Args:
        training: what is run.
        on_step: called after each optimizer step in this process; it does not travel.
    """

    def __init__(self, training: Training, on_step: Callable[[int], None] | None = None) -> None:
        self.training, self._on_step = training, on_step

    def __reduce__(self) -> tuple[Any, ...]:
        return (Trainings, (self.training,))

    def sent(self, item: tuple[int, int]) -> tuple[int, int]:
        """A training."""
        return item

    def __call__(self, sent: tuple[int, int]) -> dict[str, float]:
        """What the trained model scores."""
        size, repeat = sent
        indices = drawn_subset(self.training.samples, size, (self.training.seed, size, repeat))
        for epoch in self.training.run(indices=torch.from_numpy(indices), on_step=self._on_step):
            trained = epoch.model
        return scores(self._objective, trained.state_dict())

    def probe(self) -> Probe:
        """What the initial state scores."""
        return Probe.of(self._objective, scores(self._objective, self.training.model().state_dict()))

    def named(self, item: tuple[int, int]) -> str:
        """A training."""
        size, repeat = item
        return f"the training on {size:,} samples, repeat {repeat + 1}"

    @cached_property
    def _objective(self) -> Objective:
        return self.training.objective(self.training.model())
