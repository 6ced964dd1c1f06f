"""The commands that run several experiments: demo, examine, study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from thetascope.cli.application import app
from thetascope.cli.options import Checkpoints, ObjectiveSpec, Output, TrainingSpec, home_of, loaded, print_summary


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

    print_summary(run_demo(data, data_dir, out, quick=quick, studies=studies, seed=seed))


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
    grid: Annotated[int, Parameter(help="How many values an axis of a surface has.")] = 51,
    progress: Annotated[bool, Parameter(help="Say what is scored and show how far it is.")] = True,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Run experiments on a run of yours, draw each, and sum up what they found.

    The experiments are line, quadratic, compare, layers, layers-quadratic, roles, parameters, patterns, surface, plane, test-size,
    and with --training also epochs and train-size. Results go to RUN/results, pictures to RUN/figures; what is there
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
    scored, trajectory = loaded(paths, objective, checkpoints)
    trained = None if training is None else provided(training, ts.Training, "--training")
    effort = Effort(alphas, parameters, draws, repeats, grid)
    subject = Subject(scored, trajectory, home_of(paths) / "results", trained, effort, progress)
    print_summary(examine_run(subject, chosen_examinations(names, with_training=trained is not None), home_of(paths) / "figures"))


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
