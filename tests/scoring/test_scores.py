from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thetascope.errors import ObjectiveError
from thetascope.scoring.scores import Sums, column

samples = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30)
cuts = st.lists(st.integers(0, 30), max_size=6)


def sums(values: Any, weights: Any = None, at: list[int] | None = None) -> Sums:
    """The sums of `values`, cut into batches at the places `at`."""
    found = Sums(spread=True)
    places = sorted({c for c in at or [] if 0 < c < len(values)})
    for start, stop in zip([0, *places], [*places, len(values)], strict=True):
        part = None if weights is None else torch.tensor(weights[start:stop], dtype=torch.float64)
        found.add({"loss": column("loss", torch.tensor(values[start:stop], dtype=torch.float64), part, None)})
    return found


def near(value: float, values: list[float]) -> Any:
    return pytest.approx(value, rel=1e-12, abs=1e-12 * max(map(abs, values)))


class TestPerSampleValues:
    @given(samples, cuts)
    def test_the_mean_is_the_same_however_the_samples_are_cut(self, values: list[float], at: list[int]) -> None:
        assert sums(values, at=at).means()["loss"] == near(float(np.mean(values)), values)
        assert sums(values, at=at).samples == len(values)

    @given(samples, cuts)
    def test_the_standard_error_is_numpy_s_however_the_samples_are_cut(self, values: list[float], at: list[int]) -> None:
        found = sums(values, at=at).means()["loss_standard_error"]
        expected = np.std(values, ddof=1) / math.sqrt(len(values))
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12 * max(map(abs, values)))

    @given(st.lists(st.tuples(st.floats(-100, 100), st.integers(0, 9)), min_size=2, max_size=20), cuts)
    def test_weights_count(self, weighted: list[tuple[float, int]], at: list[int]) -> None:
        values, weights = [v for v, _ in weighted], [w for _, w in weighted]
        found = sums(values, weights, at).means()
        if not any(weights):
            assert math.isnan(found["loss"])
            return
        mean = float(np.average(values, weights=weights))
        assert found["loss"] == near(mean, values)
        squares = np.square(np.array(weights) * (np.array(values) - mean)).sum() * len(values) / (len(values) - 1)
        assert found["loss_standard_error"] == pytest.approx(math.sqrt(squares) / sum(weights), rel=1e-9, abs=1e-10)

    def test_a_spread_far_below_the_mean_is_not_lost(self) -> None:
        values = [1e8 + v for v in (0.0, 1.0, 2.0, 4.0)]
        found = sums(values, at=[1]).means()["loss_standard_error"]
        assert found == pytest.approx(np.std([0.0, 1.0, 2.0, 4.0], ddof=1) / 2, rel=1e-6)

    def test_one_sample_has_no_standard_error(self) -> None:
        assert math.isnan(sums([3.0]).means()["loss_standard_error"])

    def test_equal_samples_have_the_standard_error_0(self) -> None:
        assert sums([0.1] * 7, at=[2]).means()["loss_standard_error"] == pytest.approx(0, abs=1e-15)

    @pytest.mark.parametrize("at", [[], [1], [2]])
    def test_nan_and_infinities_stay(self, at: list[int]) -> None:
        assert math.isnan(sums([1.0, math.nan, 2.0], at=at).means()["loss"])
        assert sums([1.0, math.inf, 2.0], at=at).means()["loss"] == math.inf
        assert sums([1.0, -math.inf, 2.0], at=at).means()["loss"] == -math.inf
        assert math.isnan(sums([1.0, math.inf, -math.inf], at=at).means()["loss"])
        assert math.isnan(sums([1.0, math.inf, 2.0], at=at).means()["loss_standard_error"])


