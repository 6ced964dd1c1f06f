from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import Any, ClassVar, cast
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.full_disk import full_disk
from thetascope.geometry import directions
from thetascope.geometry.directions import random_directions
from thetascope.geometry.planes import plane_points
from thetascope.geometry.points import Points
from thetascope.scoring.fast.shared import GraphBackend
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.scoring.point_tensors import PointTensors
from thetascope.scoring.spilled import Spilled
from thetascope.testing.contracts import assert_close, line, scored
from thetascope.testing.models import CASES, Case, case


@pytest.mark.parametrize("case", [c for c in CASES if c.name != "untraceable"], ids=lambda case: case.name)
def test_what_can_be_traced_does_not_fall_back(case: Case) -> None:
    objective = Objective(case.model(), case.data(), case.loss)
    backend = GraphBackend(objective, line(objective, case.states(2), (0.3, 0.6)))
    with objective.model.running():
        backend.evaluate([0, 1])
    assert backend.fallback is None


@pytest.mark.parametrize("buffers", ["final", "path", "recalibrate"])
@pytest.mark.parametrize("case", [c for c in CASES if c.name != "untraceable"], ids=lambda case: case.name)
def test_a_point_s_bits_do_not_depend_on_its_company(case: Case, buffers: Any) -> None:
    """A call that was stopped goes on with other points together, and workers of a cluster are sent whatever comes next."""
    objective = Objective(case.model(), case.data(), case.loss, buffers=buffers)
    basis = tuple(map(objective.bind, case.states(2)))
    layers = [[name for name in layer.parameters if basis[0].specs[name].floating] for layer in objective.space.layers]
    groups = {name: g for g, names in enumerate(layers) for name in names}
    coeffs = np.zeros((3 * len(layers), len(layers), 2))
    coeffs[:, :, 1] = 1.0
    for g in range(len(layers)):
        for n, alpha in enumerate((0.2, 0.5, 0.7)):
            coeffs[3 * g + n, g] = (1 - alpha, alpha)
    points, rows = Points(basis, coeffs, groups), list(range(len(coeffs)))

    def losses(parts: Sequence[Sequence[int]]) -> list[float]:
        backend = GraphBackend(objective, points)
        with objective.model.running():
            found = [sums.means()["loss"] for part in parts for sums in backend.evaluate(part)]
        assert backend.fallback is None
        return found

    assert losses([rows]) == losses([[k] for k in rows]) == losses([rows[:2], rows[2:]])


@pytest.mark.parametrize("backend", [EagerBackend, GraphBackend])
def test_no_point_is_kept_once_it_is_scored(backend: type[EagerBackend | GraphBackend], monkeypatch: pytest.MonkeyPatch) -> None:
    made, tensors = list[weakref.ref[Tensor]](), PointTensors.tensors

    def noted(self: PointTensors, *args: Any) -> dict[str, Tensor]:
        found = tensors(self, *args)
        made.extend(map(weakref.ref, found.values()))
        return found

    monkeypatch.setattr(PointTensors, "tensors", noted)
    chosen = case("LeNet")
    objective = Objective(chosen.model(), chosen.data())
    scorer = backend(objective, line(objective, chosen.states(2), (0.0, 0.3, 0.6)))
    with objective.model.running():
        scorer.evaluate([0, 1, 2])
    gc.collect()
    assert made
    assert not [tensor for tensor in made if tensor() is not None]


