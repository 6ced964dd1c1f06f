"""Where buffers come from: one policy an experiment, statistics as torch estimates them, vectors by power iteration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset

import thetascope as ts
from thetascope.errors import ObjectiveError

ROWS = 600


class Net(nn.Module):
    """Convolutions with norms and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.second, self.norm2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.first(x)))
        return torch.as_tensor(self.head(F.relu(self.norm2(self.second(x)) + x).mean((2, 3))))


def data(rows: int = ROWS) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, 2, 6, 6, generator=generator) * 2 + 1, torch.randint(5, (rows,), generator=generator)


def trained(count: int = 3) -> list[dict[str, Tensor]]:
    """States of a training, with the statistics that it left."""
    torch.manual_seed(0)
    model, (inputs, targets) = Net(), data()
    optimizer, states = torch.optim.SGD(model.parameters(), 0.2), []
    for _ in range(count):
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        for _ in range(5):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(model.train()(inputs[:100]), targets[:100]))
            optimizer.step()
    return states


def mixed(states: list[dict[str, Tensor]], alpha: float, layer: str = "") -> dict[str, Tensor]:
    """The straight line between the ends, of one layer or all."""
    first, last = states[0], states[-1]
    moving = {name for name in last if last[name].is_floating_point() and name.startswith(layer)}
    return {n: torch.lerp(first[n].double(), t.double(), alpha).float() if n in moving else t for n, t in last.items()}


def by_torch(state: dict[str, Tensor], batches: list[Tensor], inputs: Tensor, targets: Tensor) -> float:
    """torch's own recalibration, then evaluation."""
    model = Net()
    model.load_state_dict(state)
    update_bn(batches, model)
    with torch.no_grad():
        return float(F.cross_entropy(model.eval()(inputs), targets, reduction="none").double().mean())


@pytest.mark.parametrize("engine", ["eager", "graph", "auto"])
def test_recalibrated_values_equal_torch_s_update_bn(engine: str) -> None:
    states, (inputs, targets) = trained(), data()
    objective, trajectory = ts.Objective(Net(), (inputs, targets)), ts.Trajectory.from_states(states)
    whole = [inputs[:250], inputs[250:500]]  # the last 100 are no whole batch
    line = ts.interpolate(objective, trajectory, alphas=[0.0, 0.3, 1.0], engine=engine, progress=False).data
    assert line.attrs["buffers"] == "recalibrate"
    assert line.attrs["calibration"] == {"rows": 500, "batches": 2, "batch": 250, "layers": 2}
    wanted = [by_torch(mixed(states, alpha), whole, inputs, targets) for alpha in (0.0, 0.3, 1.0)]
    np.testing.assert_allclose(line["loss"], wanted, rtol=1e-6)
    layers = ts.interpolate(objective, trajectory, level="layer", alphas=[0.0, 0.5], engine=engine, progress=False).data
    assert "fell_back" not in layers.attrs
    for name in layers["layer"].values:
        wanted = [by_torch(mixed(states, alpha, f"{name}."), whole, inputs, targets) for alpha in (0.0, 0.5)]
        np.testing.assert_allclose(layers["loss"].sel(layer=name), wanted, rtol=1e-6)


def test_statistics_are_torch_s_bit_for_bit() -> None:
    from thetascope.scoring.statistics import recalibrated

    state, (inputs, targets) = trained()[-1], data()
    objective = ts.Objective(Net(), (inputs, targets), buffers="recalibrate")
    with objective.model.running():
        tensors = objective.model.tensors_of(objective.bind(state))
        found = recalibrated(objective.model, tensors, objective.calibration, objective.statistics)
    model = Net()
    model.load_state_dict(state)
    update_bn([inputs[:250], inputs[250:500]], model)
    for name, buffer in model.named_buffers():
        if "running" in name:
            assert torch.equal(found[name], buffer)


