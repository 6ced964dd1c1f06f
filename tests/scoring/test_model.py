from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thetascope.errors import ObjectiveError, StateError
from thetascope.scoring.failures import StepFailedError
from thetascope.scoring.metrics import Step, SupervisedStep
from thetascope.scoring.model import BoundModel
from thetascope.scoring.objective import Objective
from thetascope.testing.contracts import every_case
from thetascope.testing.models import Case, case
from thetascope.testing.snapshots import unchanged

STEP = SupervisedStep("cross_entropy", {"accuracy": "accuracy"})


def bound(model: nn.Module, dtype: torch.dtype | None = None, step: Step = STEP) -> BoundModel:
    return BoundModel(model, step, torch.device("cpu"), dtype)


def loss_of(model: BoundModel, state: Mapping[str, Tensor], batch: Any) -> Tensor:
    with model.running():
        return model.evaluate(model.tensors_of(model.bind(state)), batch)["loss"].values


class Backwards(nn.Module):
    """Registers its layers in another order than it calls them; one is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 3)
        self.idle = nn.Linear(2, 2)
        self.body = nn.Sequential(nn.Linear(5, 5), nn.ReLU())
        self.stem = nn.Linear(4, 5)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(self.stem(x)))
        return logits * self.scale


class Thrice(nn.Module):
    """One weight under three names."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(4, 4, bias=False) for _ in range(3))
        self.b.weight = self.c.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.c(self.b(self.a(x)))
        return logits


class TestLayers:
    def test_stand_in_the_order_of_registration_before_a_pass_is_watched(self) -> None:
        layers = bound(Backwards()).space.layers
        assert [layer.name for layer in layers] == ["(root)", "head", "idle", "body.0", "stem"]
        assert {layer.called for layer in layers} == {None}

    def test_stand_in_the_order_of_the_forward_pass(self) -> None:
        model = bound(Backwards())
        model.watch_calls(case("linear").data())
        assert [layer.name for layer in model.space.layers] == ["(root)", "stem", "body.0", "head", "idle"]
        assert [layer.name for layer in model.space.layers if not layer.called] == ["idle"]

    def test_used_by_a_parent_only_are_marked_as_not_called(self) -> None:
        model = bound(case("tied attention").model())
        model.watch_calls(case("tied attention").data())
        called = {layer.name: layer.called for layer in model.space.layers}
        assert called == {"embedding": True, "attention": True, "attention.out_proj": False}

    def test_stand_where_they_are_called_first_also_where_a_step_calls_them_one_by_one(self) -> None:
        def step(model: nn.Module, batch: Any) -> dict[str, Tensor]:
            stem, body, head = (model.get_submodule(name) for name in ("stem", "body", "head"))
            x = body(stem(batch[0]))
            x = head(x + stem(batch[0]))
            return {"loss": x.sum(1)}

        model = bound(Backwards(), step=step)
        model.watch_calls(case("linear").data())
        assert [layer.name for layer in model.space.layers if layer.called] == ["stem", "body.0", "head"]

    @every_case
    def test_watching_leaves_no_hook_and_no_trace(self, case: Case) -> None:
        module = case.model()
        objective = case.objective(module)
        with unchanged(module):
            objective.model.watch_calls(objective.batches.first())

    def test_watching_a_pass_that_fails_leaves_no_hook_behind(self) -> None:
        module = case("linear").model()
        with unchanged(module), pytest.raises(StepFailedError, match=r"float32 \[2, 99\]"):
            bound(module).watch_calls((torch.zeros(2, 99), torch.zeros(2).long()))


