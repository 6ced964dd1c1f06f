"""Several objectives by label: each label's part is what a call with that objective alone gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import thetascope as ts
from thetascope.errors import ObjectiveError, ResultError, UsageError
from thetascope.results.labelled import labels_of, only
from thetascope.scoring.runner import Runner
from thetascope.testing.models import case, trained_states

LABELS = ["train", "test"]


def net(*, norm: bool = False) -> nn.Module:
    torch.manual_seed(3)
    middle: list[nn.Module] = [nn.BatchNorm1d(5)] if norm else []
    return nn.Sequential(nn.Linear(3, 5), *middle, nn.Tanh(), nn.Linear(5, 3))


def data(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, generator=generator), torch.randint(3, (count,), generator=generator)


def objectives(model: nn.Module, **options: Any) -> dict[str, ts.Objective]:
    return {label: ts.Objective(model, data(count, count), **options) for label, count in zip(LABELS, (40, 23), strict=True)}


def training(model: nn.Module, count: int = 6) -> ts.Trajectory:
    return ts.Trajectory.from_states(list(trained_states(model, *data(40, 40), steps=count - 1)))


CALLS: dict[str, Callable[..., ts.Result]] = {
    "interpolate": lambda o, t, **how: ts.interpolate(o, t, alphas=5, **how),
    "interpolate quadratic": lambda o, t, **how: ts.interpolate(o, t, "quadratic", alphas=5, **how),
    "interpolate layer": lambda o, t, **how: ts.interpolate(o, t, level="layer", alphas=3, **how),
    "interpolate parameter": lambda o, t, **how: ts.interpolate(o, t, level="parameter", alphas=3, parameters=2, **how),
    "compare_paths": lambda o, t, **how: ts.compare_paths(o, t, alphas=5, **how),
    "compare_paths parameter": lambda o, t, **how: ts.compare_paths(o, t, level="parameter", alphas=3, parameters=2, **how),
    "layer_roles": lambda o, t, **how: ts.layer_roles(o, t, draws=2, **how),
    "surface": lambda o, t, **how: ts.surface(o, t, x=(-1, 1, 3), y=(-1, 1, 5), **how),
    "surface tolerance": lambda o, t, **how: ts.surface(o, t, x=(-0.5, 0.5, 15), y=(-0.5, 0.5, 15), tolerance=0.2, **how),
    "trajectory_plane": lambda o, t, **how: ts.trajectory_plane(o, t, x=3, y=4, **how),
    "trajectory_plane tolerance": lambda o, t, **how: ts.trajectory_plane(o, t, x=15, y=15, tolerance=0.2, **how),
}


def plain(attrs: dict[str, Any]) -> dict[str, Any]:
    """Without what is of the moment."""
    return {name: value for name, value in attrs.items() if name not in ("created", "threads")}


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "norm"])
@pytest.mark.parametrize("name", CALLS)
def test_each_part_is_the_result_of_its_objective_alone(name: str, norm: bool) -> None:
    model = net(norm=norm)
    trajectory, both = training(model), objectives(model)
    result = CALLS[name](both, trajectory, engine="eager", progress=False)
    assert labels_of(result.data) == LABELS
    assert result.data["data"].values.tolist() == LABELS
    scored = [str(n) for n in result.data.data_vars if "loss" in str(n) or str(n).endswith("status")]
    assert all(result.data[n].dims[0] == "data" for n in scored)
    for label, objective in objectives(model).items():
        alone = CALLS[name](objective, trajectory, engine="eager", progress=False)
        part = only(result.data, label)
        xr.testing.assert_equal(part, alone.data)
        assert set(part.variables) == set(alone.data.variables)
        np.testing.assert_equal(plain(part.attrs), plain(alone.data.attrs))


@pytest.mark.parametrize("name", CALLS)
def test_a_stopped_result_goes_on(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = net()
    trajectory = training(model)
    columns, calls, stop = Runner.columns, 0, 0

    def counted(self: Runner, request: Any, rows: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise KeyboardInterrupt
        return columns(self, request, rows)

    monkeypatch.setattr(Runner, "columns", counted)
    whole = CALLS[name](objectives(model), trajectory, engine="eager", progress=False)
    for share in (0.3, 0.8):  # with the first objective, and with the second
        times, calls = calls, 0
        stop, place = max(2, round(share * times)), tmp_path / f"{share}"
        with pytest.raises(KeyboardInterrupt):
            CALLS[name](objectives(model), trajectory, engine="eager", progress=False, out=place)
        stopped, stop, calls = calls, 0, 0
        result = CALLS[name](objectives(model), trajectory, engine="eager", progress=False, out=place)
        assert calls <= times - stopped + 2  # what was stored is not scored anew, but for one point of each
        xr.testing.assert_equal(result.data, whole.data)
        assert ts.load_result(place).data.drop_encoding().identical(result.data)
        calls = times
    np.testing.assert_equal(plain(result.data.attrs)["by_data"], plain(whole.data.attrs)["by_data"])
    again = CALLS[name](objectives(model), trajectory, progress=False, out=place)
    xr.testing.assert_equal(again.data, whole.data)
