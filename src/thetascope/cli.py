"""The command line: parse, call the API, print. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Toml

from thetascope._version import __version__

if TYPE_CHECKING:
    import thetascope as ts

app = App(
    name="thetascope",
    version=__version__,
    suppress_keyboard_interrupt=False,
    help="Look at the training of a neural network through its parameters.",
    help_epilogue="First look:  thetascope demo      Your own run:  thetascope examine runs/mine --objective mine.py:objective\n\n"
    "Options may stand in thetascope.toml in the working folder, a table a command.",
    config=Toml("thetascope.toml", must_exist=False, search_parents=False),
)

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


@Parameter(name="*")
@dataclass
class Checkpoints:
    """How checkpoint files are read."""

    key: Annotated[str | None, Parameter(help="Checkpoint files: where in them the state dict lies.")] = None
    prefix: Annotated[str | None, Parameter(help="Checkpoint files: take only names that start so, and leave it out.")] = None
    allow: Annotated[
        list[str] | None,
        Parameter(help="Checkpoint files: classes that weights-only loading may build.", consume_multiple=True, negative=()),
    ] = None

    def trajectory(self, run: Sequence[Path]) -> ts.Trajectory:
        """The run directory's states, or those of the files."""
        import thetascope as ts

        if len(run) == 1 and run[0].is_dir():
            return ts.Trajectory(run[0])
        return ts.Trajectory.from_files(run, key=self.key, prefix=self.prefix, allow=self.allow or ())


@Parameter(name="*")
@dataclass
class Output:
    """Where things go and how they are scored."""

    out: Annotated[Path | None, Parameter(help="Where the result is stored (default: RUN/results/NAME); the same call goes on there.")] = (
        None
    )
    figure: Annotated[Path | None, Parameter(help="The picture: .png, .svg, .pdf or .html (default: RUN/figures/NAME.png).")] = None
    engine: Annotated[str, Parameter(help='"auto", or the name of a backend.')] = "auto"
    progress: Annotated[bool, Parameter(help="Say what is scored and show how far it is.")] = True

    def place(self, run: Sequence[Path], name: str) -> Path:
        """Where the result goes."""
        return self.out or _home(run) / "results" / name

    def finish(self, result: ts.Result, run: Sequence[Path], name: str) -> None:
        """Print the result and draw it."""
        from thetascope.figures import save_figure

        print(result)
        print(save_figure(result, self.figure or _home(run) / "figures" / f"{name}.png"))


@app.command
def demo(
    *,
    data: Annotated[Literal["digits", "mnist"], Parameter(help="The images: scikit-learn's digits, or MNIST from --data-dir.")] = "digits",
    data_dir: Annotated[Path | None, Parameter(help="The folder of MNIST's four IDX files, gzipped or not.")] = None,
    out: Annotated[Path, Parameter(help="The run directory to make; an earlier demo there is replaced.")] = Path("thetascope-demo"),
    quick: Annotated[bool, Parameter(help="Fewer epochs, points and repeats.", negative=())] = False,
    studies: Annotated[bool | None, Parameter(help="Run the studies that train again (default: on the digits only).")] = None,
    seed: Annotated[int, Parameter(help="Of the initial weights and the order of the images.")] = 0,
) -> None:
    """Train a small network, record it, run every experiment on it and draw what was found."""
    from thetascope.demo.run import run_demo

    _summary(run_demo(data, data_dir, out, quick=quick, studies=studies, seed=seed))


