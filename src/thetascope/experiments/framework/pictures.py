"""The pictures of all experiments, found by convention: ``picture.py`` in an experiment's folder, or in that of its level.

Such a module has ``picture(data, …)``, which makes the picture as data (`drawing.spec.Picture`); what draws it is the same for all.
None loads torch: a result is drawn on a machine that has neither the model nor the data.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from importlib import import_module
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thetascope._version import __version__
from thetascope.drawing.joined import joined
from thetascope.drawing.options import NAMES, taken
from thetascope.errors import ResultError
from thetascope.experiments.framework.phrases import listed
from thetascope.experiments.framework.picture_options import applied
from thetascope.files import sweep_beside, write_atomically
from thetascope.results.labelled import labels_of, only
from thetascope.results.showing import showable
from thetascope.results.status import status_counts

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

    from thetascope.drawing.spec import Form, Picture

EXPERIMENTS = "thetascope.experiments"
SUFFIXES = (".png", ".svg", ".pdf", ".html")
"""Of the files that `save_figure` writes."""


def draw_matplotlib(data: xr.Dataset, /, ax: Axes | None = None, **options: Any) -> Axes | Figure:
    """Draw a result's data on `ax`, or in a new figure.

    Nearly every picture takes `variable`: one of the scored variables, drawn alone. What else one takes its module says. Of a result
    of several objectives all are drawn, or only that of the label `data`.

    Raises:
        ResultError: the picture has no such option, or the result nothing of the name that it gives.
    """
    from thetascope.drawing.with_matplotlib import drawn_on, figure_of

    return drawn_on(ax, picture(data, "axes", **options)) if ax is not None else figure_of(picture(data, "figure", **options))


def draw_plotly(data: xr.Dataset, /, **options: Any) -> PlotlyFigure:
    """Draw a result's data as an interactive page.

    Raises:
        ResultError: the picture has no such option, or the result nothing of the name that it gives.
    """
    from thetascope.drawing.notebook import shown_in_html
    from thetascope.drawing.with_plotly import page_of

    return shown_in_html(page_of(picture(data, "page", **options)))


def picture(data: xr.Dataset, form: Form, /, **options: Any) -> Picture:
    """The picture of a result's data, as data.

    Raises:
        ResultError: there is none, it has no such option, or the result nothing of the name that it gives; or several objectives are
            to be drawn on one pair of axes.
    """
    data = showable(data)
    chosen, labels = options.pop("data", None), labels_of(data)
    shared, own = taken(options, own_options(data))
    described = described_as(data, form)
    if chosen is not None:
        one = _picture(only(data, chosen), form, described, **own)
        made = replace(one, title=f"{one.title}, {chosen} data", notes=(*one.notes, _scored_on([chosen])))
    elif not labels:
        made = _picture(data, form, described, **own)
    elif form == "axes":
        raise ResultError(
            f'axes of your own show one objective, and this result is of {", ".join(labels)}: choose one with data="{labels[0]}", '
            "or leave ax= out"
        )
    else:
        pictures = {label: _picture(only(data, label), form, described, **own) for label in labels}
        made = joined(pictures, form, [_scored_on(labels)], common=has_common_axes(data), views=True)
    return applied(shared, made, form, described)


def has_common_axes(data: xr.Dataset) -> bool:
    """Whether the curves of several results are drawn on the same axes."""
    return getattr(picture_module(data), "COMMON_AXES", False)


def check_options(options: Mapping[str, Any]) -> None:
    """An error for options of all pictures with values that fit none.

    Raises:
        ResultError: there is one.
    """
    taken(options, ())


def described_as(data: xr.Dataset, form: Form) -> str:
    """What errors call a picture."""
    return f'the {"page" if form == "page" else "figure"} of "{called(data)}"'


def _scored_on(labels: Sequence[str]) -> str:
    """What a caption says of the data."""
    return f"scored on {listed(labels)} data; weight decay or another regulariser is not in the loss"


def own_options(data: xr.Dataset) -> list[str]:
    """What a picture takes besides what all do."""
    return [name for name in list(signature(picture_module(data).picture).parameters)[1:] if name != "form"]


def _picture(data: xr.Dataset, form: Form, described: str, **options: Any) -> Picture:
    make, known = picture_module(data).picture, own_options(data)
    if "form" in signature(make).parameters:
        make = partial(make, form=form)
    for name in options.keys() - set(known):
        raise ResultError(
            f"{described} takes no {name}=; it takes {', '.join(f'{option}=' for option in known) or 'no option of its own'}, and all "
            f"pictures take {', '.join(f'{option}=' for option in NAMES)}"
        )
    made: Picture = make(data, **options)
    return made


def save_figure(data: xr.Dataset, path: Path, /, **options: Any) -> Path:
    """Draw into a file, whole or not at all: an interactive page for .html (self-contained, no network), else a picture.

    Returns:
        The path.
    """
    return write_picture(path, partial(draw_matplotlib, data, **options), partial(draw_plotly, data, **options))


def refresh_figure(data: xr.Dataset, path: Path) -> Path:
    """`save_figure`, unless the file holds the picture of these very data already, drawn by the same versions.

    Returns:
        The path.
    """
    mark = _mark(data)
    if _is_marked(path, mark):
        sweep_beside(path)  # who was killed once the picture was in its place
    else:
        write_picture(path, partial(draw_matplotlib, data), partial(draw_plotly, data), mark)
    return path


MARKED_BYTES = 4096
"""So far from its beginning a file says what it is the picture of."""


def _mark(data: xr.Dataset) -> str:
    """What a picture is known by: all that it may show, and what draws it."""
    total = sha256(repr([(name, version(name)) for name in ("matplotlib", "plotly")] + [__version__]).encode())
    total.update(json.dumps(data.attrs, sort_keys=True, default=repr).encode(errors="surrogatepass"))
    for name in sorted(map(str, data.variables)):
        variable = data[name].variable
        total.update(repr((name, variable.dims, variable.dtype.str, variable.shape)).encode(errors="surrogatepass"))
        texts = variable.dtype.kind in "OTUS"
        total.update(repr(variable.values.tolist()).encode(errors="surrogatepass") if texts else variable.values.tobytes())
    return f"thetascope-{total.hexdigest()[:32]}"


def _is_marked(path: Path, mark: str) -> bool:
    """Whether a regular file begins with the mark and is whole, as far as its end tells."""
    end = {".png": b"IEND\xaeB`\x82", ".html": b"</html>"}.get(path.suffix)
    try:
        if end is None or not stat.S_ISREG(path.lstat().st_mode):
            return False
        with path.open("rb") as file:
            begins = mark.encode() in file.read(MARKED_BYTES)
            file.seek(-len(end), os.SEEK_END)
            return begins and file.read() == end
    except OSError:
        return False


def write_picture(path: Path, figure: Callable[[], Any], page: Callable[[], PlotlyFigure], mark: str = "") -> Path:
    """What one of the two draws as a file, whole or not at all; a .png and a page say in their beginning what they are of by `mark`.

    Returns:
        The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(file: Path) -> None:
        if path.suffix == ".html":
            page().write_html(file, include_plotlyjs=True, config={"showSendToCloud": False}, auto_play=False)
            if mark:
                content = file.read_text(encoding="utf-8")
                file.write_text(content.replace("<head>", f'<head><meta name="source" content="{mark}">', 1), encoding="utf-8")
        else:
            kind = path.suffix[1:].lower() or "png"
            figure().savefig(file, format=kind, dpi=150, **({"metadata": {"Source": mark}} if mark and kind == "png" else {}))

    write_atomically(path, write)
    return path


