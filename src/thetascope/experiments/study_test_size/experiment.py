"""Scoring one trained model on random subsets of each size of the objective's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from thetascope.errors import TrainingError
from thetascope.experiments.framework.plan import Plan, plan_of_scoring
from thetascope.experiments.framework.source import ReferenceSource, Variables, only_eager
from thetascope.experiments.shared.recommendations import checked_limit, recommended_test_size, samples_needed, spread_of_rows
from thetascope.experiments.shared.subsets import (
    Sizes,
    bootstrap_error,
    checked_sizes,
    drawn_subset,
    from_to,
    sample_deviation,
    subset_mean,
    tenths,
)
from thetascope.progress import progress_bar
from thetascope.quantities import HEAVY
from thetascope.results.status import MISSING
from thetascope.results.store import Block, Store
from thetascope.scoring.cache import FirstPoint
from thetascope.scoring.fast.choice import Engine
from thetascope.scoring.objective import Objective
from thetascope.scoring.per_sample import per_sample_columns
from thetascope.scoring.scores import top_share
from thetascope.training.data import checked_count


def source(
    objective: Objective, state: Mapping[str, Tensor], sizes: Sizes, repeats: int, seed: int, tolerance: float | None
) -> SubsetsSource:
    """The subsets of the objective's data."""
    if not isinstance(objective, Objective):
        raise TrainingError(f"expected a ts.Objective, got {type(objective).__name__}")
    tolerance = None if tolerance is None else checked_limit(tolerance)
    repeats, seed = checked_count("repeats", repeats, least=2), checked_count("seed", seed, least=0)
    return SubsetsSource(objective, state, sizes, repeats, seed, tolerance)


class SubsetsSource(ReferenceSource):
    """Random subsets of the values of all samples, which are computed once."""

    reference_name = "full"

    def __init__(
        self, objective: Objective, state: Mapping[str, Tensor], sizes: Sizes, repeats: int, seed: int, tolerance: float | None
    ) -> None:
        self.objective, self.state = objective, objective.bind(state)
        self._columns = per_sample_columns(objective, state)
        self._total = len(self._columns["loss"].values)
        self._sizes = checked_sizes(sizes, self._total, "test", tenths(self._total))
        self._repeats, self._seed, self._tolerance = repeats, seed, tolerance
        self.reference = {name: subset_mean(column, slice(None)) for name, column in self._columns.items()}
        self.title = f"one model on {from_to(self._sizes)} test samples"
        self.coords = {"size": np.asarray(self._sizes), "repeat": np.arange(repeats)}
        self.settings = {"sizes": self._sizes, "repeats": repeats, "seed": seed}
        self._top_share = top_share(self._columns["loss"])
        self.attrs = {"loss_name": objective.loss, "test_samples": self._total, "top_share": self._top_share}

    def engine(self, name: str) -> Engine:
        """Full passes of the oracle, which gives the value of every sample."""
        return only_eager(name, "the value of every sample is needed")

    def blocks(self, first: FirstPoint, engine: Engine) -> Sequence[Block]:
        """All repeats of a size at once."""
        return [Block("", ("size", "repeat"), (len(self._sizes), self._repeats), tuple(self.reference), self._repeats)]

    def fill(self, store: Store, engine: Engine, first: FirstPoint, *, progress: bool) -> Mapping[str, Any]:
        """Draw the subsets of each size, and average over them."""
        total, sizes, repeats, columns = self._total, self._sizes, self._repeats, self._columns
        missing = [at for at in range(len(sizes)) if not store.done("")[at * repeats : (at + 1) * repeats].all()]
        if 0 < len(missing) < len(sizes):  # an earlier call stored some, with a batch size that may be another
            columns = per_sample_columns(self.objective, self.state)
        draws = sum(sizes[at] for at in missing) * repeats
        with progress_bar("drawing subsets", len(missing), shown=progress and draws > 5e7) as advance:
            for at in missing:
                subsets = [drawn_subset(total, sizes[at], (self._seed, sizes[at], repeat)) for repeat in range(repeats)]
                # sorted, so that equal subsets have equal sums: all of them at the full size
                store.write("", at * repeats, {n: [subset_mean(c, np.sort(subset)) for subset in subsets] for n, c in columns.items()})
                advance(1)
        return {}

    def constants(self) -> Variables:
        """The values on all samples, and their errors on so many new ones."""
        return {**super().constants(), **self._errors()}

    def _errors(self) -> Variables:
        """Of each size: s/√n, and for a loss that few samples carry those of a bootstrap."""
        root = np.sqrt(self._sizes)
        found: dict[str, Any] = {f"{n}_standard_error": (("size",), sample_deviation(c) / root) for n, c in self._columns.items()}
        if self._top_share > HEAVY:
            found["loss_bootstrap_error"] = (("size",), bootstrap_error(self._columns["loss"], self._sizes, self._seed))
        return found

    def derived(self, data: xr.Dataset) -> tuple[Variables, Mapping[str, Any]]:
        """The spread over the subsets of each size, and the recommendation."""
        variables = {f"{name}_spread": (("size",), spread_of_rows(data[name].values)) for name in self.reference}
        heavy = "loss_bootstrap_error" in data
        errors = data["loss_bootstrap_error" if heavy else "loss_standard_error"].values
        found = recommended_test_size(self._sizes, errors, float(data["full_loss"]), self._total, self._tolerance, bootstrap=heavy)
        needed = None if found.limit is None else samples_needed(self._sizes[-1], float(errors[-1]), found.limit)
        return variables, {**found.attrs(), "tolerance": found.limit, "samples_needed": needed}

    def plan(self, stored: xr.Dataset | None, engine: Engine) -> Plan:
        """One state is scored once; the rest is arithmetic."""
        plan = plan_of_scoring("one model on random subsets of the test samples", self.objective, self.state)
        complete = stored is not None and not (stored["status"].values == MISSING).any()
        return replace(plan, least=0, todo=0, stored=1) if complete else plan
