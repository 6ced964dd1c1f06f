"""When each layer was finished: cells against plain torch, the rules in closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thetascope as ts
from thetascope.errors import GeometryError, StateError, TrajectoryError, UsageError
from thetascope.experiments.layer_rewind.rules import Rewound, earliest, within
from thetascope.geometry.rewinds import Rewinds, same_values
from thetascope.scoring.oracle import EagerBackend
from thetascope.state import State
from thetascope.testing.models import case, trained_states

QUIET: dict[str, Any] = {"progress": False}


def network(*, norm: bool = False) -> nn.Module:
    torch.manual_seed(1)
    middle: list[nn.Module] = [nn.BatchNorm1d(6)] if norm else []
    return nn.Sequential(nn.Linear(4, 6), *middle, nn.Tanh(), nn.Linear(6, 3))


def samples(count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 4, generator=generator)
    return inputs, inputs[:, :3].argmax(1)


def training(model: nn.Module, steps: int = 8) -> list[dict[str, torch.Tensor]]:
    return list(trained_states(model, *samples(), steps=steps))


class Product(nn.Module):
    """Two linear layers of one weight each: ``second · first · x``."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.second(self.first(x))
        return found


def products(*pairs: tuple[float, float]) -> ts.Trajectory:
    names = ("first.weight", "second.weight")
    return ts.Trajectory.from_states([dict(zip(names, (torch.tensor([[a]]), torch.tensor([[b]])), strict=True)) for a, b in pairs])