def png(data: xr.Dataset) -> bytes | None:
    """A picture for a notebook; None where there is no figure for the data, or they are not finished yet."""
    from thetascope.drawing.notebook import NotebookFigure

    if _key(data) not in _modules("picture") or status_counts(data)["missing"]:
        return None
    drawn = draw_matplotlib(data)
    return drawn._repr_png_() if isinstance(drawn, NotebookFigure) else None


def picture_module(data: xr.Dataset) -> Any:
    """The module that draws data of that experiment and level.

    Raises:
        ResultError: there is none.
    """
    there = _modules("picture")
    if _key(data) not in there:
        raise ResultError(f'there is no figure for "{called(data)}"; there are: {", ".join(map(" ".join, there))}')
    return import_module(there[_key(data)])


def animation_module(data: xr.Dataset) -> Any:
    """The module beside the picture that moves it, with ``save_animation(data, path, variable=…)``.

    Raises:
        ResultError: there is none.
    """
    there = _modules("animation")
    if _key(data) not in there:
        names = '" or "'.join(map(" ".join, there))
        raise ResultError(f'only a result of "{names}" can be animated; got one of "{data.attrs["experiment"]}"')
    return import_module(there[_key(data)])


def _key(data: xr.Dataset) -> tuple[str, ...]:
    """The experiment and, where it has one, the level. Both come from files of strangers: they are only looked up."""
    return tuple(str(data.attrs[name]) for name in ("experiment", "level") if name in data.attrs)


def called(data: xr.Dataset) -> str:
    """What made it, for people: the experiment and its level."""
    return " ".join(_key(data))


def _modules(name: str) -> dict[tuple[str, ...], str]:
    """The modules of that name that there are, by experiment and level."""
    found: dict[tuple[str, ...], str] = {}
    for place in map(Path, import_module(EXPERIMENTS).__path__):
        for file in sorted([*place.glob(f"*/{name}.py"), *place.glob(f"*/*/{name}.py")]):
            folders = file.parent.relative_to(place).parts
            if all(map(str.isidentifier, folders)):
                found.setdefault(folders, ".".join([EXPERIMENTS, *folders, name]))
    return found
