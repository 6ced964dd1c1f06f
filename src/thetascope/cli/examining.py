"""The commands that run several experiments: demo, examine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from thetascope.cli.application import app, examples
from thetascope.cli.options import (
    FLAG,
    Checkpoints,
    DryRun,
    Engine,
    Fresh,
    ObjectiveSpec,
    Progress,
    Ray,
    Workers,
    cluster_of,
    home_of,
    load_torch,
    scored_by,
    trained_by,
)
from thetascope.cli.printing import print_plans, print_summary
from thetascope.experiments.framework.catalog import RENAMED, chosen_entries, entries, long_entries


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
    """Train a small network, record it, run the experiments on it, draw and report what was found."""
    import thetascope as ts

    load_torch()
    from thetascope.demo.run import run_demo

    found, report = run_demo(data, data_dir, out, quick=quick, studies=studies, seed=seed), ts.write_report(out)
    print_summary(found, report, told=True)


def _overview() -> str:
    """The help of `examine`, with the experiments that there are."""
    long = long_entries()
    keys = {key: call.experiment.trains for key, call in entries().items()}
    usual = ", ".join(key for key, trains in keys.items() if not trains and key not in long)
    return (
        "Run experiments on a run of yours, draw each, and sum up what they found.\n\n"
        f"The experiments: {usual}; by name only, because they take minutes: {', '.join(sorted(long))}; those that train again, with "
        f"--training: {', '.join(key for key, trains in keys.items() if trains)}.\n\n"
        "Results go to RUN/results, pictures to RUN/figures, all of it to RUN/report.html. "
        "What is there already is checked and not scored again; what was stopped is resumed. "
        "Once the training has gone on, its new results go beside the old ones. "
        "An experiment whose place holds the result of another call is left out, and named; --fresh replaces it."
    )


@app.command(
    sort_key=20,
    help=_overview(),
    help_epilogue=examples(
        "thetascope examine runs/mine --objective objective.py:objective",
        "thetascope examine runs/mine interpolate layer_roles --objective objective.py:objective",
        "thetascope examine runs/mine --objective objective.py:objective --dry-run",
    ),
)
def examine(
    *run: Annotated[
        str,
        Parameter(
            help="A run directory, or checkpoint files; then names of experiments (default: all but those that take minutes or train).",
            required=True,
        ),
    ],
    objective: ObjectiveSpec,
    training: Annotated[str | None, Parameter(help="For experiments that train: as --objective, returns a ts.Training.")] = None,
    every: Annotated[bool, Parameter(name="--all", help="All experiments, also those that train, if --training is given.", **FLAG)] = False,
    alphas: Annotated[int | None, Parameter(help="How many values of α, in all experiments that have them.")] = None,
    parameters: Annotated[int | None, Parameter(help="How many single parameters are drawn in each layer.")] = None,
    draws: Annotated[int | None, Parameter(help="How many times each layer is drawn anew.")] = None,
    repeats: Annotated[int | None, Parameter(help="How many trainings on subsets of each size.")] = None,
    grid: Annotated[int | None, Parameter(help="How many values an axis of a surface has.")] = None,
    engine: Engine = "auto",
    ray: Ray = None,
    workers: Workers = None,
    fresh: Fresh = False,
    progress: Progress = True,
    dry_run: DryRun = False,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Run experiments on a run of yours, draw each, and sum up what they found."""
    import thetascope as ts
    from thetascope.errors import ResultError, ThetascopeError, UsageError
    from thetascope.experiments.framework.examine import Subject, plans
    from thetascope.experiments.framework.examine import examine as examine_all
    from thetascope.progress import say

    known = {*entries(), *RENAMED}
    names = [token for token in run if token in known and not Path(token).exists()]
    paths = [Path(token) for token in run if token not in names]
    if not paths:
        raise UsageError("name a run directory or checkpoint files before the experiments")
    for path in paths[1:]:
        if not path.exists() and not path.suffix:
            raise UsageError(f'"{path}" is neither a file nor an experiment; the experiments are: {", ".join(entries())}')
    if every and names:
        raise UsageError(f"--all runs every experiment; leave it out to run {', '.join(names)}")
    chosen = chosen_entries(names, with_training=training is not None)
    load_torch()
    trajectory = (checkpoints or Checkpoints()).trajectory(paths)
    scored, trained = scored_by(objective), None if training is None else trained_by(training)
    if isinstance(scored, dict) and not names:
        alone = [call.key for call in chosen if call.experiment.one_objective]
        chosen = [call for call in chosen if not call.experiment.one_objective]
        say(f"left out, because it takes one objective: {', '.join(alone)}", shown=bool(alone) and progress)
    given = {"alphas": alphas, "parameters": parameters, "draws": draws, "repeats": repeats, "grid": grid}
    options = {name: value for name, value in given.items() if value is not None}
    subject = Subject(scored, trajectory, home_of(paths), trained, options, engine=engine, progress=progress, fresh=fresh)
    left_out: dict[str, ThetascopeError] = {}
    if dry_run:
        print_plans(plans(subject, chosen, left_out))
    else:
        with cluster_of(ray, workers):
            found = examine_all(subject, chosen, left_out)
        print_summary(found, ts.write_report(subject.home), told=progress)
    if left_out:
        why = "; ".join(f"{name}: {str(error).rstrip('.')}" for name, error in left_out.items())
        raise ResultError(f"{len(left_out)} of {len(chosen)} experiments {'would be' if dry_run else 'were'} left out. {why}")