class Double(nn.Module):
    """A loss of ``(w² − 1)²`` at every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.held = nn.Linear(1, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((self.held.weight**2 - 1) ** 2).reshape(1).expand(len(x))


# what is scored --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["eager", "graph"])
def test_a_cell_is_the_final_model_with_one_layer_of_another_state(engine: str) -> None:
    model = network()
    states = training(model)
    found = ts.layer_rewind(ts.Objective(model, samples()), ts.Trajectory.from_states(states), engine=engine, **QUIET).data
    inputs, targets = samples()
    for i, layer in enumerate(found["layer"].values):
        for t, state in enumerate(states):
            mixed = {n: state[n] if n.startswith(f"{layer}.") else last for n, last in states[-1].items()}
            model.load_state_dict(mixed)
            wanted = nn.functional.cross_entropy(model(inputs), targets).item()
            assert float(found["loss"][i, t]) == pytest.approx(wanted, rel=1e-5)
    assert found["excess"].dims == ("layer", "state")
    assert (found["excess"].values[:, -1] == 0).all()


def test_with_the_buffers_of_the_path_a_layers_statistics_go_with_it() -> None:
    model = network(norm=True)
    states = training(model)
    objective = ts.Objective(model, samples(), buffers="path")
    found = ts.layer_rewind(objective, ts.Trajectory.from_states(states), **QUIET).data
    mixed = {n: states[2][n] if n.startswith("1.") and "num_batches" not in n else last for n, last in states[-1].items()}
    assert float(found["loss"].sel(layer="1", state=2)) == pytest.approx(objective.score(mixed)["loss"], rel=1e-6)


def test_two_linear_layers_cost_what_the_formula_says() -> None:
    inputs = torch.randn(50, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    objective = ts.Objective(Product().double(), (inputs, 2.0 * inputs), loss="mse")
    pairs = [(0.5, 0.4), (1.5, 0.9), (1.2, 1.6), (1.0, 2.0)]
    found = ts.layer_rewind(objective, products(*pairs), tolerance=0.05, **QUIET).data
    squares = inputs.numpy().ravel() ** 2
    wanted = np.array([[(a * 2.0 - 2.0) ** 2 for a, _ in pairs], [(1.0 * b - 2.0) ** 2 for _, b in pairs]])
    np.testing.assert_allclose(found["excess"], wanted * squares.mean(), rtol=1e-6)
    np.testing.assert_allclose(found["excess_se"], wanted * squares.std(ddof=1) / np.sqrt(50), rtol=1e-5)
    gain = min((0.5 * 0.4 - 2.0) ** 2 * squares.mean(), float((2 * inputs).var(correction=0)))
    assert found.attrs["gain"] == pytest.approx(gain, rel=1e-6)
    for i in range(2):
        least = np.maximum(2 * found["excess_se"].values[i], 0.05 * gain)
        fine = found["excess"].values[i] <= least
        assert int(found["finished"][i]) == next(t for t in range(4) if fine[t:].all())


def test_states_that_equal_the_final_one_cost_exactly_nothing() -> None:
    model = network(norm=True)
    states = training(model)
    last = {name: tensor.clone() for name, tensor in states[-1].items()}
    trajectory = ts.Trajectory.from_states([states[0], last, *states[1:]])
    for engine in ("eager", "graph"):
        found = ts.layer_rewind(ts.Objective(model, samples()), trajectory, engine=engine, **QUIET).data
        assert (found["excess"].values[:, 1] == 0).all()
        assert (found["excess_se"].values[:, 1] == 0).all()
        assert float(found["barrier_to_end"][1]) == 0


def test_a_layer_that_is_frozen_from_a_state_on_is_finished_there() -> None:
    model = network(norm=True)
    states = training(model)
    for state in states[4:]:
        state.update({name: states[3][name].clone() for name in state if name.startswith("0.")})
    trajectory = ts.Trajectory.from_states(states)
    found = ts.layer_rewind(ts.Objective(model, samples()), trajectory, tolerance=0.0, **QUIET).data
    assert int(found["finished"].sel(layer="0")) <= 3
    assert (found["excess"].sel(layer="0").values[3:] == 0).all()


def test_the_order_of_layers_changes_nothing() -> None:
    model = network()
    trajectory = ts.Trajectory.from_states(training(model))
    one, other = (
        ts.layer_rewind(ts.Objective(model, samples()), trajectory, layers=layers, engine="eager", **QUIET).data
        for layers in (["0", "2"], ["2", "0"])
    )
    for name in ("loss", "excess", "excess_se", "finished", "resolved"):
        np.testing.assert_array_equal(one[name], other[name].sel(layer=one["layer"]))


def test_blocks_and_named_groups_go_together() -> None:
    model = network()
    states = training(model)
    objective = ts.Objective(model, samples())
    found = ts.layer_rewind(objective, ts.Trajectory.from_states(states), layers={"all": ["*"]}, **QUIET).data
    np.testing.assert_allclose(found["loss"].values[0], found["actual_loss"], rtol=1e-5)


# rules -----------------------------------------------------------------------------------------------------------


def test_finished_is_the_earliest_state_from_which_on_all_are_fine() -> None:
    assert earliest(np.array([True, False, True, True])) == 2
    assert earliest(np.array([True, True, True])) == 0
    assert earliest(np.array([False, False, False])) == 2  # the last state is itself
    costs, errors = np.array([0.3, 0.02, np.nan, -1.0]), np.array([0.0, 0.02, 0.0, np.nan])
    assert within(costs, errors, 0.01).tolist() == [False, True, False, True]


def test_an_error_beyond_the_tolerance_leaves_a_layer_unresolved() -> None:
    import xarray as xr

    data = xr.Dataset(
        {
            "actual_loss": ("state", [1.0, 0.5, 0.0]),
            "excess": (("layer", "state"), [[0.5, 0.01, 0.0], [0.5, 0.004, 0.0]]),
            "excess_se": (("layer", "state"), [[0.01, 0.02, 0.0], [0.01, 0.002, 0.0]]),
        },
        coords={"state": [0, 1, 2], "layer": ["a", "b"]},
    )
    rules = Rewound(tolerance=0.01, steps=np.array([0.0, 10.0, 40.0]), sizes=np.array([3.0, 1.0]), chance={})
    variables, attrs = rules.of(data, None)
    assert np.asarray(variables["finished"][1]).tolist() == [1, 1]
    assert np.asarray(variables["resolved"][1]).tolist() == [False, True]
    assert attrs["frozen_share"] == pytest.approx(30 / 40)
    assert attrs["gain"] == 1.0
    # by the tolerance alone, layer a is not finished before the end
    strict, left = rules.of(data.assign(excess_se=data["excess_se"] * 0, excess=data["excess"] * 2), None)
    assert np.asarray(strict["finished"][1]).tolist() == [2, 1]
    assert left["frozen_share"] == pytest.approx((0.0 * 3 + 0.75 * 1) / 4)


def test_the_barrier_between_two_wells_is_one() -> None:
    names = "held.weight"
    states = [{names: torch.tensor([[value]])} for value in (-1.0, 0.5, 1.0)]
    objective = ts.Objective(Double(), samples(), loss=lambda outputs, targets: outputs)
    found = ts.layer_rewind(objective, ts.Trajectory.from_states(states), **QUIET).data
    np.testing.assert_allclose(found["barrier_to_end"], [1.0, 0.0, 0.0], atol=1e-6)
    assert found.attrs["connected_from"] == 1
    assert found["line_loss"].dims == ("state", "alpha")
    assert found["alpha"].values.tolist() == [0.25, 0.5, 0.75]


def test_the_barriers_error_is_that_of_a_bootstrap_of_the_same_samples() -> None:
    model = network()
    states = training(model, 4)
    found = ts.layer_rewind(ts.Objective(model, samples()), ts.Trajectory.from_states(states), **QUIET).data
    line = ts.interpolate(ts.Objective(model, samples()), ts.Trajectory.from_states(states), alphas=5, **QUIET).data
    assert float(found["barrier_to_end"][0]) == pytest.approx(line.attrs["barrier"], abs=1e-9)
    assert float(found["barrier_to_end_se"][0]) == pytest.approx(line.attrs["barrier_se"], abs=1e-9)


def test_without_barriers_nothing_is_scored_between_states() -> None:
    model = network()
    found = ts.layer_rewind(ts.Objective(model, samples()), ts.Trajectory.from_states(training(model)), barriers=False, **QUIET).data
    assert "line_loss" not in found
    assert "barrier_to_end" not in found
    assert found.attrs["connected_from"] is None


def test_a_training_that_gained_nothing_has_shares_of_nothing() -> None:
    trajectory = products((1.0, 2.0), (1.0, 2.0), (1.0, 2.0))
    inputs = torch.randn(50, 1)
    found = ts.layer_rewind(ts.Objective(Product(), (inputs, 5.0 * inputs), loss="mse"), trajectory, **QUIET)
    assert found.data["finished"].values.tolist() == [0, 0]
    found.plot()


# options, storage ------------------------------------------------------------------------------------------------


def test_states_are_chosen_by_number_or_by_place() -> None:
    model = network()
    objective, trajectory = ts.Objective(model, samples()), ts.Trajectory.from_states(training(model))
    count = len(trajectory)
    quick: dict[str, Any] = {"barriers": False, "layers": ["2"], **QUIET}
    assert ts.layer_rewind(objective, trajectory, states=3, **quick).data["state"].values.tolist() == [0, (count - 1) // 2, count - 1]
    assert ts.layer_rewind(objective, trajectory, states=[-2, 1], **quick).data["state"].values.tolist() == [0, 1, count - 2, count - 1]
    for wrong in ([count], "1", 1, 2.5, [0.5], True):
        with pytest.raises(UsageError, match="states must be"):
            ts.layer_rewind(objective, trajectory, states=wrong, **quick)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="alphas must be a whole number of at least 3"):
        ts.layer_rewind(objective, trajectory, alphas=2, **QUIET)
    with pytest.raises(UsageError, match="tolerance must be"):
        ts.layer_rewind(objective, trajectory, tolerance=-1.0, **QUIET)
    with pytest.raises(TrajectoryError, match="this trajectory has 1"):
        ts.layer_rewind(objective, ts.Trajectory.from_states(training(model)[:1]), **QUIET)
    with pytest.raises(StateError, match="no layer"):
        ts.layer_rewind(objective, trajectory, layers=[], **QUIET)


def test_a_finished_result_is_gone_on_with_without_scoring_lines_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    trajectory = ts.Trajectory.from_states(training(model))
    first = ts.layer_rewind(ts.Objective(model, samples()), trajectory, out=tmp_path / "r", **QUIET).data
    passes = list[int]()
    evaluate = EagerBackend.evaluate

    def counted(self: EagerBackend, rows: Any) -> Any:
        passes.extend(rows)
        return evaluate(self, rows)

    monkeypatch.setattr(EagerBackend, "evaluate", counted)
    again = ts.layer_rewind(ts.Objective(model, samples()), trajectory, out=tmp_path / "r", **QUIET).data
    assert len(passes) <= 3
    for name in first.data_vars:
        np.testing.assert_array_equal(first[name], again[name])
    assert again.attrs["connected_from"] == first.attrs["connected_from"]


def test_several_objectives_have_their_own_answers() -> None:
    model = network()
    trajectory = ts.Trajectory.from_states(training(model))
    one, other = ts.Objective(model, samples(60)), ts.Objective(model, samples(40))
    both = ts.layer_rewind({"train": one, "test": other}, trajectory, engine="eager", **QUIET)
    alone = ts.layer_rewind(ts.Objective(model, samples(40)), trajectory, engine="eager", **QUIET)
    np.testing.assert_array_equal(both.one("test").data["finished"], alone.data["finished"])
    np.testing.assert_array_equal(both.one("test").data["barrier_to_end_se"], alone.data["barrier_to_end_se"])
    both.plot()


# points ----------------------------------------------------------------------------------------------------------


def test_points_take_their_group_from_the_first_source_that_is_the_same() -> None:
    linear = case("linear")
    states = tuple(State.of(state) for state in linear.states(3))
    names = tuple(states[0].specs)
    groups = (names[:1], names[1:2])
    sources = same_values((*states, states[0]), groups)
    assert sources.tolist() == [[3, 1, 2, 3]] * 2
    points = Rewinds((*states, states[0]), groups, sources)
    assert len(points) == 8
    assert [points.is_stored(k) for k in range(8)] == [True, False, False, True] * 2
    assert points.needs(1, names[0]) == (1,)
    assert points.needs(1, names[1]) == (3,)
    for name in names:
        wanted = np.bincount([points.needs(k, name)[0] for k in range(8)], minlength=4)
        assert points.uses(name).tolist() == wanted.tolist()
    assert points.identity(0) == points.identity(7)
    assert len({points.identity(k) for k in range(8)}) == 5
    with pytest.raises(GeometryError, match="sources must be"):
        Rewinds(states, groups, sources)