class TestMeans:
    def test_stand_for_their_weight(self) -> None:
        found = Sums(spread=False)
        found.add({"loss": column("loss", torch.tensor(2.0), 3, None)})
        found.add({"loss": column("loss", 6.0, torch.tensor(1.0), None)})
        assert found.means() == {"loss": 3.0}
        assert found.samples == 4

    def test_stand_for_the_sum_of_the_samples_weights(self) -> None:
        found = Sums(spread=False)
        found.add({"loss": column("loss", 2.0, torch.tensor([1.0, 0.0, 2.0]), None)})
        found.add({"loss": column("loss", 6.0, torch.tensor([1.0]), None)})
        assert found.means() == {"loss": 3.0}

    def test_stand_for_the_batch_where_it_tells_its_size(self) -> None:
        assert float(column("loss", 2.0, None, 7).weights) == 7

    def test_without_a_count_are_refused(self) -> None:
        with pytest.raises(ObjectiveError, match=r'"accuracy" as one mean .* add "weight"'):
            column("accuracy", torch.tensor(0.5), None, None)

    def test_have_no_standard_error(self) -> None:
        found = Sums(spread=True, drawn=True)
        found.add({"loss": column("loss", torch.tensor([1.0, 2.0]), None, None)})
        found.add({"loss": column("loss", 1.0, 2, None)})
        with pytest.raises(ObjectiveError, match=r"needs per-sample losses.*reduction=.none.*leave samples= out"):
            found.means()


class TestColumn:
    @pytest.mark.parametrize(
        "value",
        [
            torch.tensor([0, 1, 1]),
            torch.tensor([False, True, True]),
            torch.tensor([0, 1, 1], dtype=torch.bfloat16),
            np.array([0.0, 1.0, 1.0], dtype=np.float32),
            [0, 1, 1],
        ],
        ids=["integers", "booleans", "half precision", "numpy", "list"],
    )
    def test_takes_any_real_values_in_float64(self, value: Any) -> None:
        found = column("accuracy", value, None, 3)
        assert found.values.dtype == torch.float64
        assert found.values.tolist() == [0, 1, 1]
        assert found.weights.tolist() == [1, 1, 1]
        assert found.per_sample

    def test_does_not_hold_on_to_gradients(self) -> None:
        assert not column("loss", torch.ones(3, requires_grad=True) * 2, None, 3).values.requires_grad

    @pytest.mark.parametrize(
        ("value", "size", "message"),
        [
            (torch.ones(3, 2), 3, r'"loss" must be per-sample values \[3\] or one mean. Got shape \[3, 2\]'),
            (torch.ones(3, 1), 3, r"Got shape \[3, 1\]"),
            (torch.ones(4), 3, r"per-sample values \[3\] .* Got shape \[4\]"),
            (torch.ones(1), 3, r"Got shape \[1\]"),
            (torch.ones(2, 2), None, r"per-sample values \[N\]"),
            (torch.ones(3, dtype=torch.complex64), 3, "must be real. Got torch.complex64"),
        ],
    )
    def test_refuses_other_shapes_and_kinds(self, value: Any, size: int | None, message: str) -> None:
        with pytest.raises(ObjectiveError, match=message):
            column("loss", value, None, size)

    @pytest.mark.parametrize("weight", [4.0, torch.ones(3), torch.ones(4, 1)])
    def test_refuses_weights_of_another_shape(self, weight: Any) -> None:
        with pytest.raises(ObjectiveError, match=r'"weight" of per-sample values must be \[4\]. Got \['):
            column("loss", torch.ones(4), weight, None)


class TestSums:
    def test_keep_the_loss_and_each_metric_apart(self) -> None:
        found = Sums(spread=False)
        for loss, accuracy in ([1.0, 2.0], [0.0, 1.0]), ([6.0], [1.0]):
            found.add({"loss": column("loss", loss, None, None), "accuracy": column("accuracy", accuracy, None, None)})
        assert found.means() == {"loss": 3.0, "accuracy": pytest.approx(2 / 3)}

    def test_every_batch_must_give_the_same_values(self) -> None:
        found = sums([1.0])
        with pytest.raises(ObjectiveError, match="got accuracy after loss"):
            found.add({"accuracy": column("accuracy", [1.0], None, None)})

    def test_give_a_standard_error_where_it_was_asked_for(self) -> None:
        found = Sums(spread=False)
        found.add({"loss": column("loss", [1.0, 2.0], None, None)})
        assert found.means() == {"loss": 1.5}
        assert sums([1.0, 2.0]).means() == {"loss": 1.5, "loss_standard_error": pytest.approx(0.5)}

    def test_of_no_batch_are_no_score(self) -> None:
        assert Sums(spread=False).samples == 0
        with pytest.raises(ObjectiveError, match="the data gave no batch"):
            Sums(spread=False).means()
