"""The commands that show what is stored, or put it together: report, panels and merge."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from thetascope.cli.application import app, examples
from thetascope.cli.printing import put


@app.command(sort_key=85, help_epilogue=examples("thetascope report runs/mine"))
def report(
    runs: Annotated[list[Path], Parameter(help="Run directories, or folders that hold results/; each gets a report of its own.")],
    /,
    *,
    results: Annotated[
        list[Path] | None,
        Parameter(help="Stored results to show besides those in RUN/results.", consume_multiple=True, negative=()),
    ] = None,
) -> None:
    """Write RUN/report.html: one file with all that was found, which needs neither network nor model nor data."""
    import thetascope as ts
    from thetascope.errors import UsageError

    if results and len(runs) > 1:
        raise UsageError("--results go into one report: name one run with them")
    for run in runs:
        put(ts.write_report(run, results))
    if len(runs) > 1:
        put("To see results of several runs in one picture: thetascope panels RESULT RESULT …")


@app.command(sort_key=87, help_epilogue=examples("thetascope merge runs/mine", "thetascope merge runs/mine/results/surface"))
def merge(
    paths: Annotated[list[Path], Parameter(help="A run whose results were scored in parts, or the place of one such result.")],
    /,
) -> None:
    """Join the parts of results that were scored with --part, once all of them are there."""
    import thetascope as ts
    from thetascope.experiments.framework.catalog import experiment_of
    from thetascope.experiments.framework.declaration import command_line
    from thetascope.results.portions import results_in_parts

    for place in [place for path in paths for place in results_in_parts(path) or [path]]:
        result = ts.merge(place)
        attrs = result.data.attrs
        experiment = experiment_of(attrs)
        put(f"{place}: {len(attrs['parts'])} parts, {result.status_counts()['evaluated']:,} points")
        if experiment is not None:
            home = place.parent.parent
            out = "" if place == home / "results" / attrs["key"] else f" --out {shlex.quote(str(place))}"
            put(f"  finish and draw it: {command_line(experiment, attrs['options'], str(home))}{out}")


PICTURES = (".png", ".pdf", ".svg", ".html")


@app.command(
    sort_key=86,
    help_epilogue=examples(
        "thetascope panels a/results/surface b/results/surface --kind 3d --out both.pdf",
        'thetascope panels runs/*/results/interpolate --labels "seed 0" "seed 1" --out seeds.html',
    ),
)
def panels(
    results: Annotated[list[Path], Parameter(help="Stored results of one experiment, such as RUN/results/surface.")],
    /,
    *,
    labels: Annotated[
        list[str] | None,
        Parameter(
            help="What the picture calls them (default: the names of their runs, or of their folders).", consume_multiple=True, negative=()
        ),
    ] = None,
    kind: Annotated[str | None, Parameter(help="Of picture, where there are several: contour, heatmap, 3d or cuts of a surface.")] = None,
    variable: Annotated[str | None, Parameter(help="Draw only this one of the scored variables.")] = None,
    out: Annotated[Path, Parameter(help="The picture: .png, .pdf, .svg or .html, an interactive page.")] = Path("panels.png"),
) -> None:
    """Draw several stored results in one picture, on one scale and with common axes."""
    import thetascope as ts
    from thetascope.errors import UsageError
    from thetascope.experiments.framework.pictures import write_picture

    if out.suffix.lower() not in PICTURES:
        raise UsageError(f'--out: "{out}" ends in no known format; there are: {", ".join(PICTURES)}')
    names = names_of(results) if labels is None else labels
    if len(names) != len(results) or len(set(names)) < len(names):
        raise UsageError(f"--labels: {len(results)} results need as many labels, each another. Got {', '.join(names)}")
    chosen = {} if variable is None else {"variable": variable}
    figure = ts.panels({name: ts.load_result(path) for name, path in zip(names, results, strict=True)}, kind, **chosen)
    put(write_picture(out, lambda: figure, figure))


def names_of(results: Sequence[Path]) -> list[str]:
    """The names of the runs that the results lie in, where all are of one call; else those of the results."""
    from thetascope.files import distinct_names

    homes = [path.absolute().parent.parent if path.absolute().parent.name == "results" else path.absolute().parent for path in results]
    calls = [path.absolute().name for path in results]
    return distinct_names(homes if len(set(calls)) == 1 < len(results) else [home / call for home, call in zip(homes, calls, strict=True)])
