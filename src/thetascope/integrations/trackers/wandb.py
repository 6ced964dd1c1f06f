"""Weights & Biases: a run's history, with the training's steps on an axis of its own, and the report as an artifact."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from thetascope.errors import UsageError
from thetascope.integrations.tracker import can, needed

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

    from thetascope.experiments.framework.facts import Value
    from thetascope.experiments.framework.tables import Table

KNOWN_BY = "a wandb run"


def tracker_of(to: Any, prefix: str) -> WandB | None:
    """A run, or the wandb module with one."""
    if not can(to, "log", "define_metric", "log_artifact"):
        return None
    if isinstance(to, ModuleType):
        if getattr(to, "run", None) is None:
            raise UsageError("wandb has no run that could be logged to: start one with wandb.init(), and pass what it returns")
        to = to.run
    return WandB(to, prefix)


def opened(place: str, name: str) -> AbstractContextManager[Any]:
    """A new run in the project `place`, or in wandb's default one."""
    return _run(needed("wandb", "wandb"), place, name)


@contextmanager
def _run(wandb: ModuleType, project: str, name: str) -> Iterator[Any]:
    run = wandb.init(project=project or None, name=name, job_type="thetascope")
    try:
        yield run
    finally:
        run.finish()


class WandB:
    """A run. Its own step only goes up, and may be beyond the training's: ours are logged as ``prefix/step``, and are the axis of all.

    What is not finite is kept: the web pages show it as NaN or Infinity.
    """

    def __init__(self, run: Any, prefix: str) -> None:
        self._run, self._prefix, self._step = run, prefix, f"{prefix}/step"
        run.define_metric(self._step, hidden=True)
        run.define_metric(f"{prefix}/*", step_metric=self._step)

    def values(self, values: Mapping[str, Value], step: int) -> None:
        """All at once; the last of each stand in the run's summary."""
        self._run.log({self._step: step, **values})

    def figure(self, name: str, figure: Figure, page: Callable[[], PlotlyFigure], step: int) -> None:
        """As an image, and as plotly's interactive figure."""
        from PIL import Image

        wandb, image = needed("wandb", "wandb"), BytesIO()
        figure.savefig(image, format="png")  # wandb's own way with figures needs pyplot, which nothing here has loaded
        self._run.log({self._step: step, name: wandb.Image(Image.open(image)), f"{name}_interactive": wandb.Plotly(page())})

    def table(self, name: str, table: Table, step: int) -> None:
        """As a table that sorts and filters."""
        wandb = needed("wandb", "wandb")
        rows = [[cell.text if cell.value is None else cell.value for cell in row.cells] for row in table.rows]
        self._run.log({self._step: step, name: wandb.Table(columns=list(table.titles), data=rows, allow_mixed_types=True)})

    def report(self, name: str, path: Path, step: int) -> None:
        """As an artifact of the run; names of artifacts have letters, digits, dashes, underscores and dots."""
        called = re.sub(r"[^\w.-]", "_", f"{name.replace('/', '-')}-{self._run.id}", flags=re.ASCII)
        artifact = needed("wandb", "wandb").Artifact(called, type="report", metadata={"step": step})
        artifact.add_file(str(path), name=path.name)
        self._run.log_artifact(artifact)

    def finish(self) -> None:
        """The run is the user's, who finishes it."""
