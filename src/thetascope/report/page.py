"""The page: what is known of a run, put together and written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from thetascope._version import __version__
from thetascope.errors import ResultError
from thetascope.experiments.framework.tables import Table, table
from thetascope.files import write_atomically
from thetascope.recording.run_files import RUN_FILE
from thetascope.report.articles import Chapter, chapters_of
from thetascope.report.embedding import security_policy
from thetascope.report.found import Found, Given, PathLike, find_results, problem_of
from thetascope.report.glance import glance_of
from thetascope.report.provenance import certainty, doubts
from thetascope.report.run import Run, read_run
from thetascope.results import Result
from thetascope.safe_paths import check_below
from thetascope.shown import encoded, shown

FILE = "report.html"
SCRIPTS = ("theme.js", "pictures.js", "controls.js", "planes.js", "downloads.js", "tables.js", "start.js")


def write_report(run: PathLike, results: Iterable[Given] | Given | None = None) -> Path:
    """Write ``RUN/report.html``: one file that shows a run and all that was found about it, and needs no network.

    Neither model nor data nor torch are needed. A result that is damaged or not finished is shown as such.

    Args:
        run: a run directory; or a folder whose ``results`` are reported without a recording.
        results: what is shown besides what lies in ``RUN/results``: results, or paths of stored ones.

    Returns:
        The path of the file. An older one is replaced, whole or not at all.

    Raises:
        RecordingError: `run` is no folder.
        PlaceError: a link lies where the report is to be written.
        ResultError: it holds neither a recording nor results.
        ResultError: a path in `results` does not exist.

    Example:
        >>> ts.write_report("runs/digits").name
        'report.html'
    """
    folder = Path(run)
    check_below(folder, folder / FILE)
    recorded, found = read_run(folder), find_results(folder, results)
    if not found and not (folder / RUN_FILE).exists():
        raise ResultError(
            f'"{folder}" holds neither a recording ({RUN_FILE}) nor stored results (results/); name a run directory, or the folder in '
            "which checkpoint files were examined"
        )
    page = _page(recorded, found)
    path = folder / FILE

    def write(partial: Path) -> None:
        partial.write_bytes(page)

    write_atomically(path, write)
    return path


def _page(run: Run, found: list[Found]) -> bytes:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("thetascope.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    run = _sound_run(run)
    found = [_sound(run, one) for one in found]
    glance, chapters = glance_of(run, found), chapters_of(run, found)
    library = _script_text(get_plotlyjs())
    scripts = [_script_text(_asset(name)) for name in SCRIPTS]
    readable = [(one.name, one.result) for one in found if one.result is not None]
    context: dict[str, Any] = {
        "title": shown(run.path.resolve().name),
        "run": run,
        "glance": glance,
        "chapters": chapters,
        "certainty": _certainty(readable) if readable else None,
        "doubts": doubts(run, readable),
        "alpha": _alpha_range(found),
        "layers": _layers(run, chapters),
        "style": Markup(_asset("report.css")),
        "library": Markup(library),
        "scripts": [Markup(script) for script in scripts],
        "policy": security_policy([library, *scripts]),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": __version__,
        "safe": Markup,
    }
    return encoded(environment.get_template("report.html.j2").render(context))


def _sound_run(run: Run) -> Run:
    """The run, or that it says of itself what cannot be shown."""
    try:
        glance_of(run, [])
    except Exception as error:  # noqa: BLE001 - headers may hold anything; the results are shown all the same
        return Run(run.path, problem=f"The recording cannot be shown: {problem_of(error)}.")
    return run


def _sound(run: Run, one: Found) -> Found:
    """A result of which all that the page tells of several at once can be told; else only why not."""
    if one.result is None:
        return one
    try:
        glance_of(run, [one])
        _certainty([(one.name, one.result)])
        doubts(run, [(one.name, one.result)])
        _alpha_range([one])
    except Exception as error:  # noqa: BLE001 - attributes may hold anything; the other results are shown all the same
        return Found(one.name, None, problem_of(error))
    return one


def _certainty(readable: Sequence[tuple[str, Result]]) -> Table:
    titles = ("result", "samples", "evaluated", "estimated", "not finite", "missing", "known errors")
    return table("What every number rests on", titles, certainty(readable))


def _asset(name: str) -> str:
    return files("thetascope.report").joinpath("assets", name).read_text(encoding="utf-8")


def _script_text(script: str) -> str:
    """As a browser reads it: line ends are one character, and it hashes what it reads."""
    return script.replace("\r\n", "\n").replace("\r", "\n")


def _alpha_range(found: Iterable[Found]) -> tuple[float, float] | None:
    """The lowest and the highest α of all pictures over it."""
    ranges = [
        (float(one.result.data["alpha"].min()), float(one.result.data["alpha"].max()))
        for one in found
        if one.result is not None and "alpha" in one.result.data.coords and one.result.data.sizes["alpha"]
    ]
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None


def _layers(run: Run, chapters: Iterable[Chapter]) -> list[str]:
    """All layers that are named: those of the model in their order, then those that only a result knows."""
    named = [row.name for row in run.layers]
    for chapter in chapters:
        for article in chapter.articles:
            named += [row.layer for row in (article.table.rows if article.table else ()) if row.layer is not None]
    return list(dict.fromkeys(named))
