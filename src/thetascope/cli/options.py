"""What the commands share: their options, and how a run and its objective are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from thetascope.cli.printing import put
from thetascope.search_path import leave_out

if TYPE_CHECKING:
    import thetascope as ts

FLAG: dict[str, Any] = {"negative": (), "show_default": False}
"""For options that are off without being named."""

RESULT, PICTURE, FILES = Group("Result", sort_key=10), Group("Picture", sort_key=15), Group("Checkpoint files", sort_key=20)
Run = Annotated[list[Path], Parameter(help="A run directory, a folder of checkpoints, or checkpoint files in the order of the training.")]
ObjectiveSpec = Annotated[
    list[str],
    Parameter(
        name="--objective",
        negative=(),
        help='What to score: "file.py:function" or "module:function", called without arguments, returns a ts.Objective. Several have '
        "labels: --objective train=SPEC --objective test=SPEC.",
    ),
]
TrainingSpec = Annotated[
    str,
    Parameter(name="--training", help="What is trained: as --objective, the function returns a ts.Training."),
]
Engine = Annotated[str, Parameter(help='"auto", or the name of a backend.')]
Ray = Annotated[
    str | None,
    Parameter(
        name="--ray", help='Score on workers of Ray: "local" (this machine), "auto", or the address of a cluster.', show_default=False
    ),
]
Workers = Annotated[int | None, Parameter(help="How many, with --ray (default: as many as have room).", show_default=False)]
Part = Annotated[
    str | None,
    Parameter(help="Score one part of so many, such as 2/8, in a process of its own; thetascope merge joins them.", show_default=False),
]
Progress = Annotated[bool, Parameter(help="Say what is scored and show how far it is.", show_default=False)]
Fresh = Annotated[bool, Parameter(help="Begin anew, in the place of what is stored.", **FLAG)]
DryRun = Annotated[bool, Parameter(help="Say what would be scored, how long it takes and what memory it needs; write nothing.", **FLAG)]


@Parameter(name="*", group=FILES)
@dataclass
class Checkpoints:
    """How checkpoint files are read."""

    steps: Annotated[
        list[int] | None,
        Parameter(help="Their steps in the training (default: as files or names say).", consume_multiple=True, negative=()),
    ] = None
    epochs: Annotated[
        list[float] | None,
        Parameter(help="Their epochs, which may be fractions (default: as --steps).", consume_multiple=True, negative=()),
    ] = None
    key: Annotated[str | None, Parameter(help="Where in them the state dict lies, nested with dots.")] = None
    prefix: Annotated[str | None, Parameter(help="Take only names that start so, and leave it out.")] = None
    ignore: Annotated[
        list[str] | None, Parameter(help="Names or globs of tensors that are left out.", consume_multiple=True, negative=())
    ] = None
    base: Annotated[Path | None, Parameter(help="The base model of adapters, or of files that hold only what was trained.")] = None
    allow: Annotated[
        list[str] | None,
        Parameter(help="Classes that weights-only loading may build.", consume_multiple=True, negative=()),
    ] = None

    def trajectory(self, run: Sequence[Path]) -> ts.Trajectory:
        """The run directory's states, or those of the checkpoints."""
        import thetascope as ts
        from thetascope.errors import UsageError

        leave_out(run)
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(run) == 1 and is_run(run[0]):
            if given:
                raise UsageError(f'--{next(iter(given))} is for checkpoint files; "{run[0]}" is a run directory, which says that itself')
            return ts.Trajectory(run[0])
        runs = [path for path in run if is_run(path)]
        if runs:
            raise UsageError(f'"{runs[0]}" is a run directory, not a checkpoint; name it alone')
        return ts.Trajectory.from_files(run, **given)


@Parameter(name="*", group=RESULT)
@dataclass
class Output:
    """Where things go."""

    out: Annotated[Path | None, Parameter(help="Where the result is stored (default: RUN/results/KEY); the same call goes on there.")] = (
        None
    )
    figure: Annotated[Path | None, Parameter(help="The picture: .png, .svg, .pdf or .html (default: RUN/figures/KEY.png).")] = None
    export: Annotated[
        list[Path] | None,
        Parameter(
            help="Further files, by suffix: .csv, .npz, .vti (a surface), .vtp (a way over it), .gif, .mp4 or a picture.",
            consume_multiple=True,
            negative=(),
        ),
    ] = None
    fresh: Fresh = False
    progress: Progress = True
    dry_run: DryRun = False

    @property
    def how(self) -> dict[str, Any]:
        """How the call runs."""
        return {"progress": self.progress, **({"fresh": True} if self.fresh else {})}

    @property
    def where(self) -> AbstractContextManager[None]:
        """Where it scores: here."""
        return nullcontext()

    @property
    def share(self) -> AbstractContextManager[None]:
        """How much it scores: all."""
        return nullcontext()

    def finish(self, result: ts.Result, home: Path, drawn: Drawn) -> None:
        """Print the result and draw it."""
        from thetascope.experiments.framework.declaration import figure_to_write
        from thetascope.experiments.framework.pictures import SUFFIXES, save_figure

        assert result.path is not None
        stem, options = result.path.name, drawn.options  # one stored result's picture replaces no other's
        written = [save_figure(result.data, self.figure or figure_to_write(home, f"{stem}.png"), **options)]
        written += [result.export(path, **(options if path.suffix.lower() in SUFFIXES else {})) for path in self.export or ()]
        for line in (result, *written):  # once all is there: whoever reads the output may have read enough
            put(line)


