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

from collections.abc import Callable, Sequence

import numpy as np
from numpy.polynomial import chebyshev

from thetascope.arrays import Floats

PATTERNS = ("descending–convex", "ascending–concave", "flat", "bump", "wave", "other", "unresolved", "not finite")

TOLERANCE = 0.02
EXTREMUM = 0.005
FLAT_LENGTH = 0.25
STEEPNESS = 2.0
RESOLVED = 4.0
FEWEST_POINTS = 9
RESAMPLINGS = 2000
_DEGREES = range(2, 13)


def smoothed(alphas: Floats, curves: Floats) -> tuple[Floats, Floats]:
    """The smooth curves under noisy ones ``[…, A]``, and the standard deviation of each one's noise ``[…]``.

    Of polynomials of degree 2 to 12 (at most a third of the points) the one with the least generalised
    cross-validation score ``n·RSS / (n − p)²`` is taken (Golub, Heath and Wahba 1979).
    """
    low, high = alphas.min(), alphas.max()
    at = 2.0 * (alphas - low) / (high - low) - 1.0
    extent, mean = np.ptp(curves, axis=-1, keepdims=True), curves.mean(axis=-1, keepdims=True)
    scale = np.where(extent > 0, extent, 1.0)
    values = (curves - mean) / scale
    n, best = len(alphas), values
    least, noise = np.full(values.shape[:-1], np.inf), np.zeros(values.shape[:-1])
    for degree in [d for d in _DEGREES if d <= max(2, n // 3)]:
        basis = np.linalg.qr(chebyshev.chebvander(at, degree)).Q
        fit = values @ basis @ basis.T
        residual = ((values - fit) ** 2).sum(axis=-1)
        score = n * residual / (n - degree - 1) ** 2
        better = score < least
        best = np.where(better[..., None], fit, best)
        least, noise = np.where(better, score, least), np.where(better, np.sqrt(residual / (n - degree - 1)), noise)
    return best * scale + mean, noise * scale[..., 0]


def patterns(alphas: Floats, linear: Floats, quadratic: Floats, floor: float = 0.0) -> list[str]:
    """Which pattern each parameter's two curves ``[E, A]`` over rising `alphas` make; each one of `PATTERNS`.

    `floor` is the standard deviation of the arithmetic's noise, where it was measured.
    """
    finite = np.isfinite(linear).all(axis=1) & np.isfinite(quadratic).all(axis=1)
    if len(alphas) < FEWEST_POINTS:
        return [str(name) for name in np.where(finite, "unresolved", "not finite")]
    found = np.full(len(linear), "not finite", dtype=object)
    members = np.flatnonzero(finite)
    (line, line_noise), (bent, bent_noise) = smoothed(alphas, linear[members]), smoothed(alphas, quadratic[members])
    unresolved = [np.ptp(c, axis=1) <= RESOLVED * np.maximum(noise, floor) for c, noise in ((line, line_noise), (bent, bent_noise))]
    for e, member in enumerate(members):
        flat = unresolved[0][e] or unresolved[1][e]
        found[member] = "unresolved" if flat else _shape(alphas, line[e], bent[e], float(bent_noise[e]))
    return [str(name) for name in found]


def pattern(alphas: Floats, linear: Floats, quadratic: Floats, floor: float = 0.0) -> str:
    """Which pattern one parameter's two curves ``[A]`` make."""
    return patterns(alphas, linear[None], quadratic[None], floor)[0]


def _shape(alphas: Floats, line: Floats, bent: Floats, bent_noise: float) -> str:
    """The first rule that holds of two smooth curves."""
    turns = turning_points(bent, bent_noise)
    waves, bumps = {"min", "max"} <= set(turns), "max" in turns and turns.count("min") >= 2
    falls, rises = _falls(line), _falls(-line)
    rules: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("wave", lambda: waves and rises and _convex(alphas, line) and _steep(alphas, line)),
        ("bump", lambda: bumps and _convex(alphas, line) and _rises_before_the_end(alphas, line)),
        ("flat", lambda: falls and _flat_inside(alphas, bent) and _convex(alphas, line)),
        ("ascending–concave", lambda: rises and _convex(alphas, -bent)),
        ("descending–convex", lambda: falls and _convex(alphas, bent)),
    )
    return next((name for name, holds in rules if holds()), "other")


def shares(patterns: Sequence[str]) -> dict[str, float]:
    """The share of each pattern, in the order of `PATTERNS`; they sum to 1."""
    return {name: sum(p == name for p in patterns) / len(patterns) for name in PATTERNS}


def share_intervals(patterns: Sequence[str], seed: int = 0) -> dict[str, list[float]]:
    """The central 95 % of each pattern's share, [low, high], by a bootstrap over the parameters.

    As many are drawn among them with replacement, 2,000 times. A bootstrap does not know what was not drawn: where no parameter has a
    pattern, or every one, the interval's open end is the exact binomial one (Clopper and Pearson 1934), ``1 − 0.025^(1/n)`` or
    ``0.025^(1/n)``.
    """
    count = len(patterns)
    if not count:
        return {}
    counts = np.array([sum(p == name for p in patterns) for name in PATTERNS])
    drawn = np.random.default_rng(seed).multinomial(count, counts / count, size=RESAMPLINGS) / count
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    edge = 0.025 ** (1 / count)
    low, high = np.where(counts == count, edge, low), np.where(counts == 0, 1 - edge, high)
    return {name: [float(low[i]), float(high[i])] for i, name in enumerate(PATTERNS)}


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
