"""The commands that run several experiments: demo, examine, study."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from thetascope.cli.application import app, examples
from thetascope.cli.options import (
    FLAG,
    Checkpoints,
    DryRun,
    Engine,
    ObjectiveSpec,
    Output,
    Progress,
    TrainingSpec,
    home_of,
    loaded,
    scored_by,
)
from thetascope.cli.printing import print_plans, print_summary


@app.command(
    sort_key=90,
    help_epilogue=examples(
        "thetascope demo --quick",
        "thetascope demo --data mnist --data-dir ~/mnist --out runs/mnist",
    ),
)
def demo(
    *,
    data: Annotated[Literal["digits", "mnist"], Parameter(help="The images: scikit-learn's digits, or MNIST from --data-dir.")] = "digits",
    data_dir: Annotated[Path | None, Parameter(help="The folder of MNIST's four IDX files, gzipped or not.")] = None,
    out: Annotated[Path, Parameter(help="The run directory to make; an earlier demo there is replaced.")] = Path("thetascope-demo"),
    quick: Annotated[bool, Parameter(help="Fewer epochs, points and repeats, no atlas.", **FLAG)] = False,
    studies: Annotated[bool | None, Parameter(help="Run the studies that train again (default: on the digits only).")] = None,
    seed: Annotated[int, Parameter(help="Of the initial weights and the order of the images.")] = 0,
) -> None:
    """Train a small network, record it, run every experiment on it, draw and report what was found."""
    import thetascope as ts
    from thetascope.demo.run import run_demo

    print_summary(run_demo(data, data_dir, out, quick=quick, studies=studies, seed=seed))
    print(ts.write_report(out))


@app.command(
    sort_key=20,
    help_epilogue=examples(
        "thetascope examine runs/mine --objective objective.py:objective",
        "thetascope examine runs/mine line roles --objective objective.py:objective",
        "thetascope examine runs/mine --objective objective.py:objective --dry-run",
    ),
)
def examine(
    *run: Annotated[
        str,
        Parameter(
            help="A run directory, or checkpoint files; then names of experiments (default: all but the atlas and those that train).",
            required=True,
        ),
    ],
    objective: ObjectiveSpec,
    training: TrainingSpec = None,
    every: Annotated[
        bool,
        Parameter(name="--all", help="All experiments, also those that train, if --training is given.", **FLAG),
    ] = False,
    alphas: Annotated[int, Parameter(help="How many values of α.")] = 41,
    parameters: Annotated[int, Parameter(help="How many single parameters are drawn in each layer.")] = 4,
    draws: Annotated[int, Parameter(help="How many times each layer is drawn anew.")] = 5,
    repeats: Annotated[int, Parameter(help="How many trainings on subsets of each size.")] = 3,
    grid: Annotated[int, Parameter(help="How many values an axis of a surface has.")] = 51,
    engine: Engine = "auto",
    progress: Progress = True,
    dry_run: DryRun = False,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Run experiments on a run of yours, draw each, and sum up what they found.

    The experiments: line, quadratic, compare, layers, layers-quadratic, roles,
    parameters, patterns, surface, plane, test-size; by name only, because it takes
    minutes: atlas; those that train again, with --training: epochs, train-size.

    Results go to RUN/results, pictures to RUN/figures, all of it to RUN/report.html.
    What is there already is checked and not scored again; what was stopped goes on.
    An experiment whose place holds the result of another call is left out, and named.
    """
    import thetascope as ts
    from thetascope.errors import ResultError, UsageError
    from thetascope.experiments.catalog import CATALOG, Effort, Subject, chosen_examinations
    from thetascope.experiments.dry_run import planned
    from thetascope.experiments.examine_run import examine_run
    from thetascope.specification import provided

    names = [token for token in run if token in CATALOG and not Path(token).exists()]
    paths = [Path(token) for token in run if token not in names]
    if not paths:
        raise UsageError("name a run directory or checkpoint files before the experiments")
    for path in paths[1:]:
        if not path.exists() and not path.suffix:
            raise UsageError(f'"{path}" is neither a file nor an experiment; the experiments are: {", ".join(CATALOG)}')
    if every and names:
        raise UsageError(f"--all runs every experiment; leave it out to run {', '.join(names)}")
    scored, trajectory = loaded(paths, objective, checkpoints)
    trained = None if training is None else provided(training, ts.Training, "--training")
    effort = Effort(alphas, parameters, draws, repeats, grid)
    subject = Subject(scored, trajectory, home_of(paths) / "results", trained, effort, progress, engine)
    chosen = chosen_examinations(names, with_training=trained is not None)
    left_out: dict[str, ResultError] = {}
    if dry_run:
        plans = {}
        for each in chosen:
            try:
                plans[each.name] = planned(partial(each.run, subject, subject.place(each.name)))
            except ResultError as error:
                left_out[each.name] = error
        print_plans(plans)
    else:
        print_summary(examine_run(subject, chosen, home_of(paths) / "figures", left_out))
        print(ts.write_report(home_of(paths)))
    if left_out:
        why = "; ".join(f"{name}: {str(error).rstrip('.')}" for name, error in left_out.items())
        raise ResultError(f"{len(left_out)} of {len(chosen)} experiments {'would be' if dry_run else 'were'} left out. {why}")


@app.command(
    sort_key=80,
    help_epilogue=examples(
        "thetascope study test-size runs/mine --objective objective.py:objective",
        "thetascope study epochs --training objective.py:training --epochs 30",
        "thetascope study train-size --training objective.py:training --repeats 3",
    ),
)
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
    repeated: dict[str, Any] = {} if repeats is None else {"repeats": repeats}
    call: Callable[..., ts.Result]
    if what == "test-size":
        if run is None or objective is None:
            raise UsageError("study test-size needs a run and --objective SPEC")
        state = (checkpoints or Checkpoints()).trajectory(run)[-1]
        scored = scored_by(objective)
        call = partial(ts.study_test_size, scored, state, sizes, **repeated)
    elif training is None:
        raise UsageError(f"study {what} needs --training SPEC")
    else:
        described = provided(training, ts.Training, "--training")
        call = (
            partial(ts.study_epochs, described, epochs) if what == "epochs" else partial(ts.study_train_size, described, sizes, **repeated)
        )
    output.carried_out(partial(call, out=output.place(home, name), progress=output.progress), home, name)
