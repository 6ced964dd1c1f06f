"""Several results in one picture: on one scale, with common axes, called by their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from thetascope.errors import ResultError
from thetascope.experiments.framework.pictures import called, described_as, has_common_axes, own_options, picture
from thetascope.results.labelled import labels_of, only

if TYPE_CHECKING:
    import xarray as xr
    from plotly.graph_objects import Figure as PlotlyFigure

    from thetascope.drawing.notebook import PanelsFigure
    from thetascope.drawing.spec import Form, Picture
    from thetascope.results.result import Result


def panels(results: Mapping[str, Result], kind: str | None = None, **options: Any) -> PanelsFigure:
    """Draw several results of one experiment in one picture.

    Curves of whole models lie over one another on common axes. Surfaces and planes stand side by side with one scale, common contours and
    one bar of colours; all else stands side by side with common axes.

    Args:
        results: by the labels that the picture calls them by. A result of several objectives counts as one for each.
        kind: of picture, where the experiment has several, such as "contour", "heatmap" or "3d" for surfaces.
        options: what else `Result.plot` takes for these results, such as ``variable="accuracy"``.

    Returns:
        A matplotlib Figure, with ``savefig`` and all else that those have. Its ``figure()`` gives the interactive plotly figure.

    Raises:
        ResultError: there is no result, they are of different experiments or levels, or their picture does not take an option.

    Example:
        >>> line = ts.interpolate(objective, trajectory, alphas=5)
        >>> early = ts.interpolate(objective, ts.Trajectory.from_states(trajectory[:5]), alphas=5)
        >>> drawn = ts.panels({"whole training": line, "its first half": early})
        >>> drawn.savefig("panels.png")
        >>> drawn.figure().write_html("panels.html")
    """
    from thetascope.drawing.notebook import PanelsFigure
    from thetascope.drawing.with_matplotlib import figure_of

    data = checked(results)
    chosen = options if kind is None else {"kind": kind, **options}
    figure = cast(PanelsFigure, figure_of(panels_picture(data, "figure", **chosen), PanelsFigure))
    figure.page = partial(_page, data, chosen)
    return figure


def checked(results: Mapping[str, Result]) -> dict[str, xr.Dataset]:
    """The data by label, all of one experiment and level.

    Raises:
        ResultError: they are not, there are none, or a label is no text.
    """
    from thetascope.results.result import Result

    expected = 'pass results of one experiment by their labels, as in ts.panels({"ResNet-20": one, "no skips": other})'
    if not isinstance(results, Mapping) or not results:
        raise ResultError(f"{expected}. Got {'an empty mapping' if isinstance(results, Mapping) else type(results).__name__} instead.")
    for label, result in results.items():
        if not isinstance(label, str) or not label.strip():
            raise ResultError(f"{expected}. Got the label {label!r} instead.")
        if not isinstance(result, Result):
            raise ResultError(f'{expected}. Got {type(result).__name__} for "{label}" instead.')
    kinds = {label: called(result.data) for label, result in results.items()}
    if len(set(kinds.values())) > 1:
        there = ", ".join(f'"{label}" is of {kind}' for label, kind in kinds.items())
        raise ResultError(f"results in one picture are of one experiment and level. Got several: {there}")
    return {label: result.data for label, result in results.items()}


def panels_picture(results: Mapping[str, xr.Dataset], form: Form, **options: Any) -> Picture:
    """The picture as data.

    Raises:
        ResultError: it does not take an option.
    """
    from thetascope.drawing.joined import joined
    from thetascope.drawing.options import taken
    from thetascope.experiments.framework.picture_options import applied

    parts: dict[str, xr.Dataset] = {}
    for label, data in results.items():
        several = labels_of(data) if options.get("data") is None else []
        parts |= {f"{label}, {one}": only(data, one) for one in several} or {label: data}
    first = next(iter(parts.values()))
    shared, own = taken(options, own_options(first))
    made = {label: _made(data, form, own) for label, data in parts.items()}
    whole = joined(made, form, _differences(parts), common=all(map(has_common_axes, parts.values())))
    return applied(shared, whole, form, described_as(first, form))


def _made(data: xr.Dataset, form: Form, options: Mapping[str, Any]) -> Picture:
    """A picture, in a figure a plane without what else it has."""
    from thetascope.drawing.joined import has_plane
    from thetascope.drawing.spec import Parts

    whole = picture(data, form, **options)
    if form != "figure" or not has_plane(whole):
        return whole
    plane = picture(data, "axes", **options)
    return replace(plane, parts=Parts(parts=[replace(next(plane.parts.panels), title="")]))


def _differences(parts: Mapping[str, xr.Dataset]) -> list[str]:
    """What was not measured in the same way, so that values cannot be compared without a thought."""
    said = []
    for name, told in (("loss", _loss), ("samples", _samples), ("tolerance", _tolerance)):
        values = {label: told(data.attrs) for label, data in parts.items()}
        if len(set(values.values())) > 1:
            said.append(f"{name} {', '.join(f'{value} ({label})' for label, value in values.items())}")
    return [f"not measured alike: {'; '.join(said)}"] if said else []


def _loss(attrs: Mapping[Any, Any]) -> str:
    return str(attrs.get("loss_name", "unknown")).replace("_", " ")


def _samples(attrs: Mapping[Any, Any]) -> str:
    count = attrs.get("samples_scored")
    return f"{count:,}" if isinstance(count, int) else "unknown"


def _tolerance(attrs: Mapping[Any, Any]) -> str:
    estimate = attrs.get("estimate") or {}
    return f"{100 * estimate['tolerance']:g}%" if estimate.get("tolerance") else "none"


def _page(results: Mapping[str, xr.Dataset], options: Mapping[str, Any]) -> PlotlyFigure:
    from thetascope.drawing.with_plotly import page_of

    return page_of(panels_picture(results, "page", **options))