@Parameter(name="*", group=RESULT)
@dataclass
class ScoredOutput(Output):
    """Where things go and how they are scored."""

    engine: Engine = "auto"
    ray: Ray = None
    workers: Workers = None
    part: Part = None

    @property
    def how(self) -> dict[str, Any]:
        """How the call runs."""
        return {**super().how, "engine": self.engine}

    @property
    def where(self) -> AbstractContextManager[None]:
        """Where it scores."""
        return cluster_of(self.ray, self.workers)

    @property
    def share(self) -> AbstractContextManager[None]:
        """How much it scores."""
        from thetascope.results.portions import Portion, part

        if self.part is None:
            return nullcontext()
        portion = Portion.of(self.part)
        return part(portion.number, portion.count)


@Parameter(name="*", group=PICTURE)
@dataclass
class Drawn:
    """How its pictures look."""

    title: Annotated[str | None, Parameter(help="Of the picture, in place of its own.")] = None
    subtitle: Annotated[bool, Parameter(help="Whether notes stand below the title.", show_default=False)] = True
    size: Annotated[
        list[float] | None,
        Parameter(help="Width and height in inches, or a width, from which the height follows.", consume_multiple=True, negative=()),
    ] = None
    cmap: Annotated[str | None, Parameter(help="Matplotlib's name of a colour map.")] = None
    levels: Annotated[
        list[float] | None, Parameter(help="Of contours: how many, or the values where they lie.", consume_multiple=True, negative=())
    ] = None
    vmin: Annotated[float | None, Parameter(help="The value at the lower end of colours, or of the values' axis.")] = None
    vmax: Annotated[float | None, Parameter(help="The value at the upper end.")] = None
    label: Annotated[str | None, Parameter(help="What the legend calls the result.")] = None
    log: Annotated[bool | None, Parameter(help="Whether colours, heights or the axis are logarithmic.")] = None

    @property
    def options(self) -> dict[str, Any]:
        """Those that were given, as `Result.plot` takes them."""
        given = {name: value for name, value in vars(self).items() if value is not None and not (name == "subtitle" and value)}
        if isinstance(given.get("size"), list):
            given["size"] = given["size"][0] if len(given["size"]) == 1 else tuple(given["size"])
        if isinstance(given.get("levels"), list) and len(given["levels"]) == 1 and given["levels"][0].is_integer():
            given["levels"] = int(given["levels"][0])
        return given

    def check(self) -> None:
        """An error for a value that fits no picture, before anything is scored."""
        from thetascope.experiments.framework.pictures import check_options

        check_options(self.options)


def load_torch() -> None:
    """Load what computes; on a terminal it is said meanwhile, for it takes seconds."""
    import thetascope as ts
    from thetascope.progress import loading

    with loading("torch"):
        _ = ts.Objective


def scored_by(specifications: Sequence[str]) -> ts.Objective | dict[str, ts.Objective]:
    """The objective that a specification names, or several by label; each knows by which."""
    from thetascope.errors import UsageError

    labelled = [_labelled(given) for given in specifications]
    if len(labelled) == 1 and labelled[0][0] is None:
        return _objective(specifications[0])
    found: dict[str, ts.Objective] = {}
    for (label, specification), given in zip(labelled, specifications, strict=True):
        if label is None:
            raise UsageError(f'--objective: several objectives have labels, as in --objective train=SPEC. Got "{given}" instead.')
        if label in found:
            raise UsageError(f'--objective: "{label}" is given twice; a label names one objective')
        found[label] = _objective(specification)
    return found


def _labelled(given: str) -> tuple[str | None, str]:
    """The label and the specification, ``train=file.py:function``; a file may have a = in its own name."""
    label, equals, specification = given.partition("=")
    is_label = bool(equals) and not set(label) & set("/\\:.") and not Path(given.rpartition(":")[0]).is_file()
    return (label, specification) if is_label else (None, given)


def _objective(specification: str) -> ts.Objective:
    import thetascope as ts
    from thetascope.specification import provided

    objective: ts.Objective = provided(specification, ts.Objective, "--objective")
    objective.specification = specification
    return objective


def trained_by(specification: str) -> ts.Training:
    """The training that a specification names."""
    import thetascope as ts
    from thetascope.specification import provided

    training: ts.Training = provided(specification, ts.Training, "--training")
    return training


def cluster_of(ray: str | None, workers: int | None) -> AbstractContextManager[None]:
    """The cluster that is named, or none.

    Raises:
        UsageError: workers of none are asked for.
    """
    from thetascope.errors import UsageError

    if ray is None:
        if workers is not None:
            raise UsageError("--workers is for a cluster: name one with --ray, such as --ray local")
        return nullcontext()
    import thetascope as ts

    return ts.cluster(ray, workers)


def is_run(path: Path) -> bool:
    """Whether a path is a run directory, or may be meant as one: what is not there is told so by whoever opens it."""
    return (path / "run.json").is_file() or not (path.exists() or path.suffix)


def home_of(run: Sequence[Path]) -> Path:
    """The folder that results and figures go to: the run directory, or for checkpoints the working folder, never theirs.

    Trainers delete old checkpoints, and what lies beside them.
    """
    return run[0] if is_run(run[0]) else Path()
