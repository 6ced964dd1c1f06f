"""Scoring one training before it starts and after each epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from thetascope.experiments.framework.source import Variables
from thetascope.experiments.shared.recommendations import checked_limit, recommended_epochs
from thetascope.experiments.shared.trained import TrainedSource, checked_training
from thetascope.results.store import Store
from thetascope.scoring.determinism import check_same_score
from thetascope.training.data import checked_count
from thetascope.training.training import Training, scores, shown_scores


def source(training: Training, epochs: int | None, tolerance: float) -> EpochsSource:
    """The epochs of one training."""
    training, tolerance = checked_training(training), checked_limit(tolerance)
    return EpochsSource(training, training.epochs if epochs is None else checked_count("epochs", epochs), tolerance)


class EpochsSource(TrainedSource):
    """One training, scored after 0 to `total` epochs."""

    def __init__(self, training: Training, total: int, tolerance: float) -> None:
        title = f"performance after 0 to {total} epochs"
        super().__init__(training, title, {"epochs": range(total + 1)}, {"epochs": total})
        self._tolerance = tolerance

    def steps(self, missing: Sequence[int]) -> int:
        """Up to the last missing epoch, from the start: states are not stored."""
        return self.training.steps(epochs=max(missing))

    def described(self, missing: Sequence[int]) -> str:
        """The one training."""
        return f"{max(missing)} epochs on {self.training.samples:,} samples"

    def train(self, store: Store, missing: Sequence[int], advance: Callable[..., None]) -> Mapping[str, Any]:
        """Train up to the last missing epoch, and check the last stored one on the way."""
        done, last = store.done(""), max(missing)
        checked = int(np.flatnonzero(done)[-1]) if done.any() else -1
        for epoch in self.training.run(epochs=max(last, 1), on_step=lambda step: advance(1)):
            if epoch.number == checked or not done[epoch.number]:
                found = scores(self.objective, epoch.model.state_dict())
                advance(0, f"epoch {epoch.number}: {shown_scores(found)}")
                if epoch.number == checked:
                    check_same_score(self.objective, store.values("", checked), found)
                else:
                    store.write("", epoch.number, {name: [found[name]] for name in self.reference})
            if epoch.number == last:
                break
        return {}

    def constants(self) -> Variables:
        """The reference, and the training's steps after each epoch."""
        return {**super().constants(), "step": (("epochs",), np.asarray(self.coords["epochs"]) * self.training.steps(epochs=1))}

    def derived(self, data: xr.Dataset) -> tuple[Variables, Mapping[str, Any]]:
        """The recommendation."""
        return {}, {**recommended_epochs(data["loss"].values, self._tolerance).attrs(), "tolerance": self._tolerance}
