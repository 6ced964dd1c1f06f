"""The command that logs what was found to trackers of experiments."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from thetascope.cli.application import app, examples
from thetascope.cli.printing import put


@app.command(
    sort_key=87,
    help_epilogue=examples(
        "thetascope log runs/mine --to tensorboard=runs/board",
        "thetascope log runs/mine --to wandb=my-project mlflow=sqlite:///mlflow.db",
    ),
)
def log(
    run: Annotated[Path, Parameter(help="A run directory, or a folder that holds results/.")],
    /,
    *,
    to: Annotated[
        list[str],
        Parameter(
            help="Where to: tensorboard=FOLDER, wandb or wandb=PROJECT, mlflow or mlflow=ADDRESS. Each gets a new run called as RUN.",
            consume_multiple=True,
            negative=(),
        ),
    ],
    prefix: Annotated[str, Parameter(help="Before all names.")] = "thetascope",
    step: Annotated[int | None, Parameter(help="The step of what is of the whole training (default: its last one).")] = None,
) -> None:
    """Log all finished results of a run, and its report, to TensorBoard, Weights & Biases or MLflow."""
    import thetascope as ts
    from thetascope.errors import UsageError
    from thetascope.integrations.trackers import trackers

    there, wanted = trackers(), [one.partition("=") for one in to]
    for name, _, _ in wanted:
        if name not in there:
            raise UsageError(f'--to: there is no tracker "{name}"; there are: {", ".join(there)}')
    with ExitStack() as stack:
        called = run.resolve().name
        opened = [stack.enter_context(there[name].opened(place, called)) for name, _, place in wanted]
        names = ts.log_findings(run, opened, prefix=prefix, step=step)
    for name in names:
        put(f"{prefix}/{name}")
