"""Result: labelled arrays with their provenance, and how they show themselves."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from thetascope.errors import ResultError
from thetascope.results.dataframes import to_dataframe
from thetascope.results.labelled import DATA, labels_of, only, samples_scored
from thetascope.results.status import status_counts
from thetascope.results.stored import save
from thetascope.shown import shown

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

WHEN = ("step", "epoch", "progress")
"""When a state was recorded; a summary leaves it out."""


class Result:
    """What an experiment found.

    Attributes:
        data: the labelled arrays. Variables named ``…status`` hold 0 missing, 1 evaluated, 2 evaluated and not
            finite, 3 estimated; ``data.attrs`` the provenance: versions, seeds, fingerprints, states, engine.
        path: where it is stored, if it is.
        in_progress: whether another process was filling it when it was loaded.

    Example:
        >>> result = ts.interpolate(objective, trajectory, alphas=5)
        >>> result.data["loss"].dims
        ('alpha',)
        >>> result.status_counts()["evaluated"]
        16
        >>> result.plot().savefig("line.png")
        >>> result.figure().write_html("line.html")
        >>> result.export("line.csv").name
        'line.csv'
    """

    def __init__(self, data: xr.Dataset, path: Path | None = None) -> None:
        if "experiment" not in data.attrs:
            raise ResultError("the dataset holds no thetascope result: its attrs name no experiment")
        self.data, self.path, self.in_progress = data, path, False
        self.make_state: Callable[[xr.Dataset, str], Any] | None = None

    @property
    def experiment(self) -> str:
        """The name of the function that made it, such as ``interpolate``."""
        return str(self.data.attrs["experiment"])

    @property
    def title(self) -> str:
        """One line on what it is."""
        return str(self.data.attrs.get("title", self.experiment))

    @property
    def headline(self) -> str:
        """What was found, in one sentence with this result's numbers; of several objectives in one sentence each.

        A result that is not finished says how much of it is missing.

        Example:
            >>> ts.trajectory_geometry(trajectory).headline.endswith(".")
            True
        """
        told: str = _exports().headline_of(self.data)
        return told

    @property
    def findings(self) -> dict[str, float | int | bool | str]:
        """What was found, as a flat mapping of keys to numbers and words: what trackers log.

        The keys of each experiment, their types and units are listed in the docs ("Results", "Findings"). A key with a slash is of one
        layer, metric or other label: ``share/conv1``. Of several objectives each key begins with the objective's label:
        ``train/barrier``. A number that is not finite is kept as it is; what is not known is left out, as are findings of points
        that are not scored yet.

        Example:
            >>> line = ts.interpolate(objective, trajectory, alphas=5)
            >>> type(line.findings["barrier"]).__name__, line.findings["samples"]
            ('float', 397)
        """
        found: dict[str, float | int | bool | str] = _exports().findings_of(self.data)
        return found

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes | Figure:
        """Draw with matplotlib: on `ax` where one is given, else in a new figure.

        Of a result of several objectives all are drawn, or that of one label with ``data=``; on `ax` only one.

        Args:
            ax: draw the picture's first panel there.
            options: of all pictures: ``title`` (a text), ``subtitle=False`` (no notes), ``size`` (inches: width and height, or a
                width, from which the height follows), ``cmap`` (matplotlib's name), ``levels`` (of contours: how many, or their
                values), ``vmin`` and ``vmax`` (ends of the colours, or of the values' axis), ``log`` (whether these are logarithmic)
                and ``label`` (what a legend calls the result, as on `ax` beside another); and those of its own kind of picture, such
                as ``variable``.

        Returns:
            What was drawn on.

        Raises:
            ResultError: the picture takes no such option, or a value does not fit.

        Example:
            >>> figure = result.plot(title="A straight line", size=3.25, vmax=2.0, subtitle=False)
            >>> figure.savefig("column.pdf")
        """
        drawn: Axes | Figure = _exports().draw_matplotlib(self.data, ax, **options)
        return drawn

    def figure(self, **options: Any) -> PlotlyFigure:
        """Draw an interactive plotly figure. It takes the options of `plot`."""
        return _exports().draw_plotly(self.data, **options)

    def to_dataframe(self) -> pd.DataFrame:
        """One table with a row per point of each variable: its dimensions, its variables, its status.

        Variables over different dimensions stand below one another, told apart by the column ``dims``.
        """
        return to_dataframe(self.data)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Store the result as a zarr group at `path`, whole or not at all; an older result there is replaced.

        Raises:
            ResultError: something else lies at `path`.
        """
        self.path = save(self.data, Path(path))
        return self.path

    def export(self, path: str | os.PathLike[str], variable: str | None = None, **options: Any) -> Path:
        """Write a file for other programs, in the format that the suffix of `path` names; a file there is replaced.

        ``.vti`` (a grid) and ``.vtp`` (a training's way) for ParaView; ``.csv``, ``.npz``; ``.png``, ``.svg``, ``.pdf``,
        ``.html``; ``.gif``, ``.mp4``.

        Args:
            path: of the file. Its folder is made.
            variable: of the scored variables, write only this one. An animation shows the loss without.
            options: of a picture or a page, as `plot` takes them; ``verbatim=True`` of a .csv, whose texts that a spreadsheet would
                run as a formula (a layer called "=1+1", say) begin with an apostrophe without it.

        Returns:
            The path.

        Raises:
            ResultError: no such format or variable, or the result does not fit the format; or an option does not fit the picture.
        """
        written: Path = _exports().export(self.data, path, variable, **options)
        return written

    def one(self, data: str) -> Result:
        """Of a result of several objectives the part of one: what a call with that objective alone would have given.

        Args:
            data: its label, such as "train".

        Raises:
            ResultError: there is no such label, or the result is of one objective.

        Example:
            >>> both = ts.interpolate({"train": objective, "test": objective}, trajectory, alphas=5)
            >>> both.data["loss"].dims, both.one("test").data["loss"].dims
            (('data', 'alpha'), ('alpha',))
        """
        return Result(only(self.data, data))

    def state(self, label: str) -> Any:
        """A state that the result names, such as an average of checkpoints, as a `ts.State`: its ``save(path)`` writes a file.

        Args:
            label: what the result calls it, such as "chosen".

        Raises:
            ResultError: it names no such state; or it was loaded, without the model and the states that it is made of.
        """
        if self.make_state is None:
            call = self.data.attrs.get("experiment")
            raise ResultError(
                f"this result was loaded, or is a part of one: its states are made of those of the run. Repeat the call of {call} with the "
                "same out=, which scores nothing anew, and ask what it returns"
            )
        return self.make_state(self.data, label)

    def status_counts(self) -> dict[str, int]:
        """How many points are evaluated, not finite, missing and estimated, over all status variables."""
        return status_counts(self.data)

    def summary(self) -> list[tuple[str, str]]:
        """What the result shows itself as: a list of names and texts."""
        attrs = self.data.attrs
        names = sorted(map(str, self.data.data_vars), key=self._rank)
        dims = dict.fromkeys(dim for name in [*names, *self.data.coords] for dim in self.data[name].dims)
        rows = [("dims", ", ".join(f"{dim} {self.data.sizes[dim]}" for dim in dims))]
        shown = [n for n in names if n not in WHEN and self.data[n].dtype.kind == "f" and self.data[n].size]
        rows += [row for n in shown for row in self._extents(n)]
        counts = {label: count for label, count in self.status_counts().items() if count}
        rows += [("status", ", ".join(f"{count:,} {label}" for label, count in counts.items()))] if counts else []
        samples = samples_scored(attrs)
        if samples:
            rows.append(("scored on", f"{samples}, {attrs.get('device')}, engine {attrs.get('engine', {}).get('name')}"))
        if self.path is not None:
            rows.append(("stored at", f"{self.path}{', in progress: another process is filling it' if self.in_progress else ''}"))
        return rows

    def _extents(self, name: str) -> list[tuple[str, str]]:
        """Of a variable, by label where it lies along several objectives."""
        variable = self.data[name]
        if DATA not in variable.dims or not labels_of(self.data):
            return [(name, _extent(variable))]
        return [(f"{name}, {label}", _extent(only(self.data, label)[name])) for label in labels_of(self.data)]

    def _rank(self, name: str) -> tuple[bool, bool, int, str]:
        """What was scored comes first, in its order; a store gives its variables in none."""
        scored = list(self.data.attrs.get("scored", ()))
        found = next((i for i, own in enumerate(scored) if name == own or name.endswith(f"_{own}")), None)
        return (found is None, name not in scored, found or 0, name)

    def __repr__(self) -> str:
        rows = self.summary()
        width = max(len(name) for name, _ in rows)
        return shown("\n".join([f"thetascope result: {self.title}", *(f"  {name:<{width}}  {text}" for name, text in rows)]))

    def _repr_html_(self) -> str:
        """For notebooks: the table and the picture."""
        cells = "".join(
            f'<tr><th style="text-align:left;padding-right:1em">{escape(name)}</th><td style="text-align:left">{escape(text)}</td></tr>'
            for name, text in self.summary()
        )
        return shown(f"<div><strong>{escape(self.title)}</strong><table>{cells}</table>{self._image()}</div>")

    def _image(self) -> str:
        """The picture within a page, nothing where there is none."""
        picture = _exports().png(self.data)
        if picture is None:
            return ""
        data = b64encode(picture).decode("ascii")
        return f'<img style="max-width:100%" alt="{escape(self.title)}" src="data:image/png;base64,{data}">'


def _exports() -> Any:
    """What draws, exports and sums up results."""
    import thetascope.exports  # the one line against the current: what is drawn here is only known there

    return thetascope.exports


def _extent(variable: xr.DataArray) -> str:
    """The first and last value along one dimension, and the lowest where it is neither; else the range."""
    values = variable.values
    finite = np.isfinite(values)
    if not finite.any():
        return "no finite value"
    lowest, highest = np.nanmin(values[finite]), np.nanmax(values[finite])
    if variable.ndim != 1:
        return f"{lowest:.4g} to {highest:.4g}"
    dim = str(variable.dims[0])
    at = variable[dim].values if dim in variable.coords else np.arange(variable.size)
    place = int(np.flatnonzero(values == lowest)[0])
    ends = f"{values[0]:.4g} → {values[-1]:.4g}"
    if at.dtype.kind not in "iuf":
        return f"{lowest:.4g} to {highest:.4g}"
    return ends if place in (0, variable.size - 1) else f"{ends}, lowest {lowest:.4g} at {dim} {at[place]:g}"
