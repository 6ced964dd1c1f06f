from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from thetascope.errors import GeometryError
from thetascope.geometry.planes import checked_axis, checked_grid, grid, plane_points, states_points
from thetascope.state import State


def test_coordinates_are_absolute_and_hold_0_exactly() -> None:
    for count in (3, 51, 1001):
        values = checked_axis("x", (-0.7, 0.7, count))
        assert values[count // 2] == 0.0
        assert values[0] == -0.7
        assert values[-1] == 0.7
        assert np.array_equal(values, -values[::-1])
    assert checked_axis("x", (2, 2, 1)).tolist() == [2.0]


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        (5, "low, high, how many"),
        ((0, 1), "low, high, how many"),
        ((0, 1, 2.0), "whole number"),
        ((0, 1, True), "whole number"),
        ((0, 1, 0), "at least 1"),
        ((1, 0, 5), "low end below"),
        ((0, 0, 5), "low end below"),
        ((0, 1, 1), "equal ends"),
        ((0, math.inf, 5), "finite ends"),
        (("0", 1, 5), "finite ends"),
    ],
)
def test_an_axis_that_is_off_says_why(axis: Any, message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        checked_axis("x", axis)


def test_one_point_is_no_grid() -> None:
    with pytest.raises(GeometryError, match=r"objective\.score"):
        checked_grid((0, 0, 1), (0, 0, 1))


def test_cells_run_along_x_first() -> None:
    assert grid(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0])).tolist() == [[1, 10], [2, 10], [3, 10], [1, 20], [2, 20], [3, 20]]


def state(**tensors: float) -> State:
    return State.of({name: torch.full((2,), value, dtype=torch.float64) for name, value in tensors.items()})


def at(points: Any, k: int) -> dict[str, float]:
    names = points.basis[0].specs
    return {n: float(points.tensor(k, n, {b: points.basis[b][n] for b in points.needs(k, n)})[0]) for n in names}


def test_each_direction_moves_what_it_holds_and_nothing_else() -> None:
    center = state(a=1.0, b=2.0, c=3.0, d=4.0)
    points = plane_points(center, (state(a=10.0, b=20.0), state(b=0.5, c=0.25)), np.array([[2.0, 4.0], [0.0, 4.0], [2.0, 0.0], [0.0, 0.0]]))
    assert at(points, 0) == {"a": 21.0, "b": 44.0, "c": 4.0, "d": 4.0}
    assert at(points, 1) == {"a": 1.0, "b": 4.0, "c": 4.0, "d": 4.0}
    assert at(points, 2) == {"a": 21.0, "b": 42.0, "c": 3.0, "d": 4.0}
    assert at(points, 3) == {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    assert all(points.needs(3, name) == (0,) for name in "abcd")


def test_through_states_gives_each_of_them_exactly() -> None:
    center, one, other = state(a=0.1, buffer=7.0), state(a=0.2, buffer=8.0), state(a=0.3, buffer=9.0)
    points = states_points(center, (one, other), ["a"], np.array([[0, 0], [1, 0], [0, 1], [0.5, 0.25]]))
    assert [points.needs(k, "a") for k in range(3)] == [(0,), (1,), (2,)]
    assert at(points, 3) == {"a": pytest.approx(0.25 * 0.1 + 0.5 * 0.2 + 0.25 * 0.3), "buffer": 7.0}


def test_through_one_state_is_a_line() -> None:
    points = states_points(state(a=1.0), (state(a=2.0),), ["a"], np.array([[0.25, 0.0]]))
    assert at(points, 0) == {"a": 1.25}
