"""The five patterns of a single parameter's linear and quadratic curve (Němcová 2021, section 6.4), decided by rule.

Both curves are smoothed first: a least-squares polynomial in Chebyshev's basis whose degree generalised
cross-validation picks. What it leaves over is the noise of the arithmetic, because along such a curve nothing changes
but one parameter. The rules are asked in this order, and the first that holds decides:

wave
    linear rises throughout, convexly and steeply (its second half rises at least twice as much as its first);
    quadratic has an inner maximum and an inner minimum
bump
    linear is convex, falls, and rises again before α = 1; quadratic has an inner maximum between two inner minima
flat
    linear is convex and falls throughout; quadratic has a flat stretch inside the range: at least a quarter of the
    range of α long, within 2 % of the curve's range, touching neither end
ascending–concave
    linear rises throughout, quadratic is concave
descending–convex
    linear falls throughout, quadratic is convex

Throughout means: nowhere back by more than 2 % of the curve's range. Convex means: within 2 % of its range of the
curve's convex envelope; concave likewise. An inner extremum is one that the curve leaves on both sides by more than 0.5 % of
its range and 3 standard deviations of its noise: the quadratic curve runs away outside [0, 1], so that a bump inside is small
against its range.
Otherwise "other"; "unresolved" where a curve's range is under 4 standard deviations of its noise, or of the floor that the
arithmetic sets (measured by scoring some points in double precision too), or of fewer than 9 points; "not finite" where a
value is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PATTERNS = ("descending–convex", "ascending–concave", "flat", "bump", "wave", "other", "unresolved", "not finite")

TOLERANCE = 0.02
EXTREMUM = 0.005
FLAT_LENGTH = 0.25
STEEPNESS = 2.0
RESOLVED = 4.0
FEWEST_POINTS = 9
_DEGREES = range(2, 13)


def smoothed(alphas: Floats, curve: Floats) -> tuple[Floats, float]:
    """The smooth curve ``[A]`` under a noisy one, and the noise's standard deviation.

    Of polynomials of degree 2 to 12 (at most a third of the points) the one with the least generalised
    cross-validation score ``n·RSS / (n − p)²`` is taken (Golub, Heath and Wahba 1979).
    """
    low, high = alphas.min(), alphas.max()
    at = 2.0 * (alphas - low) / (high - low) - 1.0
    scale = np.ptp(curve) or 1.0
    values = (curve - curve.mean()) / scale
    n, best, least, noise = len(alphas), values, np.inf, 0.0
    for degree in [d for d in _DEGREES if d <= max(2, n // 3)]:
        fit = chebyshev.chebval(at, chebyshev.chebfit(at, values, degree))
        residual = float(((values - fit) ** 2).sum())
        score = n * residual / (n - degree - 1) ** 2
        if score < least:
            best, least, noise = fit, score, float(np.sqrt(residual / (n - degree - 1)))
    return best * scale + curve.mean(), noise * scale


def pattern(alphas: Floats, linear: Floats, quadratic: Floats, floor: float = 0.0) -> str:
    """Which pattern a parameter's two curves ``[A]`` over rising `alphas` make; one of `PATTERNS`.

    `floor` is the standard deviation of the arithmetic's noise, where it was measured.
    """
    if not (np.isfinite(linear).all() and np.isfinite(quadratic).all()):
        return "not finite"
    if len(alphas) < FEWEST_POINTS:
        return "unresolved"
    (line, line_noise), (bent, bent_noise) = smoothed(alphas, linear), smoothed(alphas, quadratic)
    if np.ptp(line) <= RESOLVED * max(line_noise, floor) or np.ptp(bent) <= RESOLVED * max(bent_noise, floor):
        return "unresolved"
    turns = turning_points(bent, bent_noise)
    waves, bumps = {"min", "max"} <= set(turns), "max" in turns and turns.count("min") >= 2
    falls, rises, convex = _falls(line), _falls(-line), _convex(alphas, line)
    rules = (
        ("wave", rises and convex and _steep(alphas, line) and waves),
        ("bump", convex and _rises_before_the_end(alphas, line) and bumps),
        ("flat", convex and falls and _flat_inside(alphas, bent)),
        ("ascending–concave", rises and _convex(alphas, -bent)),
        ("descending–convex", falls and _convex(alphas, bent)),
    )
    return next((name for name, holds in rules if holds), "other")


def shares(patterns: Sequence[str]) -> dict[str, float]:
    """The share of each pattern, in the order of `PATTERNS`; they sum to 1."""
    return {name: sum(p == name for p in patterns) / len(patterns) for name in PATTERNS}


def turning_points(curve: Floats, noise: float = 0.0) -> list[str]:
    """The inner extrema in order, each left on both sides by more than what is noise or negligible: "min", "max", …"""
    step = max(EXTREMUM * float(np.ptp(curve)), 3.0 * noise)
    found: list[str] = []
    low = high = float(curve[0])
    heading = 0
    for value in curve[1:].tolist():
        low, high = min(low, value), max(high, value)
        if heading >= 0 and value < high - step:
            found += ["max"] if heading > 0 else []
            heading, low, high = -1, value, value
        elif heading <= 0 and value > low + step:
            found += ["min"] if heading < 0 else []
            heading, low, high = 1, value, value
    return found


def _falls(curve: Floats) -> bool:
    """Nowhere above an earlier value by more than the tolerance."""
    return bool((curve - np.minimum.accumulate(curve)).max() <= TOLERANCE * np.ptp(curve))


def _convex(alphas: Floats, curve: Floats) -> bool:
    return bool((curve - convex_envelope(alphas, curve)).max() <= TOLERANCE * np.ptp(curve))


def convex_envelope(alphas: Floats, curve: Floats) -> Floats:
    """The largest convex function under the points, at `alphas` (the lower hull, Andrew 1979)."""
    hull: list[int] = []
    for i in range(len(alphas)):
        while len(hull) > 1 and _above(alphas, curve, hull[-2], hull[-1], i):
            hull.pop()
        hull.append(i)
    return np.interp(alphas, alphas[hull], curve[hull])


def _above(x: Floats, y: Floats, a: int, b: int, c: int) -> bool:
    """Whether point b lies on or above the segment from a to c."""
    return bool((y[b] - y[a]) * (x[c] - x[a]) >= (y[c] - y[a]) * (x[b] - x[a]))


def _steep(alphas: Floats, curve: Floats) -> bool:
    first, middle, last = np.interp([alphas[0], (alphas[0] + alphas[-1]) / 2, alphas[-1]], alphas, curve)
    return bool(last - middle >= STEEPNESS * (middle - first))


def _rises_before_the_end(alphas: Floats, curve: Floats) -> bool:
    """Whether the curve has fallen to a minimum and is above it again at α = 1."""
    before = curve[alphas < 1.0]
    step = TOLERANCE * np.ptp(curve)
    return bool(len(before) and np.interp(1.0, alphas, curve) - before.min() > step and curve[0] - before.min() > step)


def _flat_inside(alphas: Floats, curve: Floats) -> bool:
    """Whether some inner stretch of at least `FLAT_LENGTH` of the range stays within the tolerance."""
    length, band = FLAT_LENGTH * (alphas[-1] - alphas[0]), TOLERANCE * np.ptp(curve)
    for start in range(1, len(alphas) - 1):
        end = int(np.searchsorted(alphas, alphas[start] + length - 1e-9))
        if end < len(alphas) - 1 and np.ptp(curve[start : end + 1]) <= band:
            return True
    return False
