"""Long lines hold few points, and none that is left out would be seen."""

from __future__ import annotations

import numpy as np
import pytest

from thetascope.drawing.spec import Line, Panel, Parts, Picture
from thetascope.drawing.thinning import APART, LONG, thinned
from thetascope.drawing.with_plotly import page_of


def spiral(count: int) -> Line:
    t = np.linspace(0, 1, count)
    x, y = t * np.cos(9 * t), t * np.sin(9 * t)
    return Line(
        x=x, y=y, color="red", marker="circle", told=[f"state {k}" for k in range(count)], data=np.arange(count), marked=[0, 7, count - 1]
    )


def test_short_lines_are_left_alone() -> None:
    line = spiral(LONG)
    assert thinned(line, Panel(marks=[line])) is line
    dots = Line(x=np.arange(9999.0), y=np.arange(9999.0), dash="", marker="circle")
    assert thinned(dots, Panel(marks=[dots])) is dots


@pytest.mark.parametrize("count", [LONG + 1, 20_000])
def test_what_is_left_out_lies_on_what_stays(count: int) -> None:
    line = spiral(count)
    few = thinned(line, Panel(marks=[line]))
    assert len(few.x) < LONG + 1
    assert (few.data[0], few.data[-1]) == (0, count - 1)
    assert few.told == [f"state {k}" for k in few.data]
    assert [few.data[k] for k in few.marked or ()] == [k for k in (0, 7, count - 1) if k in few.data]
    stays, wide = np.stack([few.x, few.y], axis=1), np.ptp(np.stack([line.x, line.y], axis=1), axis=0)
    away = np.abs((np.stack([line.x, line.y], axis=1)[:, None] - stays[None]) / wide).max(axis=2).min(axis=1)
    assert away.max() <= 10 * APART  # 20,000 points on a long way: coarser, and still within a few pixels


def test_outliers_and_gaps_stay() -> None:
    x, y = np.arange(5000.0), np.full(5000, 0.5)
    y[2500], y[3000:3003] = 9.0, np.nan
    few = thinned(Line(x=x, y=y), Panel(marks=[]), most=100)
    assert 9.0 in few.y
    assert np.isnan(few.y).sum() == 1
    falling = thinned(Line(x=x, y=10.0 ** -(x / 1000)), Panel(marks=[], y_log=True), most=200)
    assert np.diff(np.log10(falling.y)).min() > -0.1  # evenly in the logarithm, in which it is drawn


def test_pages_are_thinned() -> None:
    line = spiral(20_000)
    figure = page_of(Picture(title="way", notes=(), parts=Parts(parts=[Panel(marks=[line])]), width=6, height=4))
    assert len(figure.data[0].x) <= LONG
