from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from thetascope.experiments.shared.patterns import PATTERNS, convex_envelope, pattern, share_intervals, shares, smoothed, turning_points

Curve = Callable[[np.ndarray], np.ndarray]
COUNTS = (21, 41, 81)


def through(loss: Curve, midpoint: float) -> tuple[Curve, Curve]:
    """The two curves of one parameter: its loss over the line θ = α, and over the parabola through 0, `midpoint`, 1."""

    def quadratic(a: np.ndarray) -> np.ndarray:
        return loss(4 * midpoint * a * (1 - a) + a * (2 * a - 1))

    return loss, quadratic


def flat_stretch(a: np.ndarray) -> np.ndarray:
    """A fall, a long flat stretch, a fall."""
    return np.asarray(np.maximum(0.3 - a, 0) ** 2 * 2 + np.maximum(a - 1.1, 0) ** 2 * -2)


CURVES: dict[str, tuple[Curve, Curve]] = {
    "descending–convex": (lambda a: -a, lambda a: (a - 0.7) ** 2),
    "ascending–concave": (lambda a: a + 0.1 * a**2, lambda a: -((a - 0.8) ** 2)),
    "flat": (lambda a: (a - 2.0) ** 2, flat_stretch),
    "bump": through(lambda t: (t - 0.5) ** 2, 1.0),
    "wave": through(lambda t: (t + 0.8) ** 2, 1.0),
    "other": (lambda a: np.sin(6 * a), lambda a: np.cos(6 * a)),
}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", CURVES)
def test_constructed_curves_are_told_apart(name: str, count: int) -> None:
    alphas = np.linspace(-0.5, 1.5, count)
    linear, quadratic = CURVES[name]
    assert pattern(alphas, linear(alphas), quadratic(alphas)) == name


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", CURVES)
def test_noise_of_one_percent_changes_nothing(name: str, count: int) -> None:
    alphas = np.linspace(-0.5, 1.5, count)
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        noisy = [c + 0.01 * np.ptp(c) * rng.uniform(-1, 1, count) for c in (f(alphas) for f in CURVES[name])]
        found.append(pattern(alphas, *noisy))
    assert found == [name] * 40


@pytest.mark.parametrize("count", COUNTS)
def test_noise_alone_is_unresolved(count: int) -> None:
    alphas = np.linspace(-0.5, 1.5, count)
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found.append(pattern(alphas, 2.0 + 1e-7 * rng.normal(size=count), 2.0 + 1e-7 * rng.normal(size=count)))
    assert found == ["unresolved"] * 200


def test_a_line_that_only_rises_makes_no_bump() -> None:
    alphas = np.linspace(-0.5, 1.5, 41)
    two_valleys = np.abs(np.abs(alphas - 0.5) - 0.8) ** 1.5
    assert pattern(alphas, (alphas - 0.3) ** 2, two_valleys) == "bump"
    assert pattern(alphas, alphas, two_valleys) == "other"


def test_constant_curves_are_unresolved() -> None:
    alphas = np.linspace(-0.5, 1.5, 41)
    assert pattern(alphas, np.full(41, 0.3), np.full(41, 0.3)) == "unresolved"


def test_a_curve_that_is_not_finite_is_called_so() -> None:
    alphas = np.linspace(-0.5, 1.5, 41)
    assert pattern(alphas, np.where(alphas > 1, np.inf, alphas), alphas) == "not finite"


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e12])
@pytest.mark.parametrize("shift", [-5.0, 0.0, 3.0])
def test_scale_and_shift_do_not_matter(scale: float, shift: float) -> None:
    alphas = np.linspace(-0.5, 1.5, 41)
    for name, curves in CURVES.items():
        linear, quadratic = (scale * (f(alphas) + shift) for f in curves)
        assert pattern(alphas, linear, quadratic) == name


def test_smoothing_finds_the_noise() -> None:
    alphas = np.linspace(-0.5, 1.5, 81)
    noises = [smoothed(alphas, np.exp(alphas) + 0.05 * np.random.default_rng(s).normal(size=81))[1] for s in range(30)]
    assert np.median(noises) == pytest.approx(0.05, rel=0.1)


def test_turning_points_ignore_what_is_small() -> None:
    a = np.linspace(0, 1, 201)
    assert turning_points(np.cos(6 * np.pi * a)) == ["min", "max", "min", "max", "min"]
    assert turning_points(a + 0.002 * np.cos(60 * a)) == []
    assert turning_points(np.cos(6 * np.pi * a), noise=1.0) == []
    assert turning_points((a - 0.5) ** 2) == ["min"]


def test_the_convex_envelope_lies_under_the_curve_and_is_convex() -> None:
    a = np.linspace(0, 1, 101)
    curve = np.cos(9 * a)
    hull = convex_envelope(a, curve)
    assert (hull <= curve + 1e-12).all()
    assert (np.diff(hull, 2) >= -1e-12).all()
    np.testing.assert_allclose(convex_envelope(a, (a - 0.3) ** 2), (a - 0.3) ** 2, atol=1e-15)


def test_shares_sum_to_one() -> None:
    found = shares(["flat", "flat", "bump", "other"])
    assert list(found) == list(PATTERNS)
    assert found["flat"] == 0.5
    assert sum(found.values()) == 1.0


@pytest.mark.parametrize(("has", "count"), [(17, 40), (8, 40), (1, 40), (300, 1000)])
def test_intervals_of_shares_are_those_of_resampling(has: int, count: int) -> None:
    """The bootstrap's shares are binomial: its quantiles are known without drawing."""
    names = ["flat"] * has + ["bump"] * (count - has)
    found = share_intervals(names)
    expected = np.asarray(stats.binom.ppf([0.025, 0.975], count, has / count)) / count
    assert found["flat"] == pytest.approx(expected.tolist(), abs=1.01 / count + 0.004)
    np.testing.assert_allclose(found["bump"], [1 - found["flat"][1], 1 - found["flat"][0]], atol=1e-12)
    assert found["flat"][0] <= has / count <= found["flat"][1]
    assert list(found) == list(PATTERNS)


def test_intervals_are_the_same_for_the_same_seed() -> None:
    names = ["flat"] * 400 + ["bump"] * 300 + ["wave"] * 300
    assert share_intervals(names) == share_intervals(names)
    assert share_intervals(names, seed=1) != share_intervals(names)
    assert share_intervals([]) == {}


def test_what_was_never_drawn_has_the_exact_limit() -> None:
    found = share_intervals(["flat"] * 40)
    # 40 parameters without it: a share of which that happens once in 40 times
    assert found["bump"] == [0.0, pytest.approx(1 - 0.025 ** (1 / 40))]
    assert (1 - found["bump"][1]) ** 40 == pytest.approx(0.025)
    assert found["flat"] == [pytest.approx(0.025 ** (1 / 40)), 1.0]


def test_intervals_hold_the_true_share_about_95_times_in_100() -> None:
    generator, held = np.random.default_rng(0), 0
    for _ in range(300):
        names = np.where(generator.uniform(size=100) < 0.4, "flat", "bump").tolist()
        low, high = share_intervals(names)["flat"]
        held += low <= 0.4 <= high
    assert 0.91 <= held / 300 <= 0.98
