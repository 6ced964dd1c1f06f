"""The commands for paths: interpolate, compare, layers."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from thetascope.cli.application import app
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
    loaded,
)


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
    scored, trajectory = loaded(run, objective, checkpoints)
    result = ts.interpolate(
        scored,
        trajectory,
        int(kind) if kind.isdigit() else kind,  # type: ignore[arg-type]
        level,
        chosen_alphas(alphas),
        layers,
        chosen_parameters(parameters),
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
    scored, trajectory = loaded(run, objective, checkpoints)
    result = ts.compare_paths(
        scored,
        trajectory,
        level,
        chosen_alphas(alphas),
        layers,
        chosen_parameters(parameters),
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
    scored, trajectory = loaded(run, objective, checkpoints)
    place = output.place(run, "layer-roles")
    result = ts.layer_roles(scored, trajectory, draws, threshold, seed, layers, out=place, engine=output.engine, progress=output.progress)
    output.finish(result, run, "layer-roles")
