from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import thetascope as ts
from thetascope.errors import GeometryError, ResultError, StateError, ThetascopeError, TrajectoryError, UsageError
from thetascope.experiments.layer_roles import layer_roles
from thetascope.experiments.layer_roles.fresh_values import FreshValues
from thetascope.geometry.redraws import Redraws
from thetascope.state import Layer, ParameterSpace, State
from thetascope.testing.models import CASES, Case, QuadraticBowl, case, trained_states
from thetascope.testing.snapshots import unchanged

every_case = pytest.mark.parametrize("chosen", CASES, ids=lambda c: c.name)


def objective_of(chosen: Case, **options: Any) -> ts.Objective:
    return ts.Objective(chosen.model(), chosen.data(), loss=chosen.loss, **options)


def trajectory_of(chosen: Case, count: int = 2) -> ts.Trajectory:
    return ts.Trajectory.from_states(chosen.states(count))


def trained(steps: int = 60) -> tuple[ts.Objective, ts.Trajectory]:
    """A small network that has learnt something."""
    linear = case("linear")
    inputs, targets = linear.data(20)
    states = list(trained_states(linear.model(), inputs, targets, steps))
    return ts.Objective(linear.model(), (inputs, targets)), ts.Trajectory.from_states([states[0], states[-1]])


def quick(objective: ts.Objective, trajectory: ts.Trajectory, draws: int = 2, **options: Any) -> Any:
    return layer_roles(objective, trajectory, draws, progress=False, **options).data


def fresh_of(model: nn.Module, seed: int = 0, first: Mapping[str, Tensor] | None = None) -> FreshValues:
    return FreshValues(model, ParameterSpace.of_model(model), State.of(model.state_dict() if first is None else first), seed)


def layer_named(model: nn.Module, name: str) -> Layer:
    return next(layer for layer in ParameterSpace.of_model(model).layers if layer.name == name)


# what is scored ------------------------------------------------------------------------------------------------


@every_case
def test_reinitialising_is_the_layer_path_at_its_start(chosen: Case) -> None:
    objective, trajectory = objective_of(chosen, buffers="path"), trajectory_of(chosen, 3)
    found = quick(objective, trajectory)
    path = ts.interpolate(objective, trajectory, level="layer", alphas=[0.0, 1.0], progress=False).data
    assert found["layer"].values.tolist() == path["layer"].values.tolist()
    for name in ("loss", "accuracy"):
        assert found[f"reinit_{name}"].values.tolist() == path[name].sel(alpha=0.0).values.tolist()
        for end, index in (("initial", 0), ("final", -1)):
            assert float(found[f"end_{name}"].sel(end=end)) == objective.score(trajectory[index])[name]
    np.testing.assert_array_equal(found["distance"], path["distance"])


@every_case
def test_every_model_goes_through_and_is_untouched(chosen: Case) -> None:
    model = chosen.model()
    with unchanged(model):
        found = quick(ts.Objective(model, chosen.data(), loss=chosen.loss), trajectory_of(chosen), draws=3)
    assert found["rerandom_loss"].dims == ("layer", "draw")
    assert found.sizes["draw"] == 3
    assert np.isfinite(found["rerandom_loss"]).all()
    assert (found["rerandom_status"] == 1).all()
    assert set(found["role"].values) <= {"critical", "ambient", "undecided"}


@every_case
def test_a_draw_changes_the_layer_and_nothing_else(chosen: Case) -> None:
    """Scored here by hand: the final state with the layer's tensors as they were drawn."""
    objective, trajectory = objective_of(chosen, buffers="path"), trajectory_of(chosen)
    found = quick(objective, trajectory, seed=5)
    fresh = FreshValues(objective.model.model, objective.space, objective.bind(trajectory[0]), seed=5)
    for layer in objective.space.layers:
        for number in range(2):
            changed = fresh.draw(layer, number)
            assert changed.keys() == set(layer.parameters)
            score = objective.score({**objective.bind(trajectory[-1]), **changed})
            assert float(found["rerandom_loss"].sel(layer=layer.name, draw=number)) == pytest.approx(score["loss"], rel=1e-6)


