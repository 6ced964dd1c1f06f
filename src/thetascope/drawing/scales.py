"""Values spread over colours and heights, and numbers written out: even, logarithmic, or denser where most values lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.style import wants_log
from thetascope.errors import ResultError

if TYPE_CHECKING:
    from matplotlib.colors import Normalize


COLOR_MAP = "viridis"
"""Of the loss and of impacts."""
LEVELS = 17
UNEVEN = 0.2
"""Where the middle 80 % of the values take less than this of their range, colours follow quantiles too."""
STEPS = 8
"""So many levels has a decade of a symmetric logarithmic scale."""
ROOM = 0.05
"""Of the values' range: between them and the end of an axis."""
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
EXTREME = 1e250


@dataclass(frozen=True)
class Scale:
    """How values are spread over colours and heights from 0 to 1: evenly, by their logarithm, or denser where most of them are.

    `levels` rise from the lowest finite value to the highest; there is one where all are equal, none where nothing
    is finite. Each takes as much of the colours as the next.
    """

    levels: Floats
    log: bool
    even: bool

    @property
    def flat(self) -> bool:
        """Whether there is nothing to spread."""
        return len(self.levels) < 2

    @property
    def remark(self) -> str:
        """What an axis adds to its name."""
        return "" if self.flat or (self.even and not self.log) else ", log scale" if self.log and self.even else ", uneven scale"

    def position(self, values: Floats) -> Floats:
        """Where values lie, 0 at the lowest level and 1 at the highest, also beyond; nan where they are not finite."""
        at = np.where(np.isfinite(values), values, np.nan)
        if self.flat:
            return np.where(np.isnan(at), np.nan, 0.5)
        at, knots = self._straight(at), self._straight(self.levels)
        inside = np.interp(at, knots, np.linspace(0.0, 1.0, len(knots)))
        beyond = np.maximum(at - knots[-1], 0.0) + np.minimum(at - knots[0], 0.0)
        return np.asarray(inside + beyond / (knots[-1] - knots[0]), np.float64)

    def value(self, places: Floats) -> Floats:
        """What lies at a position: the inverse of `position`."""
        knots, places = self._straight(self.levels), np.asarray(places, np.float64)
        inside = np.interp(places, np.linspace(0.0, 1.0, len(knots)), knots)
        beyond = np.maximum(places - 1.0, 0.0) + np.minimum(places, 0.0)
        straight = inside + beyond * (knots[-1] - knots[0])
        return np.asarray(10.0**straight if self.log else straight * np.abs(self.levels).max(), np.float64)

    def _straight(self, values: Floats) -> Floats:
        if not self.log:
            return np.asarray(values / np.abs(self.levels).max(), np.float64)
        return np.asarray(np.log10(values, where=values > 0, out=np.full(np.shape(values), np.nan)), np.float64)

    @property
    def ticks(self) -> Floats:
        """Round values to write on a colour bar or an axis; levels where the scale is uneven."""
        low, high = self.levels[[0, -1]] if len(self.levels) else (0.0, 0.0)
        if self.flat or not self.even:
            shown = np.linspace(0, len(self.levels) - 1, min(len(self.levels), 8)).round().astype(int)
            return np.asarray(self.levels[shown], np.float64)
        if not self.log:
            return _round_steps(low, high)
        found = log_ticks(low, high)
        return found[(found >= low) & (found <= high)]

    @property
    def tick_texts(self) -> list[str]:
        """The ticks written out, with as many digits as tell them apart."""
        return texts_of(self.ticks)

    def norm(self) -> Normalize:
        """The same for matplotlib's colours."""
        from matplotlib.colors import FuncNorm, LogNorm, Normalize

        if self.flat:
            level = float(self.levels[0]) if len(self.levels) else 0.5
            return Normalize(level - (abs(level) or 1.0) / 2, level + (abs(level) or 1.0) / 2)
        low, high = map(float, self.levels[[0, -1]])
        if self.even:
            return LogNorm(low, high) if self.log else Normalize(low, high)
        return FuncNorm((self.position, self.value), low, high)


