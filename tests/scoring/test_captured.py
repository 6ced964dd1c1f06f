from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thetascope.scoring.fast.captured import Captured, captured, exported
from thetascope.scoring.fast.graph import NotTraceableError
from thetascope.scoring.objective import Objective
from thetascope.scoring.scores import Column
from thetascope.testing.models import CASES, REAL_CASES, Case, case
from thetascope.testing.snapshots import unchanged


def values(objective: Objective, found: Captured, batch: Any) -> dict[str, Column]:
    """What the graph gives with the model's present tensors."""
    graph = found.graph
    tensors = objective.model.tensors_of(objective.model.present_state())
    outputs = graph.run(graph.nodes, tensors, dict(zip(graph.inputs, found.inputs(batch), strict=True)))
    return dict(found.columns([outputs[graph.output]], [batch], batch))


def check(objective: Objective, found: Captured) -> None:
    """Every batch, of whatever size, scores as the model does."""
    for batch in objective.batches:
        expected = objective.model.evaluate(objective.model.tensors_of(objective.model.present_state()), batch)
        here = values(objective, found, batch)
        assert here.keys() == expected.keys()
        for name, column in expected.items():
            torch.testing.assert_close(here[name].values, column.values, rtol=1e-5, atol=1e-6)
            assert torch.equal(here[name].weights.double(), column.weights.double())


@pytest.mark.parametrize("chosen", [c for c in (*CASES, *REAL_CASES) if c.name != "untraceable"], ids=lambda c: c.name)
def test_a_whole_step_scores_as_the_model_does_on_batches_of_any_size(chosen: Case) -> None:
    objective = chosen.objective(chosen.model(seed=3))
    with objective.model.running():
        check(objective, exported(objective.model, objective.batches.first(), whole=True))


@pytest.mark.parametrize("chosen", REAL_CASES, ids=lambda c: c.name)
def test_nothing_is_left_on_the_model(chosen: Case) -> None:
    model = chosen.model()
    objective = chosen.objective(model)
    before = [dict(module.__dict__) for module in model.modules()]
    with unchanged(model), objective.model.running():
        captured(objective.model, objective.batches.first())
    assert [dict(module.__dict__) for module in model.modules()] == before
    assert builtins.len([1, 2]) == 2
    assert "captured" not in repr(builtins.len)


class Written(nn.Module):
    """Writes to what it computes, in the way that `write` says."""

    def __init__(self, write: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.head, self.write = nn.Linear(4, 6), nn.Linear(6, 3), write

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.write(self.first(x)))  # type: ignore[no-any-return]


def relu(x: Tensor) -> Tensor:
    torch.relu_(x)
    return x * 2


def item(x: Tensor) -> Tensor:
    x += 1.0
    x.mul_(x.sigmoid()).clamp_(max=0.7)
    return x


def whole_view(x: Tensor) -> Tensor:
    y = x.view(-1, 2, 3)
    y.mul_(3.0)
    return y.flatten(1)


def part(x: Tensor) -> Tensor:
    x[:, 1] = 0.0
    return x


@pytest.mark.parametrize("write", [relu, item, whole_view])
def test_operations_that_write_give_new_values(write: Callable[[Tensor], Tensor]) -> None:
    linear = case("linear")
    objective = Objective(Written(write), linear.data(), batch_size=4)
    with objective.model.running():
        found = exported(objective.model, objective.batches.first(), whole=True)
        check(objective, found)
        assert not any("_." in str(node.target) for node in found.graph.nodes if node.op == "call_function")


def test_what_is_written_through_a_view_that_is_read_elsewhere_is_not_captured() -> None:
    objective = Objective(Written(part), case("linear").data(), batch_size=4)
    with objective.model.running(), pytest.raises(NotTraceableError, match="read under another name"):
        exported(objective.model, objective.batches.first(), whole=True)


def test_the_number_of_rows_stays_open() -> None:
    """A model in which it is burnt in as a number is not captured."""

    class Burnt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.layer(x[i]) for i in range(x.shape[0])])

    objective = Objective(Burnt(), case("linear").data(), batch_size=4)
    with objective.model.running(), pytest.raises(NotTraceableError, match="cannot capture"):
        exported(objective.model, objective.batches.first(), whole=True)


def test_a_loss_that_cannot_be_captured_is_taken_at_each_point() -> None:
    def by_numpy(outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.from_numpy(F.cross_entropy(outputs, targets, reduction="none").numpy() * 1.0)

    objective = Objective(
        case("tied attention").model(), case("tied attention").data(), loss=by_numpy_over_positions, metrics=(), batch_size=4
    )
    with objective.model.running():
        found = captured(objective.model, objective.batches.first())
        check(objective, found)
    assert "torch.export cannot capture it" in found.reason
    assert by_numpy(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64)).shape == (2,)


def by_numpy_over_positions(outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.from_numpy(F.cross_entropy(outputs, targets, reduction="none").mean(1).numpy() * 1.0)


def test_batches_of_another_shape_are_left_to_the_model() -> None:
    gpt = case("GPT-like, tied")
    batches = gpt.batches()
    batches.append({name: value[:, :4] for name, value in batches[0].items()})
    assert gpt.step is not None
    objective = Objective.from_step(gpt.model(), batches, step=gpt.step)
    with objective.model.running():
        found = captured(objective.model, objective.batches.first())
        assert [found.takes(batch) for batch in objective.batches] == [True, True, True, False]


def test_a_batch_of_one_row_is_left_to_the_model() -> None:
    bert = case("BERT-like, batches of mappings")
    objective = bert.objective()
    with objective.model.running():
        batch = objective.batches.first()
        found = captured(objective.model, batch)
        assert not found.takes({name: value[:1] for name, value in batch.items()})


def test_tied_weights_are_one_tensor_of_the_graph() -> None:
    gpt = case("GPT-like, tied").objective()
    with gpt.model.running():
        graph = captured(gpt.model, gpt.batches.first()).graph
    readers = [node for node in graph.nodes for before in node.all_input_nodes if graph.names(before) == {"": "words.weight"}]
    assert len(readers) == 2
    assert not any("head.weight" in graph.names(node).values() for node in graph.nodes)