@pytest.mark.parametrize("name", ["LeNet", "BatchNorm ResNet block"])
def test_a_large_basis_is_streamed_and_what_is_computed_spilled(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = case(name)
    objective = Objective(chosen.model(), chosen.data(), chosen.loss)
    center, *_ = map(objective.bind, chosen.states(3))
    pair = random_directions(center, objective.model.space.floating_parameters, normalize="filter", orthogonal=True, seed=0)
    at = np.array([[0.0, 0.0], [0.5, 0.25], [0.5, -0.25]])
    expected = scored(EagerBackend, objective, plane_points(center, pair, at))
    monkeypatch.setattr("thetascope.scoring.point_tensors.LARGE", 1)
    monkeypatch.setattr("thetascope.scoring.point_tensors.AT_ONCE", 100)
    points = plane_points(center, pair, at)
    tensors = PointTensors(objective, points)
    assert not tensors._kept
    assert scored(EagerBackend, objective, points) == expected
    torch.testing.assert_close(tensors.tensors(0), center.tensors(), rtol=0, atol=0)
    again, drawn = PointTensors(objective, points), 0

    def counted(*args: Any) -> Any:
        nonlocal drawn
        drawn += 1
        return values(*args)

    values = directions._Recipe.values
    monkeypatch.setattr(directions._Recipe, "values", counted)
    again.tensors(1)
    assert not drawn


def test_what_a_full_disk_has_no_room_for_is_held() -> None:
    chosen = case("LeNet")
    objective = Objective(chosen.model(), chosen.data(), chosen.loss)
    center, *_ = map(objective.bind, chosen.states(2))
    pair = random_directions(center, objective.model.space.floating_parameters, normalize="filter", orthogonal=True, seed=0)
    points = plane_points(center, pair, np.array([[0.5, 0.25], [0.5, -0.25]]))
    expected = PointTensors(objective, points).tensors(1)
    with mock.patch("thetascope.scoring.point_tensors.LARGE", 1), full_disk(200_000):
        tensors = PointTensors(objective, points)
        assert tensors._spilled is not None
        assert 0 < sum(map(len, tensors._kept.values())) < 2 * len(expected)
        torch.testing.assert_close(tensors.tensors(1), expected, rtol=0, atol=0)


@pytest.mark.parametrize(("free", "fits"), [(4, True), (3, False)], ids=["room", "no room"])
def test_a_gpu_holds_the_basis_where_half_of_what_is_free_besides_a_point_is_enough(
    free: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = case("LeNet")
    objective = Objective(chosen.model(), chosen.data(), chosen.loss)
    tensors = PointTensors(objective, line(objective, chosen.states(2), (0.0, 0.3)))
    size = objective.model.bytes
    monkeypatch.setattr(objective.model, "device", torch.device("cuda"))
    monkeypatch.setattr("thetascope.scoring.point_tensors.free_memory", lambda device: free * size + size)
    assert tensors._fits({0: list(objective.space.tensors), 1: list(objective.space.tensors)}) is fits


@pytest.mark.parametrize(
    "tensor",
    [torch.randn(3, 5), torch.randn(7).to(torch.bfloat16), torch.tensor(4), torch.empty(0, 2)],
    ids=["matrix", "bfloat16", "scalar", "empty"],
)
def test_what_is_spilled_comes_back_and_cannot_be_written_to(tensor: Tensor) -> None:
    spilled = Spilled()
    spilled.put("before", torch.randn(5))
    spilled.put("it", tensor)
    found = spilled.get("it")
    assert found.dtype == tensor.dtype
    assert found.equal(tensor)
    found.zero_()
    assert spilled.get("it").equal(tensor)
    assert "it" in spilled
    assert "other" not in spilled


def test_what_a_graph_does_not_show_is_noticed() -> None:
    class Switching(nn.Module):
        """Counts its calls in Python, which tracing writes down as they were at that moment."""

        def __init__(self) -> None:
            super().__init__()
            self.layer, self.calls = nn.Linear(4, 3), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            outputs: Tensor = self.layer(x) * (2.0 if self.calls % 2 else 2.5)
            return outputs

    data = case("linear").data()
    objective = Objective(Switching(), data)
    backend = GraphBackend(objective, line(objective, [Switching().state_dict() for _ in range(2)], (0.3, 0.6)))
    with objective.model.running():
        backend.evaluate([0, 1])
    assert backend.fallback is not None
    assert "other values" in backend.fallback


class Counting(nn.Module):
    """Counts how often its first layer, and what follows, is called."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = CountedLinear(4, 5), CountedLinear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.second(self.first(x).relu()))


class CountedLinear(nn.Linear):
    calls: ClassVar[dict[int, int]] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.calls[self.in_features] = self.calls.get(self.in_features, 0) + 1
        return super().forward(x)


CountedLinear.__module__ = "torch.nn.modules.linear"  # a leaf of the graph


def test_layers_that_points_share_are_computed_once_a_batch() -> None:
    torch.manual_seed(0)
    objective = Objective(Counting(), case("linear").data(), batch_size=5)  # 2 batches
    states = [{name: torch.randn_like(t) for name, t in Counting().state_dict().items()} for _ in range(2)]
    basis = tuple(objective.bind(state) for state in states)
    names = ["second.weight", "second.bias"]
    coeffs = np.array([[[1 - a, a]] for a in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)])
    backend = GraphBackend(objective, Points(basis, coeffs, dict.fromkeys(names, 0)))
    with objective.model.running():
        backend.evaluate([0])  # verifies
        CountedLinear.calls.clear()
        backend.evaluate(range(7))
    assert CountedLinear.calls == {4: 2, 5: 14}


def test_points_of_other_layers_share_what_comes_before_each() -> None:
    objective = Objective(Counting(), case("linear").data(), batch_size=10)
    basis = tuple(objective.bind({name: torch.randn_like(t) for name, t in Counting().state_dict().items()}) for _ in range(2))
    coeffs = np.array([[[0.5, 0.5], [0, 1]], [[0, 1], [0.5, 0.5]], [[0, 1], [0.2, 0.8]], [[0, 1], [0.3, 0.7]]])
    backend = GraphBackend(objective, Points(basis, coeffs, {"first.weight": 0, "second.weight": 1}))
    with objective.model.running():
        backend.evaluate([1])
        CountedLinear.calls.clear()
        backend.evaluate(range(4))
    assert CountedLinear.calls == {4: 2, 5: 4}


def test_layers_that_write_to_their_inputs_spoil_no_other_point() -> None:
    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 5), nn.Identity(), nn.ReLU(inplace=True), nn.Linear(5, 3))

    objective = Objective(model(), case("linear").data(), batch_size=4)
    states = [{name: torch.randn_like(t) for name, t in model().state_dict().items()} for _ in range(2)]
    basis = tuple(objective.bind(state) for state in states)
    points = Points(basis, np.array([[[1 - a, a]] for a in (0.1, 0.5, 0.9)]), {"3.weight": 0})
    assert_close(scored(GraphBackend, objective, points), scored(EagerBackend, objective, points), 1e-6)


class Chained(nn.Module):
    """Layers one after the other, each of which counts how often it is called."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CountedLinear(4 + i, 5 + i) for i in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


def test_points_that_begin_alike_share_it_until_they_part() -> None:
    """The first layers of each point are of one checkpoint, the rest of another: a new layer at each point, all before it known."""
    objective = Objective(Chained(), case("linear").data(), batch_size=10)
    basis = tuple(objective.bind({name: torch.randn_like(t) for name, t in Chained().state_dict().items()}) for _ in range(3))
    groups = {f"layers.{i}.weight": i for i in range(4)}
    coeffs = np.array([[[0.0, 0.5, 0.5] if i < depth else [0.5, 0.5, 0.0] for i in range(4)] for depth in range(5)])
    points = Points(basis, coeffs, groups)
    backend = GraphBackend(objective, points)
    with objective.model.running():
        backend.evaluate([0])
        CountedLinear.calls.clear()
        backend.evaluate(range(5))
    assert CountedLinear.calls == {4: 2, 5: 3, 6: 4, 7: 5}
    assert_close(scored(GraphBackend, objective, points), scored(EagerBackend, objective, points), 1e-6)


def deep(channels: int = 4, depth: int = 12) -> nn.Module:
    return nn.Sequential(
        *(part for i in range(depth) for part in (nn.Conv2d(channels if i else 1, channels, 3, padding=1), nn.Tanh())),
        nn.Flatten(),
        nn.Linear(channels * 36, 3),
    )


def held_bytes(backend: GraphBackend, rows: Sequence[int], inputs: Tensor) -> int:
    """The most that the values of a walk take at a time, beside the data and the tensors of the points."""
    most = 0
    for walk in backend._walks(rows):
        tensors = backend._tensors(walk)

        def seen(values: Sequence[object]) -> None:
            nonlocal most
            given = {id(tensor) for tensor in (inputs, *tensors.values())}  # noqa: B023 - called in this turn alone
            most = max(most, sum(v.nbytes for v in values if isinstance(v, Tensor) and id(v) not in given))

        for _ in walk.run(tensors, [inputs], seen):
            pass
    return most


@pytest.mark.parametrize("backwards", [False, True])
def test_a_walk_over_all_layers_holds_at_most_two_passes(backwards: bool) -> None:
    """Whatever order they are asked for in."""
    inputs = torch.randn(8, 1, 6, 6)
    objective = Objective(deep(), (inputs, torch.zeros(8, dtype=torch.int64)))
    basis = tuple(objective.bind({name: torch.randn_like(t) for name, t in deep().state_dict().items()}) for _ in range(2))
    layers = objective.space.layers[::-1] if backwards else objective.space.layers
    groups = {name: g for g, layer in enumerate(layers) for name in layer.parameters}
    coeffs = np.zeros((3 * len(layers), len(layers), 2))
    coeffs[:, :, 1] = 1.0
    for k in range(len(coeffs)):
        coeffs[k, k // 3] = (0.2 * (k % 3 + 1), 1 - 0.2 * (k % 3 + 1))
    backend = GraphBackend(objective, Points(basis, coeffs, groups))
    with objective.model.running():
        assert backend.ready(0)
        one = held_bytes(backend, [0], inputs)
        assert held_bytes(backend, range(len(coeffs)), inputs) <= 2 * one


def test_a_norm_behind_a_convolution_is_computed_with_it() -> None:
    block = case("CIFAR ResNet")
    objective = block.objective(buffers="final")
    points = line(objective, block.states(2), (0.3, 0.6))
    backend = GraphBackend(objective, points)
    with objective.model.running(), mock.patch.object(torch, "batch_norm", side_effect=AssertionError("a norm was computed alone")):
        assert not backend._checked
        (walk,) = backend._walks([0])
        outputs = [output for _, output in walk.run(backend._tensors(walk), [objective.batches.first()[0]])]
    assert len(outputs) == 1


def test_a_walk_is_cut_where_its_points_take_more_memory_than_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thetascope.scoring.fast.shared.POINTS_BYTES", 0)
    lenet = case("LeNet")
    objective = lenet.objective()
    backend = GraphBackend(objective, line(objective, lenet.states(2), (0.1, 0.3, 0.6)))
    with objective.model.running():
        assert [len(walk.points) for walk in backend._walks([0, 1, 2])] == [1, 1, 1]