class SymmetricLog(Scale):
    """Values of both signs, spread by the logarithm of their size beyond a threshold, and evenly below it; 0 lies in the middle."""

    @classmethod
    def of(cls, values: Floats, threshold: float) -> SymmetricLog:
        """For values of which those up to the threshold, above 0, are small; as far as the next power of ten times it."""
        sizes = np.abs(values[np.isfinite(values)])
        decades = max(1, int(np.ceil(np.log10(max(sizes.max(initial=0.0) / threshold, 1.0)) - 1e-9)))
        side = threshold * np.logspace(0, decades, STEPS * decades + 1)
        middle = np.linspace(-threshold, threshold, STEPS // 2 + 1)[1:-1]
        return cls(np.concatenate([-side[::-1], middle, side]), log=False, even=False)

    @property
    def remark(self) -> str:
        """What an axis adds to its name."""
        return ", symmetric log scale"

    @property
    def ticks(self) -> Floats:
        """The threshold times powers of ten, of many every other."""
        side = self.levels[len(self.levels) // 2 + STEPS // 4 :: STEPS]
        side = side[:: 1 + len(side) // 6]
        return np.concatenate([-side[::-1], side])


def log_ticks(low: float, high: float) -> Floats:
    """Round values along a logarithmic axis, from below `low` to above `high`, both above 0."""
    decades = np.log10(high) - np.log10(low)
    every = max(int(np.ceil(decades / 8)), 1)
    powers = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    found = np.concatenate([m * 10.0 ** powers[powers % every == 0] for m in ((1, 2, 5) if decades < 2.5 else (1,))])
    return np.asarray(np.sort(found), np.float64)


def _round_steps(low: float, high: float) -> Floats:
    """Multiples of 1, 2 or 5 times a power of ten, about six of them."""
    rough = high / 6 - low / 6
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    steps = np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1)
    return np.asarray(steps * step + 0.0, np.float64)  # + 0.0: no minus before a zero


def texts_of(values: Floats) -> list[str]:
    """Numbers with as many digits as tell them apart, powers of ten with raised exponents."""
    for digits in (3, 4, 5, 6, 8, 12, 17):
        texts = [_written(value, digits) for value in values.tolist()]
        if len(set(texts)) == len(set(values.tolist())):
            break
    return texts if len(values) else []


def text_of(value: float) -> str:
    """A number with as many digits as show it."""
    return _written(value, 3)


def _written(value: float, digits: int) -> str:
    if not np.isfinite(value):
        return str(value)
    if 1e-4 <= abs(value) < 1e5 or value == 0:
        return f"{float(f'{value:.{digits}g}'):,.15g}".replace("-", "−")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    mantissa = f"{float(mantissa):g}".replace("-", "−")
    power = "10" + str(int(exponent)).translate(SUPERSCRIPT)
    return {"1": power, "−1": f"−{power}"}.get(mantissa, f"{mantissa}·{power}")


def drawable(values: Floats) -> Floats:
    """Finite values within what matplotlib can reckon with, nan else."""
    within = np.clip(np.where(np.isfinite(values), values, np.nan), -EXTREME, EXTREME)
    return np.where(np.abs(within) < 1 / EXTREME, 0.0, within)


def scale_of(
    values: Floats,
    *,
    bounded: bool = False,
    log: bool | None = None,
    levels: int | Sequence[float] | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Scale:
    """The scale that shows the low values and the high ones: logarithmic where `wants_log` says so, with levels at quantiles
    besides the even ones where few outliers would take all colours. Even and not logarithmic where values are `bounded`.

    Args:
        values: of any shape; those that are not finite do not count.
        bounded: whether they are shares.
        log: whether it is logarithmic, whatever the values; then it is even.
        levels: how many steps it has, or the values where they lie.
        vmin: value at its lower end; what lies below has a position below 0.
        vmax: value at its upper end; what lies above has a position above 1.

    Raises:
        ResultError: a logarithmic scale of values that are not above 0, or ends that leave nothing between them.
    """
    finite = np.unique(values[np.isfinite(values)])
    if not len(finite) or (vmin is vmax is None and finite[-1] / 2 - finite[0] / 2 <= 1e-12 * np.abs(finite).max()):
        return Scale(finite[:1], log=False, even=True)
    first, last = float(finite[0] if vmin is None else vmin), float(finite[-1] if vmax is None else vmax)
    if first >= last:
        raise ResultError(f"vmin and vmax leave a scale from {first:.3g} to {last:.3g}; values go from {finite[0]:.3g} to {finite[-1]:.3g}")
    every = np.clip(values[np.isfinite(values)], first, last)
    finite = np.unique(np.append(every, (first, last)))
    with np.errstate(over="ignore"):
        chosen, log = log, log if log is not None else not bounded and first > 0 and wants_log(finite)
    if log and first <= 0:
        raise ResultError(f"log=True needs values above 0; the lowest is {first:.3g}: choose vmin=, or leave log out")
    size = np.abs(finite).max()
    straight = np.log10(every) if log else every / size
    low, high = (np.log10([first, last]) if log else np.divide([first, last], size)).tolist()
    tenth, most = np.quantile(straight, [0.1, 0.9])
    even = bounded or chosen is not None or levels is not None or bool(most - tenth >= UNEVEN * (high - low))
    if isinstance(levels, Sequence | np.ndarray):
        inner = np.asarray([level for level in levels if first < level < last], np.float64)
        if not len(inner):
            raise ResultError(f"no level lies between {first:.3g} and {last:.3g}; got {', '.join(f'{level:g}' for level in levels)}")
        steps = np.concatenate([[first], inner, [last]])
        widths = np.diff(np.log10(steps) if log else steps)
        return Scale(steps, log=log, even=bool(np.allclose(widths, widths.mean())))
    places = np.linspace(low, high, levels + 1 if levels is not None else LEVELS if even else LEVELS // 2 + 1)
    steps = np.clip(10.0**places if log else places * size, first, last)
    steps[[0, -1]] = first, last
    return Scale(steps if even else _with_quantiles(steps, every), log=log, even=even)


def _with_quantiles(levels: Floats, values: Floats) -> Floats:
    """More levels where most of the values lie; none closer than a thousandth to another, which would draw noise."""
    kept = list(levels)
    for level in np.quantile(values, np.linspace(0, 1, LEVELS // 2 + 1), method="nearest"):
        if all(abs(level - other) > 1e-3 * max(abs(level), abs(other)) for other in kept):
            kept.append(level)
    return np.sort(np.asarray(kept, np.float64))


def around(values: Floats, *, log: bool) -> tuple[float, float]:
    """The ends of an axis around finite values, with some room."""
    at = np.log10(values) if log else values
    room = ROOM * float(np.ptp(at)) or 0.01 * abs(float(at[0])) or 0.01
    low, high = float(at.min()) - room, float(at.max()) + room
    return (10**low, 10**high) if log else (low, high)


def written(value: float) -> str:
    """A value in words."""
    return f"{value:.4g}" if np.isfinite(value) else "without a finite value"


def colors_of(name: str, stops: int = 64) -> list[str]:
    """Matplotlib's colours of that name from the lowest to the highest, for plotly."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(color) for color in colormaps[name](np.linspace(0.0, 1.0, stops))]


def color_scale(name: str) -> str | list[tuple[float, str]]:
    """The same as plotly's scale: its own of that name where it is one of this package's, with the same colours."""
    colors = colors_of(name)
    return name.capitalize() if name in ("viridis", "cividis") else list(zip(np.linspace(0, 1, len(colors)).tolist(), colors, strict=True))


def is_share(name: str, values: Floats) -> bool:
    """Whether a variable's values are shares, which all lie from 0 to 1."""
    known = values[np.isfinite(values)]
    return bool(name != "loss" and len(known) and known.min() >= 0 and known.max() <= 1)


def color_map_of(name: str) -> str:
    """Matplotlib's name of the colours that a variable has where none are asked for."""
    return COLOR_MAP if name == "loss" else "cividis"


def even_scale(values: Floats, *, bounded: bool = False) -> Scale:
    """As `scale_of`, but even whatever lies where; `bounded` values, as accuracies, take at least two hundredths."""
    found = scale_of(values, bounded=bounded)
    if not len(found.levels):
        return found
    low, high = (least_range(values) if bounded else None) or found.levels[[0, -1]].tolist()
    if low == high:
        return found
    levels = np.geomspace(low, high, LEVELS) if found.log else np.linspace(low, high, LEVELS)
    return Scale(np.asarray(levels, np.float64), log=found.log, even=True)


def least_range(*series: Floats) -> tuple[float, float] | None:
    """A range around values that hardly differ, one hundredth to each side; None where they take more by themselves, or there are none.

    An axis of its own would show an accuracy that moves by a ten-thousandth as if it jumped.
    """
    values = np.concatenate([np.ravel(part) for part in series])
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    middle = float(finite.max() + finite.min()) / 2
    room = 0.01 * max(abs(middle), 1.0)
    return None if np.ptp(finite) >= 2 * room else (middle - room, middle + room)
