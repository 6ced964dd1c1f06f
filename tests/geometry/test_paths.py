from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from thetascope.errors import GeometryError
from thetascope.geometry.paths import checked_alphas, group_paths, lagrange_weights, model_path, polyline_weights
from thetascope.geometry.points import Points, StoredStates
from thetascope.state import State

alphas = st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=10)
knots = st.one_of(
    st.integers(1, 6).map(lambda degree: np.linspace(0, 1, degree + 1)),
    st.lists(st.integers(-50, 50), min_size=2, max_size=7, unique=True).map(lambda values: np.sort(values) / 7),
)


class TestCheckedAlphas:
    def test_a_number_is_so_many_evenly_from_0_to_1(self) -> None:
        assert checked_alphas(5).tolist() == [0, 0.25, 0.5, 0.75, 1]

    def test_a_number_spreads_over_the_default_range(self) -> None:
        assert checked_alphas(3, (-0.5, 1.5)).tolist() == [-0.5, 0.5, 1.5]

    def test_given_values_stay_as_they_are(self) -> None:
        assert checked_alphas([1.0, -0.5, 0.25]).tolist() == [1.0, -0.5, 0.25]

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (1, "at least 2. Got 1"),
            (0, "at least 2. Got 0"),
            ([], r"non-empty list.*Got shape \[0\]"),
            ([[0, 1]], r"Got shape \[1, 2\]"),
            (0.5, r"Got shape \[\]"),
            ([0, math.nan, 1], r"finite; values \[1\]"),
            ([math.inf, 1], r"finite; values \[0\]"),
            ([0, 0.5, 0], "must not repeat"),
        ],
    )
    def test_what_describes_no_path_is_refused(self, wrong: int | ArrayLike, message: str) -> None:
        with pytest.raises(GeometryError, match=message):
            checked_alphas(wrong)


class TestLagrangeWeights:
    @given(knots)
    def test_at_the_knots_one_weight_is_exactly_1_and_the_rest_exactly_0(self, x: np.ndarray) -> None:
        assert lagrange_weights(x, x).tolist() == np.eye(len(x)).tolist()

    @given(knots, alphas)
    def test_sum_to_1(self, x: np.ndarray, at: list[float]) -> None:
        weights = lagrange_weights(x, at)
        np.testing.assert_array_less(abs(weights.sum(axis=1) - 1), 1e-12 * abs(weights).sum(axis=1))

    @given(knots, alphas, st.lists(st.floats(-5, 5), min_size=1, max_size=7))
    def test_reproduce_every_polynomial_up_to_their_degree(self, x: np.ndarray, at: list[float], coefficients: list[float]) -> None:
        polynomial = np.polynomial.Polynomial(coefficients[: len(x)])
        weights, values = lagrange_weights(x, at), polynomial(x)
        np.testing.assert_array_less(abs(weights @ values - polynomial(np.array(at))), 1e-12 * (abs(weights) @ abs(values)) + 1e-9)

    def test_degree_1_is_the_straight_line_also_outside(self) -> None:
        assert lagrange_weights([0, 1], [-0.5, 0.25, 1.5]).tolist() == [[1.5, -0.5], [0.75, 0.25], [-0.5, 1.5]]

    def test_degree_2_is_the_thesis_s_quadratic(self) -> None:
        a = np.linspace(-0.5, 1.5, 9)
        by_hand = np.stack([(2 * a - 1) * (a - 1), 4 * a * (1 - a), a * (2 * a - 1)], axis=1)
        np.testing.assert_allclose(lagrange_weights([0, 0.5, 1], a), by_hand, atol=1e-15)

    @pytest.mark.parametrize("wrong", [[], [0.5], [0, 0.5, 0.5], [[0, 1]]])
    def test_knots_without_a_path_are_refused(self, wrong: ArrayLike) -> None:
        with pytest.raises(GeometryError, match="at least 2 different knots"):
            lagrange_weights(wrong, [0.5])


class TestPolylineWeights:
    @given(knots, st.lists(st.floats(-20, 20), min_size=1, max_size=10))
    def test_never_negative_and_sum_to_1(self, x: np.ndarray, at: list[float]) -> None:
        weights = polyline_weights(x, at)
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)

    @given(knots)
    def test_at_the_knots_one_weight_is_exactly_1_and_the_rest_exactly_0(self, x: np.ndarray) -> None:
        assert polyline_weights(x, x).tolist() == np.eye(len(x)).tolist()

    @given(knots, st.floats(0, 100))
    def test_clamped_outside(self, x: np.ndarray, beyond: float) -> None:
        first, last = polyline_weights(x, [x[0] - beyond, x[-1] + beyond])
        assert first.tolist() == np.eye(len(x))[0].tolist()
        assert last.tolist() == np.eye(len(x))[-1].tolist()

    def test_only_the_two_knots_beside_count(self) -> None:
        assert polyline_weights([0, 0.5, 1], [0.25, 0.875]).tolist() == [[0.5, 0.5, 0], [0, 0.25, 0.75]]


