from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thetascope.arrays import Floats
from thetascope.experiments.parameter_atlas.adaptive_curves import FIRST_PLACES, Curve


def scored(curve: Curve, loss: Callable[[Floats], Floats]) -> int:
    """Score what the curve asks for; how much that was."""
    count = 0
    while len(curve.asks):
        count += len(curve.asks)
        curve.tell(loss(curve.asks))
    return count


LINE = np.linspace(-1.5, 0.5, 41)
BOTH = np.concatenate([LINE, 2.2 * LINE**2 - 1.0 * LINE])  # two paths of one parameter


@pytest.mark.parametrize(
    ("loss", "most"),
    [
        (lambda x: 0.01 * x + 0.02 * x**2, 20),
        (lambda x: np.expm1(0.3 * x), 60),
        (lambda x: 1e-3 * np.log1p(np.exp(20 * (x - 2.0))), 75),
        (lambda x: np.abs(x - 1.37) - 1.37, 60),
    ],
    ids=["parabola", "exponential", "soft corner", "corner"],
)
def test_what_is_read_is_what_scoring_would_give(loss: Callable[[Floats], Floats], most: int) -> None:
    curve = Curve(BOTH, 0.5)
    assert FIRST_PLACES - 1 <= scored(curve, loss) <= most
    limit = 1.2e-5 * np.maximum(0.5, np.abs(0.5 + loss(BOTH)))
    assert (np.abs(curve.values() - loss(BOTH)) <= limit).all()


def test_a_corner_is_looked_at_more_closely_than_the_rest() -> None:
    asked: list[float] = []
    curve = Curve(BOTH, 0.5)
    while len(curve.asks):
        asked += curve.asks.tolist()
        curve.tell(np.abs(curve.asks - 2.0) - 2.0)
    near = np.abs(np.array(asked) - 2.0) < 0.6
    assert near.mean() > 2 * (np.abs(BOTH - 2.0) < 0.6).mean()


def test_nothing_is_known_of_noise_but_what_is_scored() -> None:
    table = dict(zip(BOTH.tolist(), np.random.default_rng(0).normal(size=len(BOTH)), strict=True)) | {0.0: 0.0}
    curve = Curve(BOTH, 0.5)
    assert scored(curve, lambda x: np.array([table[value] for value in x.tolist()])) == len(set(BOTH.tolist()) - {0.0})
    assert curve.values().tolist() == [table[value] for value in BOTH.tolist()]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("low", "high"), [(-2.0, -1.2), (-0.85, -0.5)], ids=["at an end", "between the first places"])
def test_what_is_not_finite_stays_where_it_is(bad: float, low: float, high: float) -> None:
    curve, spoilt = Curve(LINE, 0.5), (low < LINE) & (high > LINE)
    with np.errstate(invalid="ignore"):
        scored(curve, lambda x: np.where((low < x) & (x < high), bad, x**2))
    np.testing.assert_array_equal(curve.values()[spoilt], bad)
    np.testing.assert_allclose(curve.values()[~spoilt], LINE[~spoilt] ** 2, atol=1e-5)


def test_close_places_do_not_magnify_rounding() -> None:
    """Two paths cross: pairs of places differ by a hair, and what is scored there by the noise of the arithmetic."""
    noise = np.random.default_rng(0)
    at = np.concatenate([LINE, LINE + 1e-9])
    curve = Curve(at, 1.0)
    scored(curve, lambda x: 0.1 * x**2 + noise.normal(0, 1e-7, len(x)))
    np.testing.assert_allclose(curve.values(), 0.1 * at**2, atol=3e-6)


@given(st.lists(st.floats(-10, 10, width=32), max_size=60), st.floats(-2, 2))
def test_any_places(places: list[float], bend: float) -> None:
    at = np.array(places, np.float64)
    curve = Curve(at, 1.0)
    asked: list[float] = []
    while len(curve.asks):
        asked += curve.asks.tolist()
        curve.tell(bend * curve.asks)
    assert len(asked) == len(set(asked)) <= len(set(places))
    assert 0.0 not in asked
    np.testing.assert_allclose(curve.values(), bend * at, atol=1e-4)
    assert (curve.values()[at == 0] == 0).all()
