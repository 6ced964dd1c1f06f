"""The command that writes the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from thetascope.cli.application import app, examples


@app.command(sort_key=85, help_epilogue=examples("thetascope report runs/mine"))
def report(
    run: Annotated[Path, Parameter(help="A run directory, or a folder that holds results/.")],
    /,
    *,
    results: Annotated[
        list[Path] | None,
        Parameter(help="Stored results to show besides those in RUN/results.", consume_multiple=True, negative=()),
    ] = None,
) -> None:
    """Write RUN/report.html: one file with all that was found, which needs neither network nor model nor data."""
    import thetascope as ts

    print(ts.write_report(run, results))