def states(*weights: float) -> list[State]:
    return [State.of({"weight": torch.tensor([w, -3 * w]).double(), "mean": torch.tensor([w]).double()}) for w in weights]


def values(path: Points, name: str) -> list[list[float]]:
    found = []
    for k in range(len(path)):
        parts = {b: path.basis[b][name] for b in path.needs(k, name)}
        found.append([float(v) for v in path.tensor(k, name, parts)])
    return found


class TestModelPath:
    def test_quadratic_through_three_even_states_on_a_line_is_the_line(self) -> None:
        at = np.linspace(-0.5, 1.5, 11)
        quadratic = model_path(states(1.0, 2.5, 4.0), [0, 0.5, 1], at, ["weight"], [])
        linear = model_path(states(1.0, 4.0), [0, 1], at, ["weight"], [])
        np.testing.assert_allclose(values(quadratic, "weight"), values(linear, "weight"), atol=1e-14)

    @given(st.integers(1, 6))
    def test_passes_through_its_knots_exactly(self, degree: int) -> None:
        knots = np.linspace(0, 1, degree + 1)
        stored = states(*(1 / (3 + i) for i in range(degree + 1)))
        path = model_path(stored, knots, knots, ["weight"], ["mean"])
        assert values(path, "weight") == [state["weight"].tolist() for state in stored]
        assert values(path, "mean") == [state["mean"].tolist() for state in stored]

    def test_buffers_take_the_polyline_while_parameters_overshoot(self) -> None:
        path = model_path(states(1.0, 2.0, 2.0), [0, 0.5, 1], np.array([-0.5, 0.25, 0.75, 1.5]), ["weight"], ["mean"])
        assert values(path, "mean") == [[1.0], [1.5], [2.0], [2.0]]
        assert [weight for weight, _ in values(path, "weight")] == [-1.0, 1.625, 2.125, 1.0]

    def test_says_which_columns_move_buffers(self) -> None:
        path = model_path(states(1.0, 3.0), [0, 1], np.array([0.5]), ["weight"], ["mean"])
        assert values(path.holding_buffers(), "mean") == [[3.0]]
        assert values(path.holding_buffers(), "weight") == values(path, "weight")


class TestGroupPaths:
    GROUPS: tuple[tuple[list[str], list[str]], ...] = ((["a.weight"], ["a.mean"]), (["b.weight", "b.bias"], []))
    NAMES = ("a.weight", "a.mean", "b.weight", "b.bias", "count")

    def paths(self, at: list[float]) -> Points:
        stored = [
            State.of({name: torch.tensor([10.0 * i + value]).double() for i, name in enumerate(self.NAMES)}) for value in (1.0, 2.0, 4.0)
        ]
        return group_paths(stored, [0, 0.5, 1], np.array(at), self.GROUPS)

    def test_one_group_moves_while_the_rest_is_final(self) -> None:
        paths = self.paths([0.0, 0.5, 1.0])
        found = {name: [value for (value,) in values(paths, name)] for name in self.NAMES}
        assert found == {
            "a.weight": [1, 2, 4, 4, 4, 4],
            "a.mean": [11, 12, 14, 14, 14, 14],
            "b.weight": [24, 24, 24, 21, 22, 24],
            "b.bias": [34, 34, 34, 31, 32, 34],
            "count": [44] * 6,
        }

    def test_the_moving_group_moves_as_the_whole_model_would(self) -> None:
        at = [-0.5, 0.2, 1.5]
        paths = self.paths(at)
        whole = model_path(paths.basis, [0, 0.5, 1], np.array(at), ["a.weight"], ["a.mean"])
        for name in ("a.weight", "a.mean"):
            assert values(paths, name)[:3] == values(whole, name)

    def test_buffers_can_be_held(self) -> None:
        held = self.paths([0.0, 0.5]).holding_buffers()
        assert values(held, "a.mean") == [[14.0]] * 4
        assert values(held, "a.weight") == [[1.0], [2.0], [4.0], [4.0]]


def test_stored_points_are_the_states_themselves_integers_too() -> None:
    count = [torch.tensor([2**53 + 1]), torch.tensor([7])]
    stored = [State.of({"weight": torch.tensor([1 / 3, math.nan]), "count": c}) for c in count]
    points = StoredStates(tuple(stored))
    for k, state in enumerate(stored):
        for name in state:
            assert points.needs(k, name) == (k,)
            assert points.tensor(k, name, {k: state[name]}) is state[name]
