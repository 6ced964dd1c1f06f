"""Whether a state arrives in the model, whether values are means over samples, and what torch says over the whole data."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import thetascope as ts
from thetascope.errors import ObjectiveError, StateError
from thetascope.testing.models import CASES, REAL_CASES, Case

SIZES = (1000, 25, 10, 7)

SHARDED = Path(__file__).with_name("sharded_child.py")


def network(classes: int = 5) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, classes))


def data(classes: int = 5, count: int = 50) -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randn(count, 3), torch.randint(classes, (count,)).sort().values


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def scored(loss: Any, pair: tuple[Tensor, Tensor], size: int, model: nn.Module | None = None, **options: Any) -> dict[str, float | int]:
    model = model or network()
    return ts.Objective(model, pair, loss, options.pop("metrics", ()), batch_size=size, **options).score(state_of(model))


class TestArrival:
    def test_parameters_taken_before_are_named(self) -> None:
        model = network()
        held = [p for p in model.parameters() if p.ndim > 1]
        objective = ts.Objective(model, data(), lambda o, t: F.cross_entropy(o, t) + 0.1 * sum(p.pow(2).sum() for p in held), ())
        with pytest.raises(ObjectiveError, match=r'reads "0.weight" and 1 more of the model itself \(pow\)'):
            objective.score(state_of(network()))

    def test_parameters_taken_in_the_step_are_the_point_s(self) -> None:
        model, pair = network(), data()

        def step(model: nn.Module, batch: Any) -> dict[str, Tensor]:
            penalty = sum(p.pow(2).sum() for p in model.parameters())
            return {"loss": F.cross_entropy(model(batch[0]), batch[1], reduction="none") + 0.1 * penalty}

        state = {name: tensor + 1 for name, tensor in state_of(model).items()}
        own = network()
        own.load_state_dict(state)
        wanted = float(step(own, pair)["loss"].detach().mean())
        assert ts.Objective.from_step(model, pair, step).score(state)["loss"] == pytest.approx(wanted, rel=1e-6)

    def test_a_model_that_computes_with_copies_is_refused(self) -> None:
        class Copies(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.own = nn.Linear(3, 5)
                self.held = [p.detach().clone() for p in self.own.parameters()]

            def forward(self, x: Tensor) -> Tensor:
                return F.linear(x, *self.held)

        with pytest.raises(ObjectiveError, match=r"neither the loss nor the outputs change when all 2 parameters"):
            scored("cross_entropy", data(), 1000, Copies())

    def test_a_sharded_model_is_known_by_its_class(self) -> None:
        class FSDPModule(nn.Linear):
            pass

        with pytest.raises(ObjectiveError, match=r'the module "0" is sharded \(FSDP\).*full_state_dict'):
            ts.Objective(nn.Sequential(FSDPModule(3, 5)), data())

    def test_a_hook_that_offloads_is_named(self) -> None:
        model = network()
        model[0]._hf_hook = type("Hook", (), {"offload": True})()
        with pytest.raises(ObjectiveError, match=r'the module "0" gets its weights from an offloading hook'):
            ts.Objective(model, data())

    @pytest.mark.parametrize("case", [*CASES, *REAL_CASES], ids=lambda case: case.name)
    def test_no_false_alarm(self, case: Case) -> None:
        state = case.states(1)[0]
        for size in (4, 1000):
            assert case.objective(batch_size=size).score(state)["samples"]

    @pytest.mark.parametrize(
        "forward",
        [
            lambda x: torch.linalg.cholesky(x.T @ x + torch.eye(5)).sum() + x,
            lambda x: torch.linalg.eigh(x.T @ x).eigenvalues + x,
            lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
            lambda x: torch.nan_to_num(x / 0.0 * 0.0) + torch.fmax(x, torch.tensor(0.0)),
            lambda x: torch.distributions.Normal(x, 1.0).mean,
            lambda x: (x > x.mean()).float() + 0 * x,
        ],
        ids=["cholesky", "eigh", "where", "nan_to_num and fmax", "distribution", "steps"],
    )
    def test_no_false_alarm_of_operations(self, forward: Any) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = nn.Linear(3, 5)
                self.register_buffer("count", torch.tensor(3))

            def forward(self, x: Tensor) -> Tensor:
                found: Tensor = forward(self.inner(x))
                return found

        assert scored("cross_entropy", data(), 1000, Net())["samples"] == 50

    def test_data_that_the_model_holds_are_read_as_data(self) -> None:
        class Kernel(nn.Module):
            def __init__(self, inputs: Tensor) -> None:
                super().__init__()
                self.register_buffer("inputs", inputs)
                self.weights = nn.Parameter(torch.randn(50, 5))

            def forward(self, x: Tensor) -> Tensor:
                return torch.exp(-torch.cdist(x, self.get_buffer("inputs"))) @ self.weights

        pair = data()
        objective = ts.Objective(Kernel(pair[0]), pair)
        for _ in range(2):
            assert objective.score(objective.model.model.state_dict())["samples"] == 50

    def test_no_false_alarm_of_unused_rows_steps_and_coarse_means(self) -> None:
        words = nn.Sequential(nn.EmbeddingBag(1000, 8), nn.Linear(8, 5))
        assert scored("cross_entropy", (torch.randint(4, (50, 6)), data()[1]), 20, words)["samples"] == 50
        assert scored(lambda o, t: (o.argmax(1) != t).float(), data(), 20)["samples"] == 50
        coarse = network().bfloat16()
        pair = (data()[0].bfloat16(), data()[1])
        assert scored(F.cross_entropy, pair, 20, coarse)["samples"] == 50

    @pytest.mark.parametrize("engine", ["eager", "graph", "batched"])
    def test_what_forward_keeps_of_parameters_is_made_anew_at_each_point(self, engine: str) -> None:
        states = [state_of(Keeping(seed)) for seed in (0, 1)]
        found = curve(ts.Objective(Keeping(2), data(), metrics=()), states, engine)
        model = Keeping(3)
        model.load_state_dict({name: (states[0][name] + states[1][name]) / 2 for name in states[0]})
        with torch.no_grad():
            wanted = float(F.cross_entropy(model(data()[0]), data()[1]))
        assert found[1] == pytest.approx(wanted, rel=1e-5)

    def test_what_it_keeps_out_of_reach_is_an_error(self) -> None:
        kept: list[Tensor] = []

        class Outside(Keeping):
            def forward(self, x: Tensor) -> Tensor:
                if not kept:
                    kept.append(F.normalize(self.weights, dim=1))
                return torch.as_tensor(torch.tanh(self.first(x)) @ kept[0].T)

        with pytest.raises(ObjectiveError, match=r'reads "weights" in its first pass only'):
            scored("cross_entropy", data(), 1000, Outside(0))

    def test_parameters_that_nothing_reads_are_told(self) -> None:
        model = Keeping(0)
        model(data()[0])  # it has kept what it made of its weights
        with pytest.warns(UserWarning, match=r'no operation reads 1 of 3 parameters \("weights" is the first\)'):
            scored("cross_entropy", data(), 1000, model)

    def test_a_state_that_tells_nothing_leaves_the_look_to_another(self) -> None:
        def total(outputs: Tensor, targets: Tensor) -> Tensor:
            return F.cross_entropy(outputs, targets, reduction="sum")

        states = [{name: torch.full_like(tensor, torch.nan) for name, tensor in state_of(network()).items()}, state_of(network())]
        with pytest.raises(ObjectiveError, match="no mean over samples"):
            curve(ts.Objective(network(), data(), total, metrics=(), batch_size=10), states, "eager")

    def test_gradients_that_reach_the_batch_do_not_pile_up(self) -> None:
        class Force(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.energy = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

            def forward(self, x: Tensor) -> Tensor:
                with torch.enable_grad():
                    self.energy(x.requires_grad_()).sum().backward()
                    assert x.grad is not None
                    return -x.grad

        model, inputs = Force(), data()[0]
        states = [state_of(Force()) for _ in range(2)]
        model.load_state_dict({name: (states[0][name] + states[1][name]) / 2 for name in states[0]})
        wanted = float(model(inputs.clone()).square().mean())
        for size in (1000, 20):
            found = curve(ts.Objective(Force(), (inputs, torch.zeros(50, 3)), "mse", batch_size=size), states, "auto")
            assert found[1] == pytest.approx(wanted, rel=1e-5)
        assert inputs.grad is None
        assert not inputs.requires_grad


class Keeping(nn.Module):
    """Keeps what it made of its weights, as for speed in evaluation."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.weights = nn.Linear(3, 8), nn.Parameter(torch.randn(5, 8))
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.kept is None:
            self.kept = F.normalize(self.weights.detach(), dim=1)
        return torch.as_tensor(torch.tanh(self.first(x)) @ self.kept.T)