def test_each_experiment_has_one_policy_and_recorded_states_stand_beside_it() -> None:
    states, trajectory = trained(), ts.Trajectory.from_states(trained())
    objective = ts.Objective(Net(), data())
    quick: dict[str, Any] = {"progress": False}
    found = {
        "line": ts.interpolate(objective, trajectory, alphas=3, **quick),
        "layers": ts.interpolate(objective, trajectory, level="layer", alphas=3, **quick),
        "parameters": ts.interpolate(objective, trajectory, level="parameter", parameters=1, alphas=3, **quick),
        "paths": ts.compare_paths(objective, trajectory, alphas=3, **quick),
        "roles": ts.layer_roles(objective, trajectory, draws=1, **quick),
        "rewind": ts.layer_rewind(objective, trajectory, **quick),
        "average": ts.checkpoint_average(objective, trajectory, holdout=None, **quick),
        "plane": ts.trajectory_plane(objective, trajectory, x=3, y=3, **quick),
        "surface": ts.surface(objective, trajectory, x=(-1, 1, 3), y=(-1, 1, 3), **quick),
    }
    policies = {name: result.data.attrs["buffers"] for name, result in found.items()}
    assert policies == {name: "final" if name in ("parameters", "surface") else "recalibrate" for name in found}
    recorded = [objective.score(state) for state in states]
    for name in ("line", "paths", "rewind", "average", "plane"):
        assert found[name].data["loss_recorded"].values.tolist() == [score["loss"] for score in recorded]
        assert found[name].data["accuracy_recorded"].values.tolist() == [score["accuracy"] for score in recorded]
    line = found["line"].data
    assert float(line["loss"][-1]) == float(line["actual_loss"][-1]) != float(line["loss_recorded"][-1])
    assert float(line["excess"][-1]) == float(line["excess_se"][-1]) == 0.0
    assert float(found["surface"].data["loss"][1, 1]) == recorded[-1]["loss"]  # the center with its own


def test_final_holds_the_last_state_s_for_recorded_states_too() -> None:
    states = trained()
    objective = ts.Objective(Net(), data(), buffers="final")
    line = ts.interpolate(objective, ts.Trajectory.from_states(states), alphas=3, progress=False).data
    held = [{n: states[-1][n] if "running" in n else t for n, t in state.items()} for state in states]
    assert line["actual_loss"].values == pytest.approx([objective.score(state)["loss"] for state in held], rel=1e-9)
    assert line["loss_recorded"].values.tolist() == [objective.score(state)["loss"] for state in states]


def test_without_statistics_the_policy_is_the_path() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 5))
    states = [{name: t + k for name, t in model.state_dict().items()} for k in (0, 1)]
    line = ts.interpolate(ts.Objective(model, data()), ts.Trajectory.from_states(states), alphas=3, progress=False).data
    assert line.attrs["buffers"] == "path"
    assert "loss_recorded" not in line


@pytest.mark.parametrize("kind", ["tensors", "loader", "own, many", "own, few"])
def test_what_statistics_are_estimated_from(kind: str) -> None:
    inputs, targets = data(2600 if kind == "own, many" else 40 if kind == "own, few" else ROWS)
    given = {
        "tensors": (inputs[:510], targets[:510]),
        "loader": DataLoader(TensorDataset(inputs, targets), 130),
    }.get(kind)
    objective = ts.Objective(Net(), (inputs, targets), calibration_data=given)
    states = trained()
    line = ts.interpolate(objective, ts.Trajectory.from_states(states), alphas=[0.4], progress=False).data
    rows, count = {"tensors": (500, 2), "loader": (600, 5), "own, many": (2000, 8), "own, few": (40, 1)}[kind]
    assert (line.attrs["calibration"]["rows"], line.attrs["calibration"]["batches"]) == (rows, count)
    assert line.attrs["calibration_is_own_data"] is kind.startswith("own")
    if kind == "loader":
        wanted = by_torch(mixed(states, 0.4), list(torch.split(inputs, 130)), inputs, targets)
        assert float(line["loss"][0]) == pytest.approx(wanted, rel=1e-6)


def test_the_calibration_batch_is_never_made_smaller() -> None:
    inputs, targets = data()

    class Large(Net):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 200 and self.norm1.training:
                raise RuntimeError("out of memory")
            return super().forward(x)

    objective = ts.Objective(Large(), (inputs, targets), batch_size=150)
    with pytest.raises(ObjectiveError, match=r"calibration batch of 250 rows.*smaller calibration_batch"):
        ts.interpolate(objective, ts.Trajectory.from_states(trained()), alphas=[0.4], engine="eager", progress=False)
    with pytest.raises(ObjectiveError, match="calibration_batch must be at least 2"):
        ts.Objective(Net(), data(), calibration_batch=1)