class TestTies:
    x, y = case("linear").data()

    def test_a_missing_alias_fits(self) -> None:
        model = bound(Thrice())
        weight = torch.randn(4, 4)
        losses = [
            loss_of(model, state, (self.x, self.y))
            for state in ({"a.weight": weight}, {"b.weight": weight}, dict.fromkeys(["a.weight", "b.weight", "c.weight"], weight))
        ]
        assert torch.equal(losses[0], losses[1])
        assert torch.equal(losses[0], losses[2])

    def test_stand_once_under_the_first_name(self) -> None:
        model = bound(Thrice())
        assert list(model.bind(Thrice().state_dict())) == ["a.weight"]
        assert list(model.bind({"c.weight": torch.zeros(4, 4)})) == ["a.weight"]

    def test_equal_copies_fit(self) -> None:
        weight = torch.randn(4, 4)
        bound(Thrice()).bind({"a.weight": weight, "b.weight": weight.clone(), "c.weight": weight.clone()})

    def test_equal_copies_that_are_not_finite_fit(self) -> None:
        weight = torch.full((4, 4), math.nan)
        state = {"a.weight": weight, "b.weight": weight.clone()}
        assert loss_of(bound(Thrice()), state, (self.x, self.y)).isnan().all()

    @pytest.mark.parametrize("names", [("a", "b"), ("b", "a"), ("a", "c"), ("b", "c"), ("c", "b")])
    def test_two_different_values_are_an_error(self, names: tuple[str, str]) -> None:
        state = {f"{name}.weight": torch.full((4, 4), float(i)) for i, name in enumerate(names)}
        with pytest.raises(StateError, match=rf'"[{"".join(names)}].weight" and "[{"".join(names)}].weight" differ, but the model ties'):
            bound(Thrice()).bind(state)

    def test_move_once(self) -> None:
        tied = case("tied attention")
        assert "output.weight" not in bound(tied.model()).bind(tied.states(1)[0])


class TestNames:
    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module."])
    def test_prefixes_of_wrappers_are_left_out(self, prefix: str) -> None:
        linear = case("linear")
        (state,) = linear.states(1)
        found = bound(linear.model()).bind({f"{prefix}{name}": tensor for name, tensor in state.items()})
        assert list(found) == list(state)
        assert all(torch.equal(found[name], state[name]) for name in state)

    def test_of_a_wrapped_model_fit_states_with_and_without_its_prefix(self) -> None:
        parallel = case("DataParallel")
        (state,) = parallel.states(1)
        model = bound(parallel.model())
        assert isinstance(model.model, nn.Sequential)
        bare = {name.removeprefix("module."): tensor for name, tensor in state.items()}
        assert torch.equal(loss_of(model, state, parallel.data()), loss_of(model, bare, parallel.data()))

    @pytest.mark.parametrize("wrappings", [1, 2])
    def test_of_a_compiled_model_fit(self, wrappings: int) -> None:
        linear = case("linear")
        plain = linear.model()
        wrapped: Any = plain
        for _ in range(wrappings):
            wrapped = nn.DataParallel(torch.compile(wrapped, backend="eager"))
        model = bound(wrapped)
        assert model.model is plain
        state = {name: t.clone() for name, t in wrapped.state_dict().items()}
        assert torch.equal(loss_of(model, state, linear.data()), loss_of(bound(plain), plain.state_dict(), linear.data()))

    def test_order_does_not_matter(self) -> None:
        linear = case("linear")
        (state,) = linear.states(1)
        model = bound(linear.model())
        assert list(model.bind(dict(reversed(state.items())))) == list(state)

    def test_a_misfit_lists_all_differences(self) -> None:
        (state,) = case("linear").states(1)
        state["fc.bias"] = state.pop("2.bias")
        state["0.weight"] = torch.zeros(9, 9)
        state["0.bias"] = state["0.bias"].long()
        with pytest.raises(StateError) as info:
            bound(case("linear").model()).bind(state)
        for part in ('lacks "2.bias" [3]', 'has "fc.bias" [3]', '"0.weight" as float32 [9, 9] instead of float32 [5, 4]'):
            assert part in str(info.value)
        assert '"0.bias" as int64 [5] instead of float32 [5]' in str(info.value)

    def test_an_optimizer_s_state_is_refused(self) -> None:
        with pytest.raises(StateError, match='"state" is a dict'):
            bound(case("linear").model()).bind({"state": {}})  # type: ignore[dict-item]


