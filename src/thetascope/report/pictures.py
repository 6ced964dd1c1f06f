"""Interactive pictures as data of the page, and the files that can be downloaded of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from thetascope.report.embedding import data_uri, packed, safe_json
from thetascope.results import Result

if TYPE_CHECKING:
    from thetascope.drawing.spec import Picture

LARGEST = 2_500_000
"""Characters of one interactive picture; a larger one is embedded as it is drawn for print."""
LARGEST_TOTAL = 5_500_000
"""Characters of all pictures and tables together: with the library that draws them a page stays under 12 MB."""
SMALL = 150_000
"""Characters below which an image would save nothing."""
MOST_ROWS = 60_000
"""Rows of a table for download; variables that would need more are left out and named."""
MARGIN, BESIDE = {"l": 40, "r": 40, "t": 30, "b": 60}, 20
"""Pixels around the panels, and by how many a picture is higher than they are."""


@dataclass(frozen=True)
class PagePicture:
    """A picture of the page.

    Attributes:
        name: for downloads and as an id.
        title: what it shows.
        notes: what must be said beside it.
        height: in pixels.
        data: what is drawn, controls, colours and layers as JSON; empty where it is an image.
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

    @property
    def size(self) -> int:
        """Characters in the page."""
        return len(self.data) + len(self.image) + len(self.csv)


def picture_of(picture: Picture, name: str) -> PagePicture:
    """An interactive picture, drawn for the page's own ground: the page writes title and notes, and makes buttons and sliders."""
    from plotly.io.json import to_json_plotly

    from thetascope.drawing.with_plotly import drawn_of

    drawn = drawn_of(picture, webgl=False)  # the page's policy forbids the code that flat traces of WebGL are compiled to
    moving = picture.moving
    height = drawn.figure.layout.height + BESIDE
    content = drawn.figure.update_layout(height=height, margin=MARGIN).to_plotly_json() | {
        "menus": [_menu(menu, picture.opens) for menu in drawn.menus],
        "walk": moving and {"prefix": moving.prefix, "labels": [label for label, _ in moving.frames]},
        "inks": drawn.inks,
        "cursors": drawn.cursors,
        "narrowly": drawn.narrow | {"height": drawn.narrow["height"] + BESIDE, "margin": MARGIN | {"l": 8, "r": 8}},
    }
    return PagePicture(name, picture.title, picture.notes, height, data=safe_json(json.loads(to_json_plotly(content))))


def _menu(menu: dict[str, Any], opens: str) -> dict[str, Any]:
    """What the page makes buttons of: what they are called, what they do, and which is pressed first where WebGL can draw it."""
    from thetascope.drawing.plotly_planes import KIND, KINDS

    made = {key: menu[key] for key in ("name", "buttons", "active") if key in menu}
    return made | ({"opens": list(KINDS).index(opens)} if opens and menu["name"] == KIND else {})


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
