"""What the commands print: summaries of what was found, and plans of what a dry run would do."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from thetascope.progress import duration
from thetascope.shown import fit_for, shown

if TYPE_CHECKING:
    from thetascope.experiments.framework.examine import Finding
    from thetascope.experiments.framework.plan import Plan


ROOM_FOR_QUESTIONS = 72
"""So many columns a table of findings needs to show the questions too."""


def put(text: object, *, file: IO[str] | None = None) -> None:
    """Print a line. All that commands print in lines goes this way: what stands in it may come from strangers' files."""
    stream = sys.stdout if file is None else file
    print(fit_for(stream, str(text)), file=stream)


def print_summary(findings: Sequence[Finding], report: Path, *, told: bool) -> None:
    """A table of what was found, and where the pictures and the report are. Where the terminal is narrow, the questions make room.

    Args:
        findings: what was found.
        report: where the report is.
        told: whether each finding was said as it came, which a reader of this terminal has read.
    """
    from rich.console import Console

    rows = [(finding.entry.key, finding.entry.words.question, finding.headline) for finding in findings]
    if not (told and sys.stdout.isatty() and sys.stderr.isatty()):
        if Console().width < ROOM_FOR_QUESTIONS:
            _print_table(("experiment", "found"), [(name, found) for name, _, found in rows], lines=True)
        else:
            _print_table(("experiment", "question", "found"), rows, lines=True)
    pictures = [picture for finding in findings for picture in finding.pictures]
    if not sys.stdout.isatty():  # whoever reads it may be a script
        for picture in pictures:
            put(picture)
    else:
        for folder in dict.fromkeys(picture.parent for picture in pictures):
            own = [picture for picture in pictures if picture.parent == folder]
            suffixes = " and ".join(dict.fromkeys(picture.suffix for picture in own))
            put(f"{len({picture.stem for picture in own})} pictures, each as {suffixes}: {folder}")
    put(report)


def print_plan(plan: Plan, place: Path) -> None:
    """What one call would do, in full."""
    stored = f"; {plan.stored:,} are stored already" if plan.stored else ""
    put(f"dry run: {plan.title}")
    put(f"  to do    {_todo(plan)}{f' on {plan.scored_on}' if plan.todo and plan.samples else ''}{stored}")
    put(f"  engine   {plan.engine}")
    if plan.todo:
        put(f"  time     {plan.time}{_each(plan)}")
    if plan.memory is not None:
        memory = plan.memory
        parts = f"states {size(memory.states)}, data {size(memory.data)}, a point {size(memory.point)}"
        put(f"  memory   {size(memory.total)} of tensors: {parts}")
    put(f"  result   {place}")
    measured = "" if plan.memory is None else "A point's memory was measured on one. "
    _print_remarks(f"{measured}{_process()}")


def print_plans(plans: Mapping[str, Plan]) -> None:
    """What several experiments would do, a row each."""
    from thetascope.experiments.framework.timing import Expected

    rows = []
    for name, plan in plans.items():
        time = str(plan.time).removeprefix("about ") if plan.todo else ""
        tensors = "" if plan.memory is None else size(plan.memory.total)
        rows.append((name, _todo(plan), f"{plan.stored:,}", time, tensors))
    _print_table(("experiment", "to do", "stored", "time", "tensors"), rows)
    times = [plan.time for plan in plans.values() if plan.todo]
    total = Expected(sum(time.least for time in times), sum(time.seconds for time in times), 0.0, "")
    all_of_it = f"In all {total}." if times else "Everything is stored."
    _print_remarks(
        f"{all_of_it} Times are measured on a few points (or steps) of each; pictures and the report take a few seconds more. "
        f"Tensors: the states, the data, and what one point needs, measured on one. {_process()}"
    )


def size(count: int) -> str:
    """A number of bytes as a person says it: 512 B, 3.4 MiB, 12 GiB."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 9.95 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB" if amount < 9.95 else f"{amount:,.0f} GiB"


def _todo(plan: Plan) -> str:
    if not plan.todo:
        return "nothing"
    unit = plan.unit if plan.todo != 1 else plan.unit.removesuffix("s")
    return f"{plan.least:,} to {plan.todo:,} {unit}" if plan.least < plan.todo else f"{plan.todo:,} {unit}"


def _each(plan: Plan) -> str:
    each = duration(plan.time.each) if plan.time.each >= 1e-3 else "under 1 ms"
    return f" ({each} a {plan.unit.removesuffix('s')}, {plan.time.measured_on})"


def _process() -> str:
    """What the process has taken, where the system tells."""
    try:
        import resource
    except ImportError:  # not on Windows
        return "Nothing was written."
    scale = 1 if sys.platform == "darwin" else 1024
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    return f"The whole process, Python and torch with it, has held {size(held)} at most so far. Nothing was written."


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, lines: bool = False) -> None:
    """A table whose first column is never broken; `lines` between rows that are."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=lines)
    for place, column in enumerate(columns):
        table.add_column(column, no_wrap=place == 0)
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    Console().print(table)


def _print_remarks(text: str) -> None:
    from rich.console import Console

    Console(highlight=False).print(shown(text), markup=False)
