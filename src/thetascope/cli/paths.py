"""The commands for paths: interpolate, compare, layers, atlas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from thetascope.cli.application import app, examples
from thetascope.cli.options import (
    Alphas,
    Checkpoints,
    Layers,
    ObjectiveSpec,
    Output,
    Parameters,
    Run,
    chosen_alphas,
    chosen_parameters,
)

if TYPE_CHECKING:
    import thetascope as ts


@app.command(
    sort_key=30,
    help_epilogue=examples(
        "thetascope interpolate runs/mine --objective objective.py:objective",
        "thetascope interpolate e0.pt e5.pt e10.pt --objective objective.py:objective --kind quadratic",
        "thetascope interpolate runs/mine --objective objective.py:objective --level layer --layers 'conv*'",
    ),
)
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

    degree: Any = int(kind) if kind.isdigit() else kind

    def experiment(scored: ts.Objective, trajectory: ts.Trajectory, **shared: Any) -> ts.Result:
        return ts.interpolate(scored, trajectory, degree, level, chosen_alphas(alphas), layers, chosen_parameters(parameters), **shared)

    (output or Output()).run(run, f"interpolate-{kind}-{level}", objective, checkpoints, experiment)


@app.command(
    sort_key=40,
    help_epilogue=examples(
        "thetascope compare runs/mine --objective objective.py:objective",
        "thetascope compare runs/mine --objective objective.py:objective --level parameter --parameters 10",
    ),
)
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

    def experiment(scored: ts.Objective, trajectory: ts.Trajectory, **shared: Any) -> ts.Result:
        return ts.compare_paths(scored, trajectory, level, chosen_alphas(alphas), layers, chosen_parameters(parameters), **shared)

    (output or Output()).run(run, f"compare-{level}", objective, checkpoints, experiment)


@app.command(
    sort_key=50,
    help_epilogue=examples(
        "thetascope layers runs/mine --objective objective.py:objective",
        "thetascope layers runs/mine --objective objective.py:objective --draws 20 --threshold 0.1",
    ),
)
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

    def experiment(scored: ts.Objective, trajectory: ts.Trajectory, **shared: Any) -> ts.Result:
        return ts.layer_roles(scored, trajectory, draws, threshold, seed, layers, **shared)

    (output or Output()).run(run, "layer-roles", objective, checkpoints, experiment)


@app.command(
    sort_key=55,
    help_epilogue=examples(
        "thetascope atlas runs/mine --objective objective.py:objective",
        "thetascope atlas runs/mine --objective objective.py:objective --kind quadratic --layers fc1 fc2",
    ),
)
def atlas(
    run: Run,
    /,
    *,
    objective: ObjectiveSpec,
    kind: Annotated[Literal["linear", "quadratic"], Parameter(help="The path of each parameter.")] = "linear",
    alphas: Alphas = None,
    mode: Annotated[
        Literal["tabulated", "exact"],
        Parameter(help="Read off tables, with the error measured; or every value scored, which may take days."),
    ] = "tabulated",
    layers: Layers = None,
    checkpoints: Checkpoints | None = None,
    output: Output | None = None,
) -> None:
    """Move every single parameter of the model, one at a time, and see which ones matter."""
    import thetascope as ts

    def experiment(scored: ts.Objective, trajectory: ts.Trajectory, **shared: Any) -> ts.Result:
        return ts.parameter_atlas(scored, trajectory, kind, chosen_alphas(alphas), mode, layers, **shared)

    name = "atlas" if kind == "linear" else f"atlas-{kind}"
    (output or Output()).run(run, name, objective, checkpoints, experiment)