class Running(nn.Module):
    """A norm of another library: it keeps statistics as its kind says."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.mean: Tensor
        self.power: Tensor
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("power", torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return (x - self.mean) / (self.power + 1e-5).sqrt()
        mean, power = x.mean(0), x.var(0)
        with torch.no_grad():
            if self.kind == "in place":
                self.mean.lerp_(mean, 0.2)
                self.power.lerp_(power, 0.2)
            elif self.kind == "new tensors":
                self.mean, self.power = 0.8 * self.mean + 0.2 * mean, 0.8 * self.power + 0.2 * power
            else:  # of the logarithm: no linear update
                self.mean.lerp_(mean, 0.2)
                self.power.copy_((0.8 * self.power.log() + 0.2 * power.log()).exp())
        return (x - mean) / (power + 1e-5).sqrt()


@pytest.mark.parametrize("kind", ["in place", "new tensors", "logarithm"])
def test_norms_of_other_libraries_are_known_by_what_they_do(kind: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 6), Running(kind), nn.ReLU(), nn.Linear(6, 5))
    inputs, targets = data(500)
    states = [{n: t + k * 0.1 for n, t in model.state_dict().items()} for k in (0, 1)]
    objective = ts.Objective(model, (inputs, targets))
    assert set(objective.statistics.others) == ({"2.mean"} if kind == "logarithm" else {"2.mean", "2.power"})
    assert objective.statistics.left == (("2.power",) if kind == "logarithm" else ())
    line = ts.interpolate(objective, ts.Trajectory.from_states(states), alphas=[0.5], progress=False).data
    assert line.attrs["statistics_left"] == list(objective.statistics.left)
    if kind != "logarithm":
        point = {n: torch.lerp(states[0][n], states[1][n], 0.5) for n in states[0]}
        hidden = [F.linear(part.flatten(1), point["1.weight"], point["1.bias"]) for part in torch.split(inputs, 250)]
        point["2.mean"] = torch.stack([part.mean(0) for part in hidden]).mean(0)
        point["2.power"] = torch.stack([part.var(0) for part in hidden]).mean(0)
        model.load_state_dict(point)
        with torch.no_grad():
            wanted = float(F.cross_entropy(model.eval()(inputs), targets))
        assert float(line["loss"][0]) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("engine", ["eager", "graph", "batched"])
@pytest.mark.parametrize("api", ["parametrization", "hook"])
def test_spectral_norm_divides_by_the_largest_singular_value_of_the_point(api: str, engine: str) -> None:
    torch.manual_seed(0)
    wrap = spectral_norm if api == "parametrization" else nn.utils.spectral_norm
    model = nn.Sequential(wrap(nn.Conv2d(2, 4, 3)), nn.ReLU(), nn.Flatten(), wrap(nn.Linear(64, 5)))
    inputs, targets = data(50)
    states = []
    for _ in range(2):
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.5)
        for _ in range(50):
            model.train()(inputs)  # power iterations
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
    objective = ts.Objective(model, (inputs, targets))
    found = ts.interpolate(objective, ts.Trajectory.from_states(states), alphas=[0.0, 0.5, 1.0], engine=engine, progress=False).data
    raw = [name for name in states[0] if name.endswith(("original", "weight_orig"))]
    plain = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))
    for k, alpha in enumerate((0.0, 0.5, 1.0)):
        point = {name: torch.lerp(states[0][name], states[1][name], alpha) for name in states[0]}
        for layer, name in zip((plain[0], plain[3]), raw, strict=True):
            weight = point[name]
            layer.weight.data = weight / torch.linalg.matrix_norm(weight.flatten(1), 2)
            layer.bias.data = point[f"{name.split('.')[0]}.bias"]
        with torch.no_grad():
            wanted = float(F.cross_entropy(plain(inputs), targets))
        assert float(found["loss"][k]) == pytest.approx(wanted, abs=1e-4)
    assert found["loss_recorded"].values.tolist() == [objective.score(state)["loss"] for state in states]  # with the training's own