def curve(objective: ts.Objective, states: list[dict[str, Tensor]], engine: str) -> list[float]:
    """The loss at the ends and in the middle of a line."""
    found = ts.interpolate(objective, ts.Trajectory.from_states(states), alphas=[0.0, 0.5, 1.0], engine=engine, progress=False)
    return [float(value) for value in found.data["loss"]]


class TestMeans:
    @pytest.mark.parametrize("kind", [partial(F.cross_entropy, ignore_index=2), type("Own", (nn.CrossEntropyLoss,), {})(ignore_index=2)])
    def test_so_have_its_function_with_options_and_a_class_of_one_s_own(self, kind: Any) -> None:
        pair, outputs = data(), network()(data()[0]).detach()
        for size in SIZES:
            found = scored(kind, pair, size, metrics=("accuracy",))
            assert found["loss"] == pytest.approx(float(F.cross_entropy(outputs, pair[1], ignore_index=2)), rel=1e-5)
            assert found["accuracy"] == float((outputs.argmax(1) == pair[1])[pair[1] != 2].double().mean())

    @pytest.mark.parametrize("smoothing", [0.0, 0.2])
    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("ignored", [-100, 2])
    def test_cross_entropy_has_torch_s_denominator(self, smoothing: float, weighted: bool, ignored: int) -> None:
        weight = torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0]) if weighted else None
        loss, pair = nn.CrossEntropyLoss(weight, label_smoothing=smoothing, ignore_index=ignored), data()
        wanted = float(loss(network()(pair[0]), pair[1]).detach())
        assert [scored(loss, pair, size)["loss"] for size in SIZES] == pytest.approx([wanted] * 4, rel=1e-5)

    def test_so_has_that_of_soft_targets_and_of_positions(self) -> None:
        weight = torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0])
        loss, (inputs, targets) = nn.CrossEntropyLoss(weight), data()
        soft = F.one_hot(targets, 5).float() * 0.9 + 0.02
        wanted = float(loss(network()(inputs), soft).detach())
        assert [scored(loss, (inputs, soft), size)["loss"] for size in SIZES] == pytest.approx([wanted] * 4, rel=1e-5)
        dense = nn.Conv2d(3, 5, 1)
        images, labels = torch.randn(50, 3, 4, 4), torch.randint(5, (50, 4, 4)).masked_fill(torch.rand(50, 4, 4) < 0.3, 1)
        loss = nn.CrossEntropyLoss(weight, ignore_index=1)
        wanted, chosen = float(loss(dense(images), labels).detach()), dense(images).argmax(1)
        found = [scored(loss, (images, labels), size, dense, metrics=("accuracy",)) for size in SIZES]
        assert [values["loss"] for values in found] == pytest.approx([wanted] * 4, rel=1e-5)
        right = float((chosen == labels)[labels != 1].double().mean())
        assert [values["accuracy"] for values in found] == pytest.approx([right] * 4, rel=1e-9)

    @pytest.mark.parametrize(
        "loss", [nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(), nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0]))], ids=str
    )
    def test_losses_of_all_values_alike(self, loss: nn.Module) -> None:
        inputs, targets = data(2)
        wanted = float(loss(network(1)(inputs), targets[:, None].float()).detach())
        found = [scored(loss, (inputs, targets[:, None].float()), size, network(1))["loss"] for size in SIZES]
        assert found == pytest.approx([wanted] * 4, rel=1e-5)
        with pytest.raises(ObjectiveError, match=r"needs outputs and targets of one shape. Got \[\d+, 1\] and \[\d+\]"):
            scored(loss, (inputs, targets.float()), 1000, network(1))

    @pytest.mark.parametrize(
        "loss",
        [
            lambda o, t: F.cross_entropy(o, t, weight=torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0])),
            lambda o, t: F.cross_entropy(o, t, reduction="sum"),
            lambda o, t: 1 - ((o.argmax(1) - t) ** 2.0).sum() / ((t - t.float().mean()) ** 2).sum(),
            lambda o, t: F.cross_entropy(o, t, reduction="none") * o.std(),
        ],
        ids=["class weights", "sum", "R2", "values that depend on their company"],
    )
    def test_what_is_no_mean_is_an_error_that_names_the_ways_out(self, loss: Any) -> None:
        with pytest.raises(ObjectiveError, match=r"(no mean over samples|depends on the samples)[^$]*batches=\"fixed\"") as error:
            scored(loss, data(), 10)
        assert str(error.value).count("\n") < 10
        pair = data()
        assert scored(loss, pair, 1000)["loss"] == pytest.approx(float(loss(network()(pair[0]), pair[1]).mean().detach()), rel=1e-5)
        wanted = np.mean([float(loss(network()(pair[0][i : i + 10]), pair[1][i : i + 10]).mean().detach()) for i in range(0, 50, 10)])
        assert scored(loss, pair, 10, batches="fixed")["loss"] == pytest.approx(float(wanted), rel=1e-5)

    @pytest.mark.parametrize("engine", ["eager", "eager:rows=4", "graph:rows=4", "batched"])
    def test_no_engine_cuts_a_fixed_batch(self, engine: str) -> None:
        def loss(outputs: Tensor, targets: Tensor) -> Tensor:
            return F.cross_entropy(outputs, targets, reduction="none") * outputs.std()

        objective = ts.Objective(network(), data(), loss, (), batch_size=25, batches="fixed")
        states = ts.Trajectory.from_states([state_of(network()), {n: t + 0.3 for n, t in state_of(network()).items()}])
        alphas = [0.0, 0.5, 1.0]
        wanted = [objective.score({n: states[0][n] * (1 - a) + states[1][n] * a for n in states[0]})["loss"] for a in alphas]
        found = ts.interpolate(objective, states, alphas=alphas, engine=engine, progress=False)
        assert found.data["loss"].values == pytest.approx(wanted, rel=1e-5)
        assert "fell_back" not in found.data.attrs  # because it gave other values with fewer rows

    @pytest.mark.parametrize("engine", ["auto", "eager", "graph:rows=16", "batched"])
    def test_a_single_batch_is_not_cut_where_samples_depend_on_one_another(self, engine: str) -> None:
        class Net(nn.Sequential):
            def __init__(self) -> None:
                norm = nn.BatchNorm2d(2, track_running_stats=False)
                super().__init__(nn.Conv2d(1, 2, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(2 * 9, 3))

        torch.manual_seed(0)
        pair = torch.randn(70, 1, 5, 5) * torch.linspace(0.1, 5, 70)[:, None, None, None], torch.randint(3, (70,))
        states, model = [state_of(Net()) for _ in range(2)], Net().eval()
        model.load_state_dict({name: (states[0][name] + states[1][name]) / 2 for name in states[0]})
        with torch.no_grad():
            wanted = float(F.cross_entropy(model(pair[0]), pair[1]))
        assert curve(ts.Objective(Net(), pair, metrics=()), states, engine)[1] == pytest.approx(wanted, rel=1e-5)
        with pytest.raises(ObjectiveError, match="depends on the samples it is scored with"):
            ts.Objective(Net(), pair, metrics=(), batch_size=35).score(states[0])

    def test_weights_that_depend_on_their_company_are_seen(self) -> None:
        def step(model: nn.Module, batch: Any) -> dict[str, Tensor]:
            weight = 1.0 + batch[1]
            return {"loss": F.cross_entropy(model(batch[0]), batch[1], reduction="none"), "weight": weight / weight.sum()}

        assert ts.Objective.from_step(network(), data(), step).score(state_of(network()))["samples"] == 50
        with pytest.raises(ObjectiveError, match="depends on the samples it is scored with"):
            ts.Objective.from_step(network(), data(), step, batch_size=7).score(state_of(network()))

    @pytest.mark.parametrize(
        ("loss", "size"),
        [(nn.MSELoss(reduction="sum"), 1e-3), (lambda o, t: (o - t).square().mean() + 1e-3 * o.mean(0).square().sum(), 1.0)],
        ids=["a sum of small values", "a small part that is of the batch"],
    )
    def test_double_precision_sees_what_rounding_would_hide(self, loss: Any, size: float) -> None:
        small = {name: size * tensor for name, tensor in state_of(network(2)).items()}
        with pytest.raises(ObjectiveError, match="no mean over samples"):
            ts.Objective(network(2), (data()[0], torch.zeros(50, 2)), loss, metrics=(), batch_size=20).score(small)

    def test_a_fixed_batch_stands_in_the_fingerprint(self) -> None:
        fixed = [ts.Objective(network(), data(), batch_size=size, batches="fixed").fingerprint() for size in (10, 25)]
        assert fixed[0] != fixed[1]
        assert "batch_size" not in ts.Objective(network(), data(), batch_size=10).fingerprint()
        with pytest.raises(ObjectiveError, match="batches must be one of any, fixed"):
            ts.Objective(network(), data(), batches="all")  # type: ignore[arg-type]

    def test_values_carry_weights_of_their_own_and_nothing_counts_for_nothing(self) -> None:
        pair = data()
        rare = pair[1] > 3

        def step(model: nn.Module, batch: Any) -> dict[str, Any]:
            out, wanted = model(batch[0]), batch[1] > 3
            right = (out.argmax(1) == batch[1]).float()
            return {
                "loss": F.cross_entropy(out, batch[1], reduction="none"),
                "rare": (right[wanted].mean(), wanted.sum()),  # 0/0 in most batches
                "again": (right / wanted, wanted.float()),
            }

        found = ts.Objective.from_step(network(), pair, step, batch_size=10).score(state_of(network()))
        wanted = float((network()(pair[0]).argmax(1) == pair[1])[rare].double().mean())
        assert (found["rare"], found["again"]) == pytest.approx((wanted, wanted))


class R2:
    """The coefficient of determination, over all data."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor]] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.seen.append((outputs.double(), targets.double()))

    def compute(self) -> float:
        outputs, targets = (torch.cat(parts) for parts in zip(*self.seen, strict=True))
        return float(1 - ((outputs - targets) ** 2).sum() / ((targets - targets.mean()) ** 2).sum())

    def reset(self) -> None:
        self.seen.clear()


class TestWholeData:
    @pytest.mark.parametrize("engine", ["auto", "eager", "graph", "batched"])
    def test_a_metric_over_all_data_is_the_same_whatever_batches_and_engine(self, engine: str) -> None:
        model, (inputs, _) = network(1), data()
        targets = inputs.sum(1, keepdim=True) + torch.arange(50.0)[:, None] / 10
        states = [state_of(network(1)), {name: tensor + 0.3 for name, tensor in state_of(model).items()}]
        wanted = []
        for alpha in (0.0, 0.5, 1.0):
            model.load_state_dict({name: (1 - alpha) * states[0][name] + alpha * states[1][name] for name in states[0]})
            whole = R2()
            whole.update(model(inputs).detach(), targets)
            wanted.append(whole.compute())
        for size in (1000, 7):
            given = R2()
            objective = ts.Objective(network(1), (inputs, targets), "mse", {"r2": given}, batch_size=size)
            found = ts.interpolate(objective, ts.Trajectory.from_states(states), alphas=[0.0, 0.5, 1.0], engine=engine, progress=False)
            assert found.data["r2"].values == pytest.approx(wanted, rel=1e-6)
            assert given.seen == []

    def test_it_is_no_loss(self) -> None:
        with pytest.raises(ObjectiveError, match="the loss must be a mean over samples"):
            ts.Objective(network(1), data(), R2())  # type: ignore[arg-type]


class TestDefaultAccuracy:
    def test_of_a_binary_loss_it_is_by_the_threshold(self) -> None:
        inputs, targets = data(2)
        column = targets[:, None].float()
        wanted = float(((network(1)(inputs) > 0) == (column > 0)).double().mean())
        for loss in (nn.BCEWithLogitsLoss(), F.binary_cross_entropy_with_logits):
            assert ts.Objective(network(1), (inputs, column), loss).score(state_of(network(1)))["accuracy"] == wanted
        shares = nn.Sequential(*network(1), nn.Sigmoid())
        assert ts.Objective(shares, (inputs, column), nn.BCELoss()).score(state_of(shares))["accuracy"] == wanted

    @pytest.mark.parametrize(
        ("loss", "outputs", "targets"),
        [
            (nn.BCEWithLogitsLoss(), 5, torch.randint(2, (50, 5)).float()),
            (F.smooth_l1_loss, 1, torch.randn(50, 1)),
            (nn.MSELoss(), 5, torch.randn(50, 5)),
            (lambda o, t: F.binary_cross_entropy_with_logits(o[:, 0], t.float()), 1, torch.randint(2, (50,))),
            (lambda o, t: F.binary_cross_entropy_with_logits(o, t.float()), 5, torch.randint(2, (50, 5))),
            ("cross_entropy", 5, (torch.arange(250).reshape(50, 5) % 3 > 0).float()),
            (nn.PoissonNLLLoss(), 5, torch.randint(9, (50, 5))),
            (lambda o, t: F.gaussian_nll_loss(o[:, 0], t.float(), o[:, 1].exp()), 2, torch.arange(50)),
        ],
        ids=[
            *("multi-hot", "smooth L1", "MSE", "one column of a function", "multi-hot integers"),
            *("multi-hot of exclusive classes", "counts", "a number, by its mean and variance"),
        ],
    )
    def test_there_is_none_without_exclusive_classes(self, loss: Any, outputs: int, targets: Tensor) -> None:
        found = ts.Objective(network(outputs), (data()[0], targets), loss).score(state_of(network(outputs)))
        assert "accuracy" not in found

    def test_there_is_none_where_classes_may_lie_last(self) -> None:
        model, inputs, targets = network(), torch.randn(50, 5, 3), torch.randint(5, (50, 5))
        found = ts.Objective(model, (inputs, targets), lambda o, t: F.cross_entropy(o.transpose(1, 2), t, reduction="none").mean(1)).score(
            state_of(model)
        )
        assert "accuracy" not in found


class TestGradients:
    def test_a_hamiltonian_network(self) -> None:
        class Hamiltonian(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.h = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))

            def forward(self, z: Tensor) -> Tensor:
                z = z.clone().requires_grad_()
                (g,) = torch.autograd.grad(self.h(z).sum(), z, create_graph=True)
                return torch.stack([g[:, 1], -g[:, 0]], 1)

        model, pair = Hamiltonian(), (torch.randn(40, 2), torch.randn(40, 2))
        with pytest.raises(ObjectiveError, match="gradients=True"):
            ts.Objective(model, pair, "mse").score(state_of(model))
        found = ts.Objective(model, pair, "mse", gradients=True, batch_size=15)
        wanted = float(F.mse_loss(model(pair[0]), pair[1]).detach())
        assert found.score(state_of(model))["loss"] == pytest.approx(wanted, rel=1e-5)
        line = ts.interpolate(found, ts.Trajectory.from_states([state_of(Hamiltonian()), state_of(model)]), alphas=[0.0, 0.5, 1.0])
        assert float(line.data["loss"][-1]) == pytest.approx(wanted, rel=1e-5)
        assert all(p.grad is None for p in model.parameters())

    def test_the_norm_of_a_gradient_and_data_that_want_gradients(self) -> None:
        model, points = network(1), torch.linspace(0, 1, 30)[:, None].repeat(1, 3).requires_grad_()

        def step(model: nn.Module, batch: Any) -> dict[str, Any]:
            u = model(batch[0])
            (du,) = torch.autograd.grad(u.sum(), batch[0], create_graph=True)
            loss = (du[:, :1] + u)[:, 0] ** 2
            grads = torch.autograd.grad(loss.mean(), list(model.parameters())[:1])
            return {"loss": loss, "norm": (grads[0].norm(), len(u))}

        wanted = step(model, (points,))
        found = ts.Objective.from_step(model, [(points,)], step, gradients=True).score(state_of(model))
        assert found["loss"] == pytest.approx(float(wanted["loss"].detach().mean()), rel=1e-5)
        assert found["norm"] == pytest.approx(float(wanted["norm"][0].detach()), rel=1e-5)
        assert points.grad is None
        assert all(p.grad is None for p in model.parameters())


class TestErrors:
    def test_a_state_of_another_depth_is_told_by_count_and_guess(self) -> None:
        deep = nn.Sequential(*(nn.Linear(3, 3) for _ in range(20)))
        shallow = nn.Sequential(*(nn.Linear(3, 3) for _ in range(8)))
        pair = data(3)
        with pytest.raises(StateError, match=r'has "8.weight" .* and 16 more. Is it of a larger model') as error:
            ts.Objective(shallow, pair).score(deep.state_dict())
        assert len(str(error.value)) < 500
        with pytest.raises(StateError, match=r'lacks "8.weight" .* and 16 more. Is it of a smaller model'):
            ts.Objective(deep, pair).score(shallow.state_dict())

    @pytest.mark.parametrize("inputs", [torch.randn(20, 3).double(), (torch.rand(20, 3) * 255).byte()], ids=["float64", "uint8"])
    def test_inputs_of_another_dtype(self, inputs: Tensor) -> None:
        with pytest.raises(ObjectiveError, match=r"The dtype of the batch is .*, of the parameters float32: cast the data"):
            scored("cross_entropy", (inputs, data(count=20)[1]), 1000)

    def test_a_step_that_fails_and_one_that_returns_nested_values(self) -> None:
        with pytest.raises(ObjectiveError, match=r"failed on a batch of \{image: float32 \[50, 3\]\}: KeyError: 'label'"):
            ts.Objective.from_step(network(), [{"image": data()[0]}], lambda m, b: {"loss": b["label"]}).score(state_of(network()))
        with pytest.raises(ObjectiveError, match=r'"loss" must be a tensor or a number. Got a mapping with ce instead'):
            ts.Objective.from_step(network(), data(), lambda m, b: {"loss": {"ce": m(b[0])}}).score(state_of(network()))


def test_models_that_torch_shards_are_named_and_their_whole_state_is_scored(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", str(SHARDED), str(tmp_path / "store")]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    fsdp, tensors, same = run.stdout.splitlines() or [run.stderr] * 3
    assert "sharded (FSDP)" in fsdp
    assert "full_state_dict" in fsdp
    assert '"0.weight" is a DTensor' in tensors
    assert same == "True"


@pytest.mark.parametrize("engine", ["eager", "graph", "batched", "auto"])
def test_torchmetrics_are_over_all_data_at_every_point(engine: str) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    net, (inputs, targets) = network(), data()
    states = [{n: t.clone() + shift for n, t in net.state_dict().items()} for shift in (0.0, 0.3)]
    made: dict[str, Any] = {
        "f1": lambda: torchmetrics.F1Score(task="multiclass", num_classes=5, average="macro"),
        "auroc": lambda: torchmetrics.AUROC(task="multiclass", num_classes=5),
    }
    objective = ts.Objective(net, (inputs, targets), metrics={name: make() for name, make in made.items()}, batch_size=7)
    found = ts.interpolate(objective, ts.Trajectory.from_states(states), alphas=3, engine=engine, progress=False).data
    for k, alpha in enumerate((0.0, 0.5, 1.0)):
        mixed = {n: torch.lerp(states[0][n].double(), states[1][n].double(), alpha).float() for n in states[0]}
        outputs = torch.func.functional_call(net, mixed, (inputs,)).detach()
        for name, make in made.items():
            assert float(found[name][k]) == pytest.approx(float(make()(outputs, targets)), abs=1e-6)