@app.command
def examine(
    run: Annotated[list[str], Parameter(help="A run directory, or checkpoint files; then names of experiments (default: all).")],
    /,
    *,
    objective: ObjectiveSpec,
    training: TrainingSpec = None,
    every: Annotated[
        bool, Parameter(name="--all", help="All experiments, also those that train, if --training is given.", negative=())
    ] = False,
    alphas: Annotated[int, Parameter(help="How many values of α.")] = 41,
    parameters: Annotated[int, Parameter(help="How many single parameters are drawn in each layer.")] = 4,
    draws: Annotated[int, Parameter(help="How many times each layer is drawn anew.")] = 5,
    repeats: Annotated[int, Parameter(help="How many trainings on subsets of each size.")] = 3,
    progress: Annotated[bool, Parameter(help="Say what is scored and show how far it is.")] = True,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Run experiments on a run of yours, draw each, and sum up what they found.

    The experiments are line, quadratic, compare, layers, layers-quadratic, roles, parameters, patterns, test-size, and with
    --training also epochs and train-size. Results go to RUN/results, pictures to RUN/figures; what is there
    already is only checked.
    """
    import thetascope as ts
    from thetascope.errors import UsageError
    from thetascope.experiments.catalog import CATALOG, Effort, Subject, chosen_examinations
    from thetascope.experiments.examine_run import examine_run
    from thetascope.specification import provided

    names = [token for token in run if token in CATALOG and not Path(token).exists()]
    paths = [Path(token) for token in run if token not in names]
    if not paths:
        raise UsageError("name a run directory or checkpoint files before the experiments")
    if every and names:
        raise UsageError(f"--all runs every experiment; leave it out to run {', '.join(names)}")
    scored, trajectory = _loaded(paths, objective, checkpoints)
    trained = None if training is None else provided(training, ts.Training, "--training")
    effort = Effort(alphas, parameters, draws, repeats)
    subject = Subject(scored, trajectory, _home(paths) / "results", trained, effort, progress)
    _summary(examine_run(subject, chosen_examinations(names, with_training=trained is not None), _home(paths) / "figures"))


@app.command
def interpolate(
    run: Run,
    /,
    *,
    objective: ObjectiveSpec,
    kind: Annotated[str, Parameter(help='"linear", "quadratic", or a degree.')] = "linear",
    level: Annotated[
        Literal["model", "layer", "parameter"], Parameter(help="What moves: everything, a layer, a single parameter.")
    ] = "model",
    alphas: Alphas = None,
    layers: Layers = None,
    parameters: Parameters = None,
    checkpoints: Checkpoints | None = None,
    output: Output | None = None,
) -> None:
    """Score the model along a path through its training, and draw it."""
    import thetascope as ts

    output, name = output or Output(), f"interpolate-{kind}-{level}"
    scored, trajectory = _loaded(run, objective, checkpoints)
    result = ts.interpolate(
        scored,
        trajectory,
        int(kind) if kind.isdigit() else kind,  # type: ignore[arg-type]
        level,
        _alphas(alphas),
        layers,
        _parameters(parameters),
        out=output.place(run, name),
        engine=output.engine,
        progress=output.progress,
    )
    output.finish(result, run, name)


@app.command
def compare(
    run: Run,
    /,
    *,
    objective: ObjectiveSpec,
    level: Annotated[Literal["model", "parameter"], Parameter(help="The whole model, or single parameters and their patterns.")] = "model",
    alphas: Alphas = None,
    layers: Layers = None,
    parameters: Parameters = None,
    checkpoints: Checkpoints | None = None,
    output: Output | None = None,
) -> None:
    """Compare the linear and the quadratic path with one another and with what was measured."""
    import thetascope as ts

    output, name = output or Output(), f"compare-{level}"
    scored, trajectory = _loaded(run, objective, checkpoints)
    result = ts.compare_paths(
        scored,
        trajectory,
        level,
        _alphas(alphas),
        layers,
        _parameters(parameters),
        out=output.place(run, name),
        engine=output.engine,
        progress=output.progress,
    )
    output.finish(result, run, name)


@app.command
def layers(
    run: Run,
    /,
    *,
    objective: ObjectiveSpec,
    draws: Annotated[int, Parameter(help="How many times each layer is drawn anew.")] = 5,
    threshold: Annotated[float, Parameter(help="The share of the gained loss above which a layer is robust.")] = 0.25,
    seed: Annotated[int, Parameter(help="Of the draws.")] = 0,
    layers: Layers = None,
    checkpoints: Checkpoints | None = None,
    output: Output | None = None,
) -> None:
    """Tell robust layers from ambient ones: put each back, and draw each anew."""
    import thetascope as ts

    output = output or Output()
    scored, trajectory = _loaded(run, objective, checkpoints)
    place = output.place(run, "layer-roles")
    result = ts.layer_roles(scored, trajectory, draws, threshold, seed, layers, out=place, engine=output.engine, progress=output.progress)
    output.finish(result, run, "layer-roles")


@app.command
def study(
    what: Annotated[Literal["epochs", "train-size", "test-size"], Parameter(help="What is varied.")],
    run: Annotated[
        list[Path] | None, Parameter(help="For test-size: a run directory or checkpoint files, whose last state is scored.")
    ] = None,
    /,
    *,
    objective: Annotated[str | None, Parameter(help="For test-size: the function that returns a ts.Objective.")] = None,
    training: TrainingSpec = None,
    epochs: Annotated[int | None, Parameter(help="For epochs: up to how many (default: the training's).")] = None,
    sizes: Annotated[list[int] | None, Parameter(help="For sizes: which (default: a ladder).", consume_multiple=True, negative=())] = None,
    repeats: Annotated[int | None, Parameter(help="For sizes: how many subsets of each.")] = None,
    checkpoints: Checkpoints | None = None,
    output: Output | None = None,
) -> None:
    """Find how many epochs, training samples or test samples are enough."""
    import thetascope as ts
    from thetascope.errors import UsageError
    from thetascope.specification import provided

    output, name = output or Output(), f"study-{what}"
    home = run or [Path(".")]
    place, repeated = output.place(home, name), {} if repeats is None else {"repeats": repeats}
    if what == "test-size":
        if run is None or objective is None:
            raise UsageError("study test-size needs a run and --objective SPEC")
        state = (checkpoints or Checkpoints()).trajectory(run)[-1]
        result = ts.study_test_size(
            provided(objective, ts.Objective, "--objective"), state, sizes, out=place, progress=output.progress, **repeated
        )
    elif training is None:
        raise UsageError(f"study {what} needs --training SPEC")
    else:
        described = provided(training, ts.Training, "--training")
        if what == "epochs":
            result = ts.study_epochs(described, epochs, out=place, progress=output.progress)
        else:
            result = ts.study_train_size(described, sizes, out=place, progress=output.progress, **repeated)
    output.finish(result, home, name)


def _loaded(run: Sequence[Path], objective: str, checkpoints: Checkpoints | None) -> tuple[ts.Objective, ts.Trajectory]:
    """What to score, and the states to score."""
    import thetascope as ts
    from thetascope.specification import provided

    trajectory = (checkpoints or Checkpoints()).trajectory(run)
    return provided(objective, ts.Objective, "--objective"), trajectory


def _home(run: Sequence[Path]) -> Path:
    return run[0] if run[0].is_dir() else run[0].parent


def _alphas(given: Sequence[float] | None) -> Any:
    if given is None:
        return 41
    return int(given[0]) if len(given) == 1 and float(given[0]).is_integer() and given[0] > 1 else list(given)


def _parameters(given: Sequence[str] | None) -> list[str] | int | None:
    if given is not None and len(given) == 1 and given[0].isdigit():
        return int(given[0])
    return None if given is None else list(given)


def _summary(findings: Sequence[Any]) -> None:
    """A table of what was found, and where the pictures are."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("experiment", "question", "found", title_justify="left", show_lines=False)
    for finding in findings:
        table.add_row(*(Text(part) for part in (finding.examination.name, finding.examination.question, finding.headline)))
    Console().print(table)
    for finding in findings:
        print(finding.pictures[0])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0, 1 for an error in what was asked or found, 2 for a wrong use of the command, 130 for Ctrl-C.
    """
    from thetascope.errors import ThetascopeError, UsageError

    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    try:
        app(tokens, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        return 2
    except (ThetascopeError, OSError) as error:
        if debug:
            raise
        print(f"thetascope: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("thetascope: stopped. What was finished is stored; the same command goes on from there", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