def test_statistics_go_back_with_a_layer_but_stay_when_it_is_drawn() -> None:
    chosen = case("BatchNorm ResNet block")
    objective, trajectory = objective_of(chosen, buffers="path"), trajectory_of(chosen)
    first, last = dict(trajectory[0]), dict(trajectory[-1])
    found = quick(objective, trajectory)
    put_back = {name: first[name] if name.startswith("norm1.") else tensor for name, tensor in last.items()}
    put_back["norm1.num_batches_tracked"] = last["norm1.num_batches_tracked"]
    assert float(found["reinit_loss"].sel(layer="norm1")) == pytest.approx(objective.score(put_back)["loss"], rel=1e-6)
    drawn = {**last, "norm1.weight": torch.ones(4), "norm1.bias": torch.zeros(4)}
    assert found["rerandom_loss"].sel(layer="norm1").values.tolist() == pytest.approx([objective.score(drawn)["loss"]] * 2, rel=1e-6)
    held = quick(objective_of(chosen, buffers="final"), trajectory)
    weights_only = {**last, "norm1.weight": first["norm1.weight"], "norm1.bias": first["norm1.bias"]}
    assert float(held["reinit_loss"].sel(layer="norm1")) == pytest.approx(objective.score(weights_only)["loss"], rel=1e-6)
    assert found.attrs["with_buffers"] == ["norm1", "norm2"]
    assert held.attrs["with_buffers"] == []


def test_layers_that_move_together_are_drawn_as_when_alone() -> None:
    objective, trajectory = trained()
    both = quick(objective, trajectory, layers={"all of it": ["*"]})
    assert both["layer"].values.tolist() == ["all of it"]
    assert float(both["reinit_loss"][0]) == float(both["end_loss"].sel(end="initial"))
    gain = min(float(both["end_loss"].sel(end="initial")), both.attrs["chance_loss"]) - float(both["end_loss"].sel(end="final"))
    assert both.attrs["gain"] == pytest.approx(gain)
    assert float(both["share"][0]) == pytest.approx(float(both["excess"][0]) / gain)
    fresh = FreshValues(objective.model.model, objective.space, objective.bind(trajectory[0]), 0)
    whole = {name: t for layer in objective.space.layers for name, t in fresh.draw(layer, 1).items()}
    assert float(both["rerandom_loss"][0, 1]) == objective.score(whole)["loss"]


# roles ---------------------------------------------------------------------------------------------------------


