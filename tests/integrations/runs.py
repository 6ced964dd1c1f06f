"""A small recorded run with results and a report, for what logs it."""

from __future__ import annotations

import math
from pathlib import Path

import thetascope as ts
from thetascope.testing.models import case

STEPS = (0, 10, 20, 30)


def made_run(folder: Path) -> Path:
    """A run of four states, three results of it, and their report."""
    chosen = case("linear")
    model, states = chosen.model(), chosen.states(len(STEPS))
    model.load_state_dict(states[0])
    with ts.Recorder(folder / "run", model) as recorder:
        for step, state in list(zip(STEPS, states, strict=True))[1:]:
            model.load_state_dict(state)
            recorder.record(step=step, epoch=step / 10)
    objective, trajectory = ts.Objective(chosen.model(), chosen.data()), ts.Trajectory(folder / "run")
    ts.interpolate(objective, trajectory, alphas=5, out="run", progress=False)
    ts.layer_rewind(objective, trajectory, barriers=False, out="run", progress=False)
    ts.trajectory_geometry(trajectory, out="run", progress=False)
    ts.write_report(folder / "run")
    return folder / "run"


def odd(run: Path) -> ts.Result:
    """A result with values that are not finite, under a name of odd characters."""
    found = ts.load_result(run / "results" / "interpolate-alphas=5")
    return ts.Result(found.data.assign_attrs(barrier=math.nan, distance=math.inf))


ODD = "odd [1] *x*/.."