class TestDType:
    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_parameters_and_buffers_are_cast_and_integers_stay(self, dtype: torch.dtype) -> None:
        block = case("BatchNorm ResNet block")
        model = bound(block.model(), dtype)
        tensors = model.tensors_of(model.bind(block.states(1)[0]))
        assert tensors["norm1.num_batches_tracked"].dtype == torch.int64
        assert {t.dtype for name, t in tensors.items() if "num_batches" not in name} == {dtype}

    def test_float64_is_float64_all_the_way(self) -> None:
        lenet = case("LeNet")
        inputs, targets = lenet.data()
        (state,) = lenet.states(1)
        double = copy.deepcopy(lenet.model()).double().eval()
        double.load_state_dict(state)
        with torch.no_grad():
            expected = F.nll_loss(double(inputs.double()), targets).item()
        exact = Objective(lenet.model(), (inputs, targets), loss="nll", dtype="float64").score(state)["loss"]
        rough = Objective(lenet.model(), (inputs, targets), loss="nll").score(state)["loss"]
        assert exact == pytest.approx(expected, rel=1e-14)
        assert 1e-12 < abs(rough - exact) < 1e-5

    def test_a_bfloat16_model_is_evaluated_in_float32(self) -> None:
        linear = case("linear")
        state = {name: t.bfloat16() for name, t in linear.states(1)[0].items()}
        wide = {name: t.float() for name, t in state.items()}
        found = Objective(linear.model().bfloat16(), linear.data(), dtype="float32").score(state)
        assert found == Objective(linear.model(), linear.data()).score(wide)

    def test_a_state_of_another_precision_is_evaluated_in_the_model_s(self) -> None:
        linear = case("linear")
        double = {name: t.double() + 1e-12 for name, t in linear.states(1)[0].items()}
        model = bound(linear.model())
        assert {t.dtype for t in model.tensors_of(model.bind(double)).values()} == {torch.float32}

    def test_buffers_that_no_state_holds_are_cast_too(self) -> None:
        class Shifted(nn.Linear):
            def __init__(self) -> None:
                super().__init__(4, 3)
                self.register_buffer("shift", torch.tensor([0.1, 0.2, 0.3]), persistent=False)

            def forward(self, x: Tensor) -> Tensor:
                return super().forward(x) + self.get_buffer("shift")

        seen = []

        def step(model: nn.Module, batch: Any) -> dict[str, Tensor]:
            seen.append(model.get_buffer("shift").dtype)
            return {"loss": model(batch[0]).sum(1)}

        model = Shifted()
        with unchanged(model):
            Objective.from_step(model, case("linear").data(), step=step, dtype="float64").score(model.state_dict())
        assert set(seen) == {torch.float64}


class TestEvaluate:
    def test_tensors_are_copies_of_the_state_s(self) -> None:
        (state,) = case("linear").states(1)
        model = bound(case("linear").model())
        tensors = model.tensors_of(model.bind(state))
        assert all(tensors[name].data_ptr() != state[name].data_ptr() for name in state)

    @pytest.mark.parametrize("writable", [False, True])
    def test_a_pass_writes_to_given_buffers_only_where_allowed(self, writable: bool) -> None:
        block = case("BatchNorm ResNet block")
        model = bound(block.model())
        tensors = model.tensors_of(model.bind(block.states(1)[0]))
        before = tensors["norm1.running_mean"].clone()
        with model.running():
            model.model.get_submodule("norm1").training = True
            model.evaluate(tensors, block.data(), writable_buffers=writable)
        assert torch.equal(tensors["norm1.running_mean"], before) is not writable

    def test_a_step_may_return_several_metrics(self) -> None:
        def step(model: nn.Module, batch: Any) -> dict[str, Any]:
            return {"loss": model(batch[0]).sum(1), "error": 0.5, "weight": torch.ones(len(batch[0]))}

        model = bound(case("linear").model(), step=step)
        with model.running():
            found = model.evaluate(model.tensors_of(model.present_state()), case("linear").data())
        assert list(found) == ["loss", "error"]
        assert float(found["error"].weights) == 10

    @pytest.mark.parametrize(
        ("returned", "message"),
        [
            (torch.zeros(10), "Got Tensor instead"),
            (None, "Got NoneType instead"),
            ({"accuracy": 1.0, "perplexity": 2.0}, "Got a mapping with accuracy, perplexity instead"),
            ({"loss": torch.zeros(10), "samples": 1.0}, 'may not return a metric called "samples"'),
            ({"loss": torch.zeros(10), "status": 1.0}, 'may not return a metric called "status"'),
        ],
    )
    def test_a_step_that_returns_something_else_is_told(self, returned: Any, message: str) -> None:
        model = bound(case("linear").model(), step=lambda model, batch: returned)
        with model.running(), pytest.raises(ObjectiveError, match=message):
            model.evaluate(model.tensors_of(model.present_state()), case("linear").data())


def test_torchscript_is_refused() -> None:
    class Scripted(torch.jit.ScriptModule):
        pass

    with pytest.raises(ObjectiveError, match=r"TorchScript model cannot be given other parameters; pass the nn\.Module"):
        bound(Scripted())


def test_a_model_without_shapes_yet_is_refused() -> None:
    with pytest.raises(StateError, match=r'"weight" is not initialised yet.*run one batch'):
        bound(nn.LazyLinear(3))
