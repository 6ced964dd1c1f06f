"""What every picture takes besides options of its own: texts, size, colours, limits, scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

import numpy as np

from thetascope.errors import ResultError


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """Options of every picture; None leaves it as it is. `log`, `levels` and both limits are of the first quantity that it shows.

    Attributes:
        title: in place of its own.
        subtitle: whether notes stand below the title.
        size: width and height in inches; of a width alone the height follows.
        cmap: matplotlib's name of a colour map.
        levels: how many steps contours have, or the values where they lie.
        vmin, vmax: values at the ends of the colours, heights, or axis; what lies beyond is shown at the end, and counted.
        label: what the legend calls the result; its curves' own names follow where there are several.
        log: whether colours, heights or axis are logarithmic.
    """

    title: str | None = None
    subtitle: bool = True
    size: float | tuple[float, float] | None = None
    cmap: str | None = None
    levels: int | Sequence[float] | None = None
    vmin: float | None = None
    vmax: float | None = None
    label: str | None = None
    log: bool | None = None

    def __post_init__(self) -> None:
        for name, fits, expected in (
            ("title", isinstance(self.title, str | None), "a text"),
            ("label", isinstance(self.label, str | None) and self.label != "", "a text"),
            ("subtitle", isinstance(self.subtitle, bool), "True or False"),
            ("log", isinstance(self.log, bool | None), "True or False"),
            ("size", self.size is None or _is_size(self.size), "a width, or a width and a height, in inches, from 1 to 100"),
            ("levels", self.levels is None or _are_levels(self.levels), "a number from 2 to 200, or values that rise"),
            ("vmin", self.vmin is None or _are_numbers(self.vmin), "a finite number"),
            ("vmax", self.vmax is None or _are_numbers(self.vmax), "a finite number"),
        ):
            if not fits:
                raise ResultError(f"{name}= must be {expected}; got {getattr(self, name)!r}")
        if self.vmin is not None and self.vmax is not None and self.vmin >= self.vmax:
            raise ResultError(f"vmin must be below vmax; got {self.vmin:g} and {self.vmax:g}")
        if self.cmap is not None:
            _check_color_map(self.cmap)

    @property
    def given(self) -> list[str]:
        """The names of those that are not left as they are."""
        return [option.name for option in fields(self) if getattr(self, option.name) is not option.default]


NAMES = tuple(option.name for option in fields(PictureOptions))
"""Of all options."""


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float | np.number) and not isinstance(value, bool) and np.isfinite(value) for value in values)


def _is_size(size: Any) -> bool:
    sides = list(size) if isinstance(size, Sequence | np.ndarray) and not isinstance(size, str) else [size]
    return len(sides) <= 2 and _are_numbers(*sides) and all(1 <= side <= 100 for side in sides) and bool(sides)


def _are_levels(levels: Any) -> bool:
    if isinstance(levels, int | np.integer):
        return not isinstance(levels, bool) and bool(2 <= levels <= 200)
    there = list(levels) if isinstance(levels, Sequence | np.ndarray) and not isinstance(levels, str) else []
    return bool(there) and _are_numbers(*there) and bool((np.diff(there) > 0).all())


def _check_color_map(name: str) -> None:
    from matplotlib import colormaps

    if name not in colormaps:
        near = get_close_matches(str(name), list(colormaps)) or ["viridis", "magma", "cividis", "coolwarm"]
        raise ResultError(f'matplotlib knows no colour map "{name}"; there are {", ".join(near)} and others')


def taken(options: Mapping[str, Any], own: Sequence[str]) -> tuple[PictureOptions, dict[str, Any]]:
    """The options that all pictures share, and the rest; a picture's `own` names go first."""
    shared = set(NAMES) - set(own)
    rest = {name: value for name, value in options.items() if name not in shared}
    return PictureOptions(**{name: value for name, value in options.items() if name in shared}), rest
