"""The command that looks at a training while it runs: watch."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from thetascope.cli.application import app, examples
from thetascope.cli.options import FLAG, load_torch, scored_by
from thetascope.cli.printing import put


@app.command(
    sort_key=15,
    help_epilogue=examples(
        "thetascope watch runs/mine", "thetascope watch runs/mine --once", "thetascope watch runs/mine --tensorboard runs/board"
    ),
)
def watch(
    run: Annotated[Path, Parameter(help="The run directory that a training is recorded into.")],
    /,
    *,
    objective: Annotated[
        str | None,
        Parameter(
            help="Score the straight line so far with it, on few samples, when the machine has time; as for examine.", show_default=False
        ),
    ] = None,
    interval: Annotated[float, Parameter(help="Seconds between two looks at it.")] = 2.0,
    once: Annotated[bool, Parameter(help="Look once, measure every state, and leave.", **FLAG)] = False,
    until_over: Annotated[bool, Parameter(help="Leave once nobody records any more.", **FLAG)] = False,
    tensorboard: Annotated[Path | None, Parameter(help="Log the same values to a TensorBoard in this folder.", show_default=False)] = None,
    nice: Annotated[bool, Parameter(help="Give way to whatever else wants the processor.")] = True,
) -> None:
    """Follow a training while it is recorded: RUN/live.html renews itself, and the terminal shows the same.

    It needs neither model nor data, and takes at most about one per cent of a core. Ctrl-C ends it; the page stays.
    """
    from thetascope.errors import UsageError

    if not 0 < interval < float("inf"):
        raise UsageError(f"--interval: seconds over 0. Got {interval:g}")
    load_torch()
    from thetascope.live.loop import watch as follow

    if nice and hasattr(os, "nice"):
        os.nice(10)
    scored = None if objective is None else scored_by([objective])
    if isinstance(scored, dict):
        raise UsageError("--objective: a watch takes one objective, without a label")
    tell = None if sys.stdout.isatty() else put
    with suppress(KeyboardInterrupt):
        follow(run, interval=interval, once=once, until_over=until_over, tell=tell, board=tensorboard, objective=scored)
    put(run / "live.html")