def bowl(first: list[float], last: list[float], curvature: list[float]) -> tuple[ts.Objective, ts.Trajectory]:
    """Losses in closed form; every coordinate a layer of its own."""

    class Coordinates(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(QuadraticBowl([c], [0.0]) for c in curvature)

        def forward(self, batch: Tensor) -> Tensor:
            return torch.stack([part(batch) for part in self.parts]).sum(0)

    states = [{f"parts.{i}.position": torch.tensor([v], dtype=torch.float64) for i, v in enumerate(values)} for values in (first, last)]
    return ts.Objective.from_step(Coordinates(), QuadraticBowl.data(), QuadraticBowl.step), ts.Trajectory.from_states(states)


def test_shares_follow_the_formula_and_the_threshold_flips_roles() -> None:
    # losses: initial ½ (4 + 2·1 + 1) = 3.5, final 0; putting one back costs 2, 1, 0.5 of it
    objective, trajectory = bowl([2.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 1.0])
    found = quick(objective, trajectory)
    np.testing.assert_allclose(found["share"], [4 / 7, 2 / 7, 1 / 7], rtol=1e-14)
    assert found["role"].values.tolist() == ["critical", "critical", "ambient"]
    for threshold, roles in ((0.3, "caa"), (0.1, "ccc"), (0.6, "aaa"), (float(found["share"][1]), "caa")):  # more than, not at least
        again = quick(objective, trajectory, threshold=threshold)
        assert "".join(role[0] for role in again["role"].values) == roles


def test_a_layer_that_did_not_move_has_share_0() -> None:
    objective, trajectory = trained()
    last = {**dict(trajectory[-1]), **{n: t for n, t in trajectory[0].items() if n.startswith("0.")}}
    found = quick(objective, ts.Trajectory.from_states([trajectory[0], last]))
    assert float(found["share"].sel(layer="0")) == 0.0
    assert float(found["distance"].sel(layer="0")) == 0.0
    assert str(found["role"].sel(layer="0").values) == "ambient"
    assert float(found["share"].sel(layer="2")) > 0


@pytest.mark.parametrize("last", [[3.0], [2.0]])
def test_a_training_that_gained_nothing_decides_nothing(last: list[float]) -> None:
    found = quick(*bowl([2.0], last, [1.0]))
    assert found["role"].values.tolist() == ["undecided"]
    assert np.isnan(found["share"]).all()
    (reason,) = found.attrs["undecided"]
    assert "gained nothing" in reason
    assert "the loss was 2 and became" in reason


class Product(nn.Module):
    """``loss = (a · b)⁴ + c²``: putting a alone back may overflow where both ends do not."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (QuadraticBowl([1.0], [0.0]) for _ in range(3))

    def forward(self, batch: Tensor) -> Tensor:
        value = (self.a.position * self.b.position) ** 4 + self.c.position**2
        return value.expand(len(batch))


def test_one_layer_that_is_not_finite_spoils_no_other(tmp_path: Path) -> None:
    values = ({"a": 1e100, "b": 1e-100, "c": 2.0}, {"a": 1.0, "b": 1.0, "c": 0.0})
    states = [{f"{n}.position": torch.tensor([v], dtype=torch.float64) for n, v in ends.items()} for ends in values]
    objective = ts.Objective.from_step(Product(), QuadraticBowl.data(), QuadraticBowl.step)
    for _ in range(2):  # the second time from disk: kept as it is
        found = quick(objective, ts.Trajectory.from_states(states), out=tmp_path / "r").sel(layer=["a", "b", "c"])
        assert found["reinit_status"].values.tolist() == [2, 1, 1]
        assert found["reinit_loss"].values.tolist() == [np.inf, 0.0, 5.0]
        assert found["role"].values.tolist() == ["undecided", "ambient", "critical"]
        np.testing.assert_array_equal(found["share"], [np.nan, -0.25, 1.0])
        assert found.attrs["undecided"] == ['the loss with "a" re-initialised is inf']


def test_ends_that_are_not_finite_decide_nothing() -> None:
    objective, trajectory = trained()
    first = {**dict(trajectory[0]), "2.bias": torch.tensor([torch.nan, 0.0, 0.0])}
    found = quick(objective, ts.Trajectory.from_states([first, trajectory[-1]]))
    assert found["role"].values.tolist() == ["undecided", "undecided"]
    assert np.isfinite(found["reinit_loss"].sel(layer="0"))
    assert "the loss was nan and became" in found.attrs["undecided"][0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"draws": 0}, UsageError, "draws must be a whole number of at least 1. Got 0 instead"),
        ({"draws": 2.5}, UsageError, "draws must be a whole number"),
        ({"draws": True}, UsageError, "draws must be a whole number"),
        ({"seed": -1}, UsageError, "seed must be a whole number of at least 0"),
        ({"seed": "a"}, UsageError, "seed must be a whole number"),
        ({"threshold": -0.1}, UsageError, "threshold must be a finite share of at least 0"),
        ({"threshold": float("nan")}, UsageError, "threshold"),
        ({"threshold": float("inf")}, UsageError, "threshold"),
        ({"threshold": "high"}, UsageError, "threshold"),
        ({"layers": ["fc9"]}, StateError, 'no layer matches "fc9"; there are: 0, 2'),
        ({"layers": []}, StateError, "layers selects no layer"),
        ({"layers": {"none": []}}, StateError, "layers selects no layer in none"),
        ({"layers": "0"}, StateError, r'write \["0"\]'),
        ({"engine": "warp"}, ThetascopeError, "eager"),
    ],
)
def test_bad_arguments_say_what_to_pass(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        layer_roles(objective_of(case("linear")), trajectory_of(case("linear")), progress=False, **arguments)


def test_one_state_is_not_enough() -> None:
    with pytest.raises(TrajectoryError, match="compares the first state with the last; this trajectory has 1"):
        quick(objective_of(case("linear")), trajectory_of(case("linear"), 1))
    with pytest.raises(TrajectoryError, match=r"expected a ts.Trajectory, got list"):
        layer_roles(objective_of(case("linear")), case("linear").states(2), progress=False)  # type: ignore[arg-type]


def test_layers_that_are_never_called_are_listed() -> None:
    found = quick(objective_of(case("tied attention")), trajectory_of(case("tied attention")))
    assert found.attrs["not_called"] == ["attention.out_proj"]
    assert quick(*trained()).attrs["not_called"] == []


# draws ---------------------------------------------------------------------------------------------------------


def test_draws_depend_on_seed_number_and_layer_alone() -> None:
    objective, trajectory = trained()
    both = quick(objective, trajectory, draws=3)
    turned = quick(objective, trajectory, draws=3, layers=["2", "0"])
    assert turned["layer"].values.tolist() == ["2", "0"]
    for name in both.data_vars:
        if "layer" in both[name].dims:
            np.testing.assert_array_equal(turned[name].sel(layer=["0", "2"]), both[name], err_msg=str(name))
    alone = quick(objective, trajectory, draws=2, layers=["2"])
    np.testing.assert_array_equal(alone["rerandom_loss"][0], both["rerandom_loss"].sel(layer="2")[:2])
    other = quick(objective, trajectory, draws=3, seed=1)
    values = np.concatenate([both["rerandom_loss"].values.ravel(), other["rerandom_loss"].values.ravel()])
    assert len(set(values)) == 12  # each draw of each layer at each seed is another


def test_layers_of_one_shape_are_drawn_apart() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    fresh = fresh_of(model)
    assert not torch.equal(fresh.draw(layer_named(model, "0"), 0)["0.weight"], fresh.draw(layer_named(model, "1"), 0)["1.weight"])


def test_draws_are_the_same_in_another_process() -> None:
    code = """
import torch
from tests.experiments.layer_roles.test_experiment import case, fresh_of, layer_named
torch.manual_seed(99)
model = case("tied attention").model()
for name in ("attention", "embedding"):
    for tensor in fresh_of(model, seed=3).draw(layer_named(model, name), 4).values():
        print(tensor.double().sum().item())
"""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root, env={**os.environ, "PYTHONHASHSEED": "7"}
    )
    model = case("tied attention").model()
    drawn = [
        t.double().sum().item() for n in ("attention", "embedding") for t in fresh_of(model, seed=3).draw(layer_named(model, n), 4).values()
    ]
    assert [float(line) for line in done.stdout.split()] == drawn


def test_tied_tensors_are_drawn_once() -> None:
    chosen = case("tied attention")
    found = quick(objective_of(chosen), trajectory_of(chosen))
    assert found["layer"].values.tolist() == ["embedding", "attention", "attention.out_proj"]  # output has no tensor of its own
    model = chosen.model()
    assert fresh_of(model).draw(layer_named(model, "embedding"), 0).keys() == {"embedding.weight"}


def test_how_each_layer_was_drawn_is_said() -> None:
    found = quick(objective_of(case("tied attention")), trajectory_of(case("tied attention")))
    assert dict(zip(found["layer"].values.tolist(), found["drawn_from"].values.tolist(), strict=True)) == {
        "embedding": "reset_parameters",
        "attention": "first state's moments",
        "attention.out_proj": "reset_parameters",
    }
    assert found.attrs["drawn_normally"] == {
        "attention.in_proj_weight": "MultiheadAttention has no reset_parameters",  # its bias is zeros
    }
    assert found["redraw"].values.tolist() == found["drawn_from"].values.tolist()


def test_a_draw_is_what_the_module_draws_itself() -> None:
    model = nn.Sequential(nn.Conv2d(3, 64, 3))
    drawn = fresh_of(model).draw(layer_named(model, "0"), 0)
    bound = 1 / np.sqrt(27)
    assert 0.95 * bound < float(drawn["0.weight"].abs().max()) <= bound  # uniform, as Conv2d has it
    assert not torch.equal(drawn["0.weight"], model.get_parameter("0.weight"))


def test_a_normal_draw_has_mean_and_spread_of_the_first_values() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.same = nn.Parameter(torch.zeros(100, 100)), nn.Parameter(torch.zeros(7))

    model = nn.Sequential(Plain())
    first = {"0.wide": torch.empty(100, 100).uniform_(1.0, 5.0), "0.same": torch.full((7,), 0.3)}
    drawn = fresh_of(model, first=first).draw(layer_named(model, "0"), 0)
    assert float(drawn["0.wide"].mean()) == pytest.approx(3.0, abs=0.05)
    assert float(drawn["0.wide"].std()) == pytest.approx(4 / np.sqrt(12), abs=0.05)
    assert torch.equal(drawn["0.same"], first["0.same"])
    assert drawn["0.wide"].dtype == torch.float32


@pytest.mark.parametrize("kind", ["old weight_norm", "parametrised weight_norm"])
def test_weight_norm_is_drawn_as_if_it_were_set_up_anew(kind: str) -> None:
    model = case(kind).model()
    names = ("0.weight_v", "0.weight_g") if kind == "old weight_norm" else tuple(f"0.parametrizations.weight.original{i}" for i in (1, 0))
    with unchanged(model):
        fresh = fresh_of(model)
        layer = layer_named(model, "0")
        assert fresh.drawn_normally(layer) == {}
        drawn = fresh.draw(layer, 0)
    direction, length = (drawn[name] for name in names)
    assert torch.equal(length, torch.linalg.vector_norm(direction, dim=1, keepdim=True))  # so the weight is what was drawn
    assert float(direction.abs().max()) <= 0.5  # Linear(4, …): uniform within 1 / √4
    assert float(drawn["0.bias"].abs().max()) <= 0.5
    assert not torch.equal(drawn[names[0]], fresh.draw(layer, 1)[names[0]])
    assert model(torch.zeros(1, 4)).shape == (1, 3)  # the user's model still works


def test_a_parametrisation_without_right_inverse_has_its_original_drawn() -> None:
    class Doubled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    model = nn.Sequential(nn.Linear(4, 5))
    parametrize.register_parametrization(model[0], "weight", Doubled())
    fresh = fresh_of(model)
    with unchanged(model):
        drawn = fresh.draw(layer_named(model, "0"), 0)
    assert fresh.drawn_normally(layer_named(model, "0")) == {}
    assert 0.1 < float(drawn["0.parametrizations.weight.original"].abs().max()) <= 0.5
    assert torch.equal(model[0].weight, 2 * model[0].parametrizations.weight.original)  # type: ignore[union-attr, arg-type, operator]


class Awkward(nn.Module):
    """Its reset_parameters fails, or leaves a tensor out, or draws with what it likes."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.weight, self.scale = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.rand(3) + 1)

    def reset_parameters(self) -> None:
        if self.how == "fails":
            raise RuntimeError("no such luck")
        if self.how == "numpy":
            self.weight.data = torch.tensor(np.random.randn(3, 4), dtype=torch.float32)  # noqa: NPY002
        elif self.how == "python":
            self.weight.data = torch.tensor([[random.gauss(0, 1) for _ in range(4)] for _ in range(3)])
        else:
            self.weight = nn.Parameter(torch.randn(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T * self.scale


@pytest.mark.parametrize("how", ["fails", "torch", "numpy", "python"])
def test_what_reset_parameters_does_not_draw_is_drawn_normally(how: str) -> None:
    model = nn.Sequential(Awkward(how))
    with unchanged(model):
        fresh = fresh_of(model)
        layer = layer_named(model, "0")
        reasons = fresh.drawn_normally(layer)
        one, same, other = fresh.draw(layer, 0), fresh.draw(layer, 0), fresh.draw(layer, 1)
    if how == "fails":
        assert reasons == dict.fromkeys(("0.weight", "0.scale"), "reset_parameters failed (RuntimeError: no such luck)")
    else:
        assert reasons == {"0.scale": "reset_parameters leaves it as it is"}
    for name, tensor in one.items():
        assert torch.equal(tensor, same[name])
        assert not torch.equal(tensor, other[name])
        assert torch.isfinite(tensor).all()


def test_parts_drawn_both_ways_are_called_so() -> None:
    inputs, targets = case("linear").data()
    states = [{n: t.clone() for n, t in nn.Sequential(Awkward("torch")).state_dict().items()} for _ in range(2)]
    found = quick(ts.Objective(nn.Sequential(Awkward("torch")), (inputs, targets)), ts.Trajectory.from_states(states))
    assert found["drawn_from"].values.tolist() == ["reset_parameters and first state's moments"]


def test_the_present_values_of_the_model_do_not_matter() -> None:
    results = []
    for seed in (0, 1):
        chosen = case("parametrised weight_norm")
        model = chosen.model(seed)
        results.append(quick(ts.Objective(model, chosen.data()), trajectory_of(chosen))["rerandom_loss"].values)
    np.testing.assert_array_equal(results[0], results[1])


def test_parameters_of_the_model_itself_and_complex_ones() -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain, self.turn = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(3, dtype=torch.complex64))
            self.inner = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            scaled: Tensor = self.inner(x) * self.gain * self.turn.abs()
            return scaled

    states = [{n: t.clone() for n, t in Root().state_dict().items()} for _ in range(2)]
    found = quick(ts.Objective(Root(), case("linear").data()), ts.Trajectory.from_states(states))
    assert found["layer"].values.tolist()[0] == "(root)"
    assert np.isfinite(found["rerandom_loss"]).all()
    assert found["drawn_from"].values.tolist() == ["first state's moments", "reset_parameters"]


def test_draws_are_made_when_asked_for_and_only_the_latest_is_held() -> None:
    state = State.of({"a": torch.zeros(2), "b": torch.ones(2, dtype=torch.float16)})
    asked: list[tuple[int, int]] = []

    def draw(group: int, number: int) -> dict[str, Tensor]:
        asked.append((group, number))
        return {"ab"[group]: torch.full((2,), 10.0 * group + number)}

    points = Redraws(state, (("a",), ("b",)), 3, draw, "seed 0")
    assert len(points) == 6
    assert not asked
    parts = {0: state["a"]}
    assert points.tensor(4, "a", parts) is parts[0]  # point 4 is the second group's second draw
    assert not asked
    first = points.tensor(1, "a", parts)
    assert first.tolist() == [1.0, 1.0]
    first.fill_(7.0)  # a pass that writes to it
    assert points.tensor(1, "a", parts).tolist() == [1.0, 1.0]
    assert asked == [(0, 1)]
    assert points.tensor(4, "b", {0: state["b"]}).tolist() == [11.0, 11.0]
    assert points.tensor(4, "b", {0: state["b"]}).dtype == torch.float16
    assert asked == [(0, 1), (1, 1)]
    assert len(points._latest) == 1
    assert points.digest() == Redraws(state, (("a",), ("b",)), 3, draw, "seed 0").digest()
    assert points.digest() != Redraws(state, (("a",), ("b",)), 3, draw, "seed 1").digest()
    assert points.digest() != Redraws(state, (("a",), ("b",)), 3, draw, "seed 0", frozenset({1})).digest()
    with pytest.raises(GeometryError, match="draws must be at least 1"):
        Redraws(state, (("a",),), 0, draw, "")


def test_double_precision_sees_the_same_draws() -> None:
    chosen = case("LSTM")
    single = quick(objective_of(chosen), trajectory_of(chosen))
    double = quick(objective_of(chosen, dtype="float64"), trajectory_of(chosen))
    np.testing.assert_allclose(double["rerandom_loss"], single["rerandom_loss"], rtol=1e-5)


def test_data_that_are_loaded_anew_on_each_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = case("LeNet")
    expected = quick(objective_of(chosen), trajectory_of(chosen))
    monkeypatch.setattr("thetascope.scoring.batches._memory_budget", lambda device: 0.0)
    inputs, targets = chosen.data()
    walked = ts.Objective(chosen.model(), [(inputs[:7], targets[:7]), (inputs[7:], targets[7:])], loss=chosen.loss)
    assert not walked.batches.resident
    found = quick(walked, trajectory_of(chosen))
    np.testing.assert_allclose(found["rerandom_loss"], expected["rerandom_loss"], rtol=1e-5)


# storing -------------------------------------------------------------------------------------------------------


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    trajectory = trained()[1]
    calls = 0

    def failing(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 14:
            raise KeyboardInterrupt
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    inputs, targets = case("linear").data(20)
    stopping = ts.Objective(case("linear").model(), (inputs, targets), loss=failing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("thetascope.scoring.runner.UNIT_SECONDS", 1e-9)  # a point a unit
        with pytest.raises(KeyboardInterrupt):
            quick(stopping, trajectory, draws=4, out=tmp_path / "r")
        stored = ts.load_result(tmp_path / "r")
        assert 0 < stored.status_counts()["evaluated"] < 12
        assert "share" not in stored.data
        finished = layer_roles(stopping, trajectory, 4, out=tmp_path / "r", progress=False)
    assert finished.status_counts() == {"missing": 0, "evaluated": 12, "not finite": 0, "estimated": 0}
    whole = quick(stopping, trajectory, draws=4)
    for name in whole.data_vars:
        np.testing.assert_array_equal(finished.data[name], whole[name], err_msg=str(name))
    again = layer_roles(stopping, trajectory, 4, out=tmp_path / "r", progress=False)
    assert again.data.drop_encoding().identical(ts.load_result(tmp_path / "r").data.drop_encoding())


def test_another_call_on_the_same_out_names_every_difference(tmp_path: Path) -> None:
    objective, trajectory = trained()
    quick(objective, trajectory, out=tmp_path / "r")
    for arguments, message in (
        ({"seed": 1}, "settings.seed was 0, now 1"),
        ({"draws": 3}, "settings.draws was 2, now 3"),
        ({"threshold": 0.5}, "settings.threshold was 0.25, now 0.5"),
        ({"layers": ["2"]}, "settings.layers.0 was"),
    ):
        with pytest.raises(ResultError, match=message):
            layer_roles(objective, trajectory, **{"draws": 2, **arguments}, out=tmp_path / "r", progress=False)  # type: ignore[arg-type]


def test_draws_that_come_out_otherwise_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objective, trajectory = trained()
    quick(objective, trajectory, out=tmp_path / "r")
    monkeypatch.setattr(nn.Linear, "reset_parameters", lambda self: [nn.init.uniform_(p, -0.45, 0.45) for p in self.parameters()])
    with pytest.raises(ResultError, match="a stored score does not come out again"):
        quick(objective, trajectory, out=tmp_path / "r")
