"""Interactive pictures as data of the page, and the files that can be downloaded of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import unescape
from io import BytesIO
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from thetascope.report.embedding import data_uri, packed, safe_json
from thetascope.results import Result

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

LARGEST = 2_500_000
"""Characters of one interactive picture; a larger one is embedded as it is drawn for print."""
LARGEST_TOTAL = 5_500_000
"""Characters of all pictures and tables together: with the library that draws them a page stays under 12 MB."""
SMALL = 150_000
"""Characters below which an image would save nothing."""
MOST_ROWS = 60_000
"""Rows of a table for download; variables that would need more are left out and named."""
TOP, BOTTOM, SIDE = 30, 60, 40
"""Margins: titles stand in the page."""
LONG_TITLE = 40
"""Characters of an axis's title that still stand beside a low picture."""
ENTRY_WIDTH = 430
"""Of a legend's entries that change while a picture plays."""


@dataclass(frozen=True)
class PagePicture:
    """A picture of the page.

    Attributes:
        name: for downloads and as an id.
        title: what it shows.
        notes: what must be said beside it.
        height: in pixels.
        data: traces, layout, frames and controls as JSON; empty where it is an image.
        image: a data URI, where the picture is too large to be interactive.
        csv: the table behind it, packed; empty where there is none.
        csv_note: what the table lacks.
    """

    name: str
    title: str
    notes: tuple[str, ...]
    height: int
    data: str = ""
    image: str = ""
    csv: str = ""
    csv_note: str = ""
    over_alpha: bool = False
    start: str = ""

    @property
    def size(self) -> int:
        """Characters in the page."""
        return len(self.data) + len(self.image) + len(self.csv)


def picture_of(figure: Figure, name: str, notes: tuple[str, ...] = (), *, over_alpha: bool = False, start: str = "") -> PagePicture:
    """An interactive picture of a plotly figure; its title, notes, menus and slider are the page's matter."""
    content = json.loads(figure.to_json())
    layout = content["layout"]
    title = unescape(layout.pop("title", {}).get("text", "").split("<br>")[0])
    layout.pop("template", None)
    controls = {"menus": layout.pop("updatemenus", []), "sliders": layout.pop("sliders", [])}
    margin = layout.get("margin", {})
    bottom = min(margin.get("b", 80), BOTTOM)
    height = int(layout.get("height", 450)) - max(margin.get("t", 100) - TOP, 0) - max(margin.get("b", 80) - bottom, 0)
    layout |= {"height": height, "margin": {"l": SIDE, "r": SIDE, **margin, "t": TOP, "b": bottom}}
    _without_eval(content["data"])
    _fitted_to_page(layout)
    drawn = {"data": content["data"], "layout": layout, "frames": content.get("frames", []), **controls}
    return PagePicture(name, title, notes, height, data=safe_json(drawn), over_alpha=over_alpha, start=start)


def _without_eval(traces: list[dict[str, Any]]) -> None:
    """The page's policy forbids the code that WebGL's flat traces are compiled to; few points need none."""
    for trace in traces:
        if trace.get("type") == "scattergl":
            trace["type"] = "scatter"


def _fitted_to_page(layout: dict[str, Any]) -> None:
    """Long titles of upright axes take two lines; the legend of a plane stands below all else."""
    for key, axis in layout.items():
        if key.startswith("yaxis") and len(axis.get("title", {}).get("text", "")) > LONG_TITLE:
            axis["title"]["text"] = axis["title"]["text"].replace(", ", ",<br>", 1)
    if "scene" in layout:
        layout["legend"] = {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom", "entrywidth": ENTRY_WIDTH}


def drawn_for_print(result: Result, picture: PagePicture) -> PagePicture:
    """The same picture as an image, with a note on why."""
    from matplotlib.figure import Figure

    drawn = result.plot()
    assert isinstance(drawn, Figure)
    content = BytesIO()
    drawn.savefig(content, format="png", dpi=110)
    note = f"Too large to be interactive here ({len(picture.data) / 1e6:.1f} MB); result.figure() shows it so."
    image = data_uri(content.getvalue(), "image/png")
    return PagePicture(
        picture.name, picture.title, (*picture.notes, note), picture.height, image=image, csv=picture.csv, csv_note=picture.csv_note
    )


def table_for_download(result: Result, name: str) -> tuple[str, str]:
    """The result as CSV, packed, and what must be said of it: variables over too many points are left out."""
    data = result.data
    large = [str(n) for n, variable in sorted(data.data_vars.items()) if prod(variable.shape) > MOST_ROWS]
    in_order = data[sorted(map(str, data.data_vars))]  # a disk lists them in any order
    kept = Result(in_order.drop_vars(large), result.path)
    note = ""
    if large:
        note = f'The table lacks {", ".join(large)}: too many rows. ts.load_result("…/{name}").export("{name}.csv") writes them all.'
    if not kept.data.data_vars:
        return "", note
    with TemporaryDirectory(prefix="thetascope-") as folder:
        return packed(kept.export(Path(folder) / "table.csv").read_bytes()), note
