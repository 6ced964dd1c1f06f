"""What the commands share: their options, and how a run and its objective are loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

if TYPE_CHECKING:
    import thetascope as ts

FLAG: dict[str, Any] = {"negative": (), "show_default": False}
"""For options that are off without being named."""

RESULT, FILES = Group("Result", sort_key=10), Group("Checkpoint files", sort_key=20)
Run = Annotated[list[Path], Parameter(help="A run directory, or checkpoint files in the order of the training.")]
ObjectiveSpec = Annotated[
    str,
    Parameter(
        name="--objective",
        help='What to score: "file.py:function" or "module:function", called without arguments, returns a ts.Objective.',
    ),
]
TrainingSpec = Annotated[
    str | None,
    Parameter(name="--training", help="For studies that train: as --objective, returns a ts.Training."),
]
Engine = Annotated[str, Parameter(help='"auto", or the name of a backend.')]
Progress = Annotated[bool, Parameter(help="Say what is scored and show how far it is.", show_default=False)]
DryRun = Annotated[bool, Parameter(help="Say what would be scored, how long it takes and what memory it needs; write nothing.", **FLAG)]
Alphas = Annotated[
    list[float] | None,
    Parameter(help="How many values of α (default 41), or the values themselves.", consume_multiple=True, negative=()),
]
Layers = Annotated[list[str] | None, Parameter(help="Names or globs of layers (default: all).", consume_multiple=True, negative=())]
Parameters = Annotated[
    list[str] | None,
    Parameter(
        help='Labels such as "conv1.weight[0,0,1,1]", or how many to draw in each layer (default 4).', consume_multiple=True, negative=()
    ),
]


@Parameter(name="*", group=FILES)
@dataclass
class Checkpoints:
    """How checkpoint files are read."""

    key: Annotated[str | None, Parameter(help="Where in them the state dict lies.")] = None
    prefix: Annotated[str | None, Parameter(help="Take only names that start so, and leave it out.")] = None
    allow: Annotated[
        list[str] | None,
        Parameter(help="Classes that weights-only loading may build.", consume_multiple=True, negative=()),
    ] = None

    def trajectory(self, run: Sequence[Path]) -> ts.Trajectory:
        """The run directory's states, or those of the files."""
        import thetascope as ts

        if len(run) == 1 and (run[0].is_dir() or not (run[0].exists() or run[0].suffix)):
            return ts.Trajectory(run[0])
        return ts.Trajectory.from_files(run, key=self.key, prefix=self.prefix, allow=self.allow or ())


@Parameter(name="*", group=RESULT)
@dataclass
class Output:
    """Where things go and how they are scored."""

    out: Annotated[Path | None, Parameter(help="Where the result is stored (default: RUN/results/NAME); the same call goes on there.")] = (
        None
    )
    figure: Annotated[Path | None, Parameter(help="The picture: .png, .svg, .pdf or .html (default: RUN/figures/NAME.png).")] = None
    export: Annotated[
        list[Path] | None,
        Parameter(
            help="Further files, by suffix: .csv, .npz, .vti (a surface), .vtp (a way over it), .gif, .mp4 or a picture.",
            consume_multiple=True,
            negative=(),
        ),
    ] = None
    engine: Engine = "auto"
    progress: Progress = True
    dry_run: DryRun = False

    def place(self, run: Sequence[Path], name: str) -> Path:
        """Where the result goes."""
        return self.out or home_of(run) / "results" / name

    def run(
        self, run: Sequence[Path], name: str, objective: str, checkpoints: Checkpoints | None, experiment: Callable[..., ts.Result]
    ) -> None:
        """Load the run and its objective, run `experiment` on them with what all experiments take, print and draw what it found."""
        scored, trajectory = loaded(run, objective, checkpoints)
        place = self.place(run, name)
        self.carried_out(lambda: experiment(scored, trajectory, out=place, engine=self.engine, progress=self.progress), run, name)

    def carried_out(self, call: Callable[[], ts.Result], run: Sequence[Path], name: str) -> None:
        """Make the call, print and draw what it found; for a dry run only say what it would do."""
        if self.dry_run:
            from thetascope.cli.printing import print_plan
            from thetascope.experiments.dry_run import planned

            print_plan(planned(call), self.place(run, name))
        else:
            self.finish(call(), run, name)

    def finish(self, result: ts.Result, run: Sequence[Path], name: str) -> None:
        """Print the result and draw it."""
        from thetascope.figures import save_figure

        print(result)
        stem = self.out.name if self.out is not None else name  # the picture of one stored result does not replace another's
        print(save_figure(result, self.figure or home_of(run) / "figures" / f"{stem}.png"))
        for path in self.export or ():
            print(result.export(path))


def scored_by(specification: str) -> ts.Objective:
    """The objective that a specification names; it knows by which."""
    import thetascope as ts
    from thetascope.specification import provided

    objective: ts.Objective = provided(specification, ts.Objective, "--objective")
    objective.specification = specification
    return objective


def loaded(run: Sequence[Path], objective: str, checkpoints: Checkpoints | None) -> tuple[ts.Objective, ts.Trajectory]:
    """What to score, and the states to score."""
    trajectory = (checkpoints or Checkpoints()).trajectory(run)
    return scored_by(objective), trajectory


def home_of(run: Sequence[Path]) -> Path:
    """The folder that results and figures go to: the run directory, or the one of the checkpoints."""
    return run[0] if run[0].is_dir() else run[0].parent


def chosen_alphas(given: Sequence[float] | None) -> Any:
    """A single whole number is how many; else they are the values."""
    if given is None:
        return 41
    return int(given[0]) if len(given) == 1 and float(given[0]).is_integer() and given[0] > 1 else list(given)


def chosen_parameters(given: Sequence[str] | None) -> list[str] | int | None:
    """A single number is how many a layer; else they are labels."""
    if given is not None and len(given) == 1 and given[0].isdigit():
        return int(given[0])
    return None if given is None else list(given)
