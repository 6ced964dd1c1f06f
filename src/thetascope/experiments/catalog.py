"""All experiments by name, as `thetascope examine` and the demo run them: each answers a question about a run.

To add one: an `Examination` in CATALOG. What runs it is imported when it runs, so that names, questions and headlines
are there without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from thetascope.errors import UsageError
from thetascope.results.result import Result

if TYPE_CHECKING:
    from thetascope.evaluation.objective import Objective
    from thetascope.experiments.training import Training
    from thetascope.trajectory import Trajectory


@dataclass(frozen=True)
class Effort:
    """How much is scored: values of α, single parameters a layer, fresh draws, repeated trainings, values an axis of a surface,
    and how far a surface may be off where it is estimated."""

    alphas: int = 41
    parameters: int = 4
    draws: int = 5
    repeats: int = 3
    grid: int = 51
    tolerance: float | None = 0.01
    sizes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Subject:
    """What is examined. `out` is the folder of the results; each experiment has a place of its own in it."""

    objective: Objective
    trajectory: Trajectory
    out: Path
    training: Training | None = None
    effort: Effort = Effort()
    progress: bool = True
    engine: str = "auto"

    def place(self, name: str) -> Path:
        """Where the result of the experiment `name` is stored."""
        return self.out / name


@dataclass(frozen=True)
class Examination:
    """One experiment: its name, the question it answers, how it is run, and what it found in one line.

    Those that are `long`, or train, are run where they are asked for.
    """

    name: str
    question: str
    run: Callable[[Subject, Path], Result]
    headline: Callable[[Result], str]
    trains: bool = False
    long: bool = False


def _line(s: Subject, out: Path) -> Result:
    from thetascope.experiments.interpolate import interpolate

    return interpolate(s.objective, s.trajectory, "linear", alphas=s.effort.alphas, out=out, engine=s.engine, progress=s.progress)


def _quadratic(s: Subject, out: Path) -> Result:
    from thetascope.experiments.interpolate import interpolate

    return interpolate(s.objective, s.trajectory, "quadratic", alphas=s.effort.alphas, out=out, engine=s.engine, progress=s.progress)


def _layers(s: Subject, out: Path) -> Result:
    from thetascope.experiments.interpolate import interpolate

    return interpolate(s.objective, s.trajectory, "linear", "layer", s.effort.alphas, out=out, engine=s.engine, progress=s.progress)


def _layers_quadratic(s: Subject, out: Path) -> Result:
    from thetascope.experiments.interpolate import interpolate

    return interpolate(s.objective, s.trajectory, "quadratic", "layer", s.effort.alphas, out=out, engine=s.engine, progress=s.progress)


def _parameters(s: Subject, out: Path) -> Result:
    from thetascope.experiments.interpolate import interpolate

    alphas, number = s.effort.alphas, s.effort.parameters
    return interpolate(
        s.objective, s.trajectory, "linear", "parameter", alphas, parameters=number, out=out, engine=s.engine, progress=s.progress
    )


def _compare(s: Subject, out: Path) -> Result:
    from thetascope.experiments.compare_paths import compare_paths

    return compare_paths(s.objective, s.trajectory, alphas=s.effort.alphas, out=out, engine=s.engine, progress=s.progress)


def _patterns(s: Subject, out: Path) -> Result:
    from thetascope.experiments.compare_paths import compare_paths

    alphas, number = s.effort.alphas, s.effort.parameters
    return compare_paths(s.objective, s.trajectory, "parameter", alphas, parameters=number, out=out, engine=s.engine, progress=s.progress)


def _atlas(s: Subject, out: Path) -> Result:
    from thetascope.experiments.parameter_atlas import parameter_atlas

    return parameter_atlas(s.objective, s.trajectory, alphas=s.effort.alphas, out=out, engine=s.engine, progress=s.progress)


def _roles(s: Subject, out: Path) -> Result:
    from thetascope.experiments.layer_roles import layer_roles

    return layer_roles(s.objective, s.trajectory, draws=s.effort.draws, out=out, engine=s.engine, progress=s.progress)


def _surface(s: Subject, out: Path) -> Result:
    from thetascope.experiments.surface import surface

    axis = (-1.0, 1.0, s.effort.grid)
    return surface(s.objective, s.trajectory, x=axis, y=axis, tolerance=s.effort.tolerance, out=out, engine=s.engine, progress=s.progress)


def _plane(s: Subject, out: Path) -> Result:
    from thetascope.experiments.trajectory_plane import trajectory_plane

    return trajectory_plane(
        s.objective, s.trajectory, s.effort.grid, s.effort.grid, tolerance=s.effort.tolerance, out=out, engine=s.engine, progress=s.progress
    )


def _test_size(s: Subject, out: Path) -> Result:
    from thetascope.experiments.studies import study_test_size

    return study_test_size(s.objective, s.trajectory[-1], out=out, progress=s.progress)


def _epochs(s: Subject, out: Path) -> Result:
    from thetascope.experiments.studies import study_epochs

    return study_epochs(_needed(s.training), out=out, progress=s.progress)


def _train_size(s: Subject, out: Path) -> Result:
    from thetascope.experiments.studies import study_train_size

    return study_train_size(_needed(s.training), s.effort.sizes, s.effort.repeats, out=out, progress=s.progress)


def _needed(training: Training | None) -> Training:
    if training is None:
        raise UsageError("this study trains, so it needs a ts.Training: name the function that returns it with --training SPEC")
    return training


def _path_headline(result: Result) -> str:
    loss, alphas = result.data["loss"].values, result.data["alpha"].values
    barrier = loss.max() - max(loss[0], loss[-1])
    told = f"a barrier of {barrier:.2g} on the way" if barrier > 1e-3 * abs(loss.max()) else "no barrier"
    return f"loss {loss[0]:.3g} → {loss[-1]:.3g}, lowest at α = {alphas[loss.argmin()]:.2f}, {told}"


def _layers_headline(result: Result) -> str:
    start = result.data["loss"].values[:, 0]
    return f"put back, {result.data['layer'].values[start.argmax()]} costs most: loss {start.max():.3g}"


def _parameters_headline(result: Result) -> str:
    spread = np.ptp(result.data["loss"].values, axis=1)
    most = result.data["parameter"].values[spread.argmax()]
    return f"of {len(spread)} parameters {most} moves the loss most, by {spread.max():.2g}"


def _compare_headline(result: Result) -> str:
    gaps = result.data.attrs["gaps"]
    return (
        f"mean |log10| gap to what was measured: linear {gaps['linear']:.2f}, quadratic {gaps['quadratic']:.2f} ({gaps['states']} states)"
    )


def _patterns_headline(result: Result) -> str:
    shares = {name: share for name, share in result.data.attrs["pattern_shares"].items() if share}
    return ", ".join(f"{name} {share:.0%}" for name, share in sorted(shares.items(), key=lambda item: -item[1]))


def _atlas_headline(result: Result) -> str:
    impact, final = result.data["impact"].values, float(result.data.attrs["final_loss"])
    finite = impact[np.isfinite(impact)]
    if not finite.size:
        return "no parameter has a finite curve"
    most = result.data["parameter"].values[np.nanargmax(impact)]
    told = f", the median parameter by {np.median(finite) / final:.2g}" if final else ""
    share = f"{finite.max() / final:.2g} of the final loss" if final else f"{finite.max():.2g}"
    return f"of {impact.size:,} parameters {most} changes the loss most, by {share}{told}"


def _roles_headline(result: Result) -> str:
    data = result.data.sortby("share", ascending=False)
    rows = list(zip(*(data[v].values.tolist() for v in ("layer", "share", "role")), strict=True))
    robust = [f"{name} ({share:.0%})" for name, share, role in rows if role == "robust"]
    undecided = [str(name) for name, _, role in rows if role == "undecided"]
    least = float(result.data.attrs["threshold"])
    told = [f"robust (put back, it loses more than {least:.0%} of the gain): {', '.join(robust) or 'none'}"] + (
        [f"undecided: {', '.join(undecided)}"] if undecided else []
    )
    ambient = len(rows) - len(robust) - len(undecided)
    told += ["the rest ambient" if ambient and ambient < len(rows) else f"{ambient or 'no'} ambient"]
    if any(name in result.data.attrs["with_buffers"] for name, _, role in rows if role == "robust"):
        told.append("running statistics are put back too")
    return "; ".join(told)


def _surface_headline(result: Result) -> str:
    loss = result.data["loss"].values
    finite = loss[np.isfinite(loss)]
    center = float(result.data["loss"].sel(x=0, y=0, method="nearest"))
    if not finite.size:
        return "no cell has a finite loss"
    j, i = np.unravel_index(int(np.nanargmin(np.where(np.isfinite(loss), loss, np.inf))), loss.shape)
    at = f"({float(result.data['x'][i]):.2g}, {float(result.data['y'][j]):.2g})"
    return f"loss {center:.3g} at the center, lowest {finite.min():.3g} at {at}, highest {finite.max():.3g}"


def _plane_headline(result: Result) -> str:
    data = result.data
    ours, walk = (float(data[name].values[:2].sum()) for name in ("explained_variance_ratio", "random_walk_ratio"))
    off = (data["off_plane"] / data["distance"].where(data["distance"] > 0)).values
    told = f"the plane holds {ours:.0%} of the variance (a random walk's {walk:.0%})"
    if not np.isfinite(off).any():
        return told
    worst = int(np.nanargmax(off))
    when = f"step {int(data['step'][worst]):,}"
    return f"{told}, the small steps less: of what is left to go at {when}, {off[worst]:.0%} lie off it"


def _recommendation(result: Result) -> str:
    return str(result.data.attrs["rule"])


CATALOG = {
    examination.name: examination
    for examination in (
        Examination("line", "Was the way straight?", _line, _path_headline),
        Examination("quadratic", "Is a curved way closer?", _quadratic, _path_headline),
        Examination("compare", "Which path is closer to what happened?", _compare, _compare_headline),
        Examination("layers", "Which layers matter, on a straight way?", _layers, _layers_headline),
        Examination("layers-quadratic", "And on a curved way?", _layers_quadratic, _layers_headline),
        Examination("roles", "Which layers are robust, which ambient?", _roles, _roles_headline),
        Examination("parameters", "What do single parameters do?", _parameters, _parameters_headline),
        Examination("patterns", "How do a parameter's two paths differ?", _patterns, _patterns_headline),
        Examination("atlas", "Which of all single parameters matter?", _atlas, _atlas_headline, long=True),
        Examination("surface", "What does the surface around the trained model look like?", _surface, _surface_headline),
        Examination("plane", "How did the optimizer walk?", _plane, _plane_headline),
        Examination("test-size", "How many test samples are enough?", _test_size, _recommendation),
        Examination("epochs", "How many epochs are enough?", _epochs, _recommendation, trains=True),
        Examination("train-size", "How many training samples are enough?", _train_size, _recommendation, trains=True),
    )
}


def chosen_examinations(names: Iterable[str], *, with_training: bool, with_long: bool = False) -> list[Examination]:
    """Those named, in the catalog's order; without names all, those that train only where there is a Training, and those that
    take long only `with_long`.

    Raises:
        UsageError: a name is unknown.
    """
    wanted = list(names)
    unknown = [name for name in wanted if name not in CATALOG]
    if unknown:
        raise UsageError(f"no experiment {', '.join(unknown)}; there are: {', '.join(CATALOG)}")
    return [
        e for e in CATALOG.values() if e.name in wanted or (not wanted and (with_training or not e.trains) and (with_long or not e.long))
    ]
