"""Figures outside of a script: in notebooks, in files for print, and with what tracks experiments."""

from __future__ import annotations

import pickle
import re
from io import BytesIO
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from thetascope.drawing.notebook import shown_in_html
from thetascope.drawing.spec import Line, Panel, Parts, Picture
from thetascope.drawing.with_matplotlib import figure_of
from thetascope.drawing.with_plotly import page_of


@pytest.fixture
def picture() -> Picture:
    panel = Panel(marks=[Line(x=[0.0, 1.0], y=[0.2, 1.0], label="curve")], x_label="step", y_label="loss", y_log=True)
    return Picture(title="A title", notes=("a note",), parts=Parts(parts=[panel]), width=4, height=3)


def test_trackers_take_a_figure_as_matplotlib_s(picture: Picture) -> None:
    figure = figure_of(picture)
    assert isinstance(figure, Figure)  # mlflow's log_figure asks for this, and calls savefig
    assert f"{type(figure).__module__}.{type(figure).__name__}".startswith("matplotlib.")  # wandb goes by the name of the type
    assert figure.gca().has_data()  # wandb refuses an empty one
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")
    canvas: Any = FigureCanvasAgg(figure)  # as TensorBoard's add_figure draws it
    canvas.draw()
    assert len(memoryview(canvas.buffer_rgba())) == canvas.get_width_height()[1]
    again = pickle.loads(pickle.dumps(figure))
    assert type(again) is type(figure)
    assert again.get_suptitle() == "A title"


def test_files_for_print_hold_truetype_and_text(picture: Picture) -> None:
    pdf, svg = BytesIO(), BytesIO()
    figure_of(picture).savefig(pdf, format="pdf")
    figure_of(picture).savefig(svg, format="svg")
    assert b"/CIDFontType2" in pdf.getvalue()  # TrueType; matplotlib's own way is Type 3, which publishers refuse
    assert b"/Type3" not in pdf.getvalue()
    assert re.search(r"<text[^>]*>A title</text>", svg.getvalue().decode())


def test_a_page_stays_in_a_notebook_that_becomes_html(picture: Picture) -> None:
    page: Any = shown_in_html(page_of(picture))
    bundle = page._repr_mimebundle_()
    assert "plotly" in bundle["text/html"]
    assert "A title" in bundle["text/html"]
    assert page._ipython_display_ is None  # a notebook would show that alone


def test_logarithmic_axes_are_numbered_in_both(picture: Picture) -> None:
    figure = figure_of(picture)
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_ylim()
    shown = [tick.label1.get_text() for tick in figure.axes[0].yaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    assert shown == ["0.2", "0.5", "1"]
    axis = page_of(picture).layout.yaxis
    assert set(axis.ticktext) >= {"0.2", "0.5", "1"}
