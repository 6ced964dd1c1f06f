from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from thetascope.scoring.failures import StepFailedError
from thetascope.scoring.objective import Objective
from thetascope.scoring.untouched import RandomStates, preserved_random_states, seed_all, untouched
from thetascope.state import unwrapped
from thetascope.testing.contracts import every_case
from thetascope.testing.models import Case, case
from thetascope.testing.snapshots import unchanged


def lived_in(model: nn.Module) -> nn.Module:
    """`model` with mixed modes, some gradients, some frozen parameters and a hook, as a training leaves one."""
    for number, module in enumerate(model.modules()):
        module.training = number % 2 == 0
    for number, parameter in enumerate(model.parameters()):
        if number % 3 == 0:
            parameter.grad = torch.randn_like(parameter)
        if number % 2 == 0:
            parameter.requires_grad_(not parameter.requires_grad)
    model.register_forward_hook(lambda module, args, output: None)
    model.register_full_backward_hook(lambda module, grad_in, grad_out: None)
    return model


def interrupt() -> None:
    raise KeyboardInterrupt


def draw() -> None:
    """Move every global random state on."""
    random.random()
    np.random.rand()  # noqa: NPY002
    torch.rand(1)


class Restless(nn.Module):
    """Its forward pass writes to whatever it finds."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.register_buffer("passes", torch.zeros(1))
        self.register_buffer("scratch", torch.zeros(1), persistent=False)
        self.count = 0
        self.seen: list[int] = []
        self.by_size = {1: "one"}
        self.sizes = {1}

    def forward(self, x: Tensor) -> Tensor:
        draw()
        self.get_buffer("passes").add_(1)
        self.scratch = self.get_buffer("scratch") + 1
        self.count += 1
        self.seen.append(len(x))
        self.by_size[len(x)] = "some"
        self.by_size.pop(1, None)
        self.sizes.clear()
        self.last_input = x
        if self.count == 1:
            self.late = nn.Linear(4, 3)
            self.fc.requires_grad_(False)
            self.register_buffer("later", torch.ones(1))
            self.fc.register_forward_hook(lambda module, args, output: None)
        self.train()
        outputs: Tensor = self.fc(x) + self.get_buffer("passes") + self.get_buffer("scratch")
        return outputs


class TestScoring:
    """Objective.score leaves no trace, whatever the model and however it ends."""

    @every_case
    def test_to_the_end(self, case: Case) -> None:
        model = lived_in(case.model())
        with unchanged(model):
            case.objective(model).score(case.states(1)[0])

    @every_case
    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_to_the_nth_pass(self, case: Case, error: type[BaseException], n: int) -> None:
        model = lived_in(case.model())
        passes, stops = list[None](), [True]

        def stop(*_: object) -> None:
            draw()
            passes.append(None)
            if stops and len(passes) >= n:
                raise error("stop")

        unwrapped(model).register_forward_hook(stop)
        objective = case.objective(model)
        with unchanged(model):
            with pytest.raises((error, StepFailedError), match="stop"):
                objective.score(case.states(1)[0])
            assert len(passes) >= n
        stops.clear()
        with unchanged(model):  # and nothing is left behind that would show the next time
            assert objective.score(case.states(1)[0])["samples"] == 10

    @pytest.mark.parametrize("stops", [False, True])
    def test_a_model_that_writes_to_itself(self, stops: bool) -> None:
        model = lived_in(Restless())
        inputs, targets = case("linear").data()
        objective = Objective(model, (inputs, targets if not stops else targets + 99), batch_size=4)
        with unchanged(model):
            if stops:
                with pytest.raises(ValueError, match="out of bounds"):
                    objective.score(model.state_dict())
            else:
                objective.score(model.state_dict())

    def test_a_buffer_written_in_place_changes_neither_state_nor_later_scores(self) -> None:
        model = Restless()
        state = {name: t.clone() for name, t in model.state_dict().items()}
        objective = Objective(model, case("linear").data(), batch_size=4)
        first = objective.score(state)
        assert objective.score(state) == first
        assert state["passes"].item() == 0
        assert objective.score(model.state_dict()) == first

    def test_each_batch_finds_the_buffers_as_they_are_stored(self) -> None:
        def step(model: nn.Module, batch: Any) -> dict[str, Tensor]:
            before = model.get_buffer("passes") + model.get_buffer("scratch")
            model(batch[0])
            return {"loss": before.expand(len(batch[0]))}

        model = Restless()
        objective = Objective.from_step(model, case("linear").data(), step=step, batch_size=4)
        assert objective.score(model.state_dict())["loss"] == 0

    def test_an_embedding_that_rewrites_its_weight(self) -> None:
        model = nn.Sequential(nn.Embedding(11, 4, max_norm=0.5), nn.Linear(4, 11))
        nn.init.constant_(model[0].weight, 3.0)  # type: ignore[arg-type]
        tokens = torch.arange(10) % 11
        state = {name: t.clone() for name, t in model.state_dict().items()}
        objective = Objective(model, (tokens, tokens), batch_size=4)
        with unchanged(model):
            first = objective.score(state)
            assert objective.score(state) == first
            assert objective.score(model.state_dict()) == first
        assert torch.equal(state["0.weight"], torch.full((11, 4), 3.0))

    def test_finding_the_order_of_layers_leaves_no_trace_either(self) -> None:
        model = lived_in(Restless())
        objective = Objective(model, case("linear").data())
        with unchanged(model):
            assert [layer.name for layer in objective.space.layers] == ["fc"]

    def test_gradients_are_not_computed(self) -> None:
        graphs = []

        def step(model: nn.Module, batch: Any) -> dict[str, Tensor]:
            outputs = model(batch[0])
            graphs.append(outputs.requires_grad)
            return {"loss": outputs.sum(1)}

        model = case("linear").model()
        Objective.from_step(model, case("linear").data(), step=step).score(model.state_dict())
        assert set(graphs) == {False}

    def test_a_step_that_takes_gradients_leaves_the_model_s_alone(self) -> None:
        def step(model: nn.Module, batch: Any) -> dict[str, Tensor]:
            with torch.enable_grad():
                for parameter in model.parameters():
                    parameter.requires_grad_(True)
                model(batch[0]).sum().backward()
                norm = sum(float(p.grad.norm()) for p in model.parameters() if p.grad is not None)
            return {"loss": torch.full((len(batch[0]),), norm)}

        model = case("linear").model()
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        with unchanged(model):
            assert Objective.from_step(model, case("linear").data(), step=step).score(model.state_dict())["loss"] > 0


class TestUntouched:
    def test_every_module_is_in_evaluation_mode_within(self) -> None:
        model = lived_in(case("tied attention").model())
        with unchanged(model), untouched(model):
            assert not any(module.training for module in model.modules())
            assert not torch.is_grad_enabled()

    @pytest.mark.parametrize("mode", [True, False])
    def test_train_and_eval_of_the_model_are_not_called(self, mode: bool) -> None:
        class Merging(nn.Linear):
            """Like adapters that merge their weights when they are put into evaluation mode."""

            def train(self, mode: bool = True) -> Merging:
                raise AssertionError(f"train({mode}) was called")

        model = Merging(4, 3)
        model.__dict__["training"] = mode
        with unchanged(model):
            Objective(model, case("linear").data()).score(model.state_dict())

    @pytest.mark.parametrize(
        "change",
        [
            lambda m: setattr(m, "new", 1),
            lambda m: delattr(m, "count"),
            lambda m: setattr(m, "count", 7),
            lambda m: m.seen.extend([1, 2]),
            lambda m: m.by_size.update({1: "two"}),
            lambda m: m.sizes.add(3),
            lambda m: setattr(m, "fc", nn.Linear(4, 3)),
            lambda m: setattr(m.fc, "weight", nn.Parameter(torch.zeros(3, 4))),
            lambda m: m.fc.register_parameter("extra", nn.Parameter(torch.zeros(1))),
            lambda m: m.register_buffer("passes", None),
            lambda m: m.register_buffer("passes", torch.ones(1), persistent=False),
            lambda m: setattr(m.fc.weight, "grad", torch.ones(3, 4)),
            lambda m: m.zero_grad(),
            lambda m: m.requires_grad_(False),
            lambda m: m.train(),
            lambda m: m.fc.register_forward_pre_hook(lambda *_: None),
            lambda m: m._forward_hooks.clear(),
            lambda m: draw(),
        ],
    )
    def test_puts_back_what_happens_within(self, change: Callable[[Any], object]) -> None:
        model = Restless()
        model.fc.weight.grad = torch.randn(3, 4)
        lived_in(model)
        with unchanged(model), untouched(model):
            change(model)

    def test_names_come_back_in_the_order_they_had(self) -> None:
        model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
        with untouched(model):
            first = model._modules.pop("0")
            model._modules["0"] = first
        assert list(model._modules) == ["0", "1", "2"]

    def test_an_interrupt_goes_on_up(self) -> None:
        with pytest.raises(KeyboardInterrupt), untouched(Restless()):
            interrupt()

    def test_may_be_nested(self) -> None:
        model = Restless()
        with unchanged(model), untouched(model):
            with untouched(model):
                model.count = 5
            assert model.count == 0
            assert not model.training


class TestRandomStates:
    def test_come_back(self) -> None:
        seed_all(3)
        expected = random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
        seed_all(3)
        with suppress(KeyboardInterrupt), preserved_random_states():
            draw()
            interrupt()
        assert (random.random(), np.random.rand(), torch.rand(1)) == expected  # noqa: NPY002

    def test_captured_ones_do_not_move_along(self) -> None:
        before = RandomStates.capture()
        first = torch.rand(3)
        before.restore()
        assert torch.equal(torch.rand(3), first)

    def test_any_whole_number_seeds_all_three(self) -> None:
        drawn = []
        for seed in (0, 1, 2**32 + 1, 2**63 - 1):
            seed_all(seed)
            drawn.append((random.random(), torch.rand(1).item()))
        assert len(set(drawn)) == 4
