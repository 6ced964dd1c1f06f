from __future__ import annotations

import random
from collections import UserDict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset

import thetascope as ts
from thetascope.errors import ObjectiveError
from thetascope.scoring.batches import Batches
from thetascope.scoring.objective import Objective
from thetascope.scoring.pytrees import map_tensors, rows_of, tensors_of
from thetascope.scoring.untouched import RandomStates
from thetascope.testing.models import case

ROWS = 10
INPUTS = torch.arange(20.0).reshape(ROWS, 2)
TARGETS = torch.arange(ROWS)


def batches(data: Any, batch_size: int = 4, samples: int | None = None, seed: int = 0, dtype: torch.dtype | None = None) -> Batches:
    return Batches(data, device=torch.device("cpu"), inputs_dtype=dtype, batch_size=batch_size, samples=samples, seed=seed)


def targets_in(found: Batches) -> list[list[int]]:
    return [batch[1].tolist() for batch in found]


def flat(nested: list[list[int]]) -> list[int]:
    return [value for part in nested for value in part]


def loader(**options: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(INPUTS, TARGETS), **{"batch_size": 4, **options})


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory for the data, so that each walk loads them anew."""
    monkeypatch.setattr("thetascope.scoring.batches._memory_budget", lambda device: 0.0)


class Rows(Dataset[tuple[Tensor, Tensor]]):
    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return INPUTS[index], TARGETS[index]


class Pair(NamedTuple):
    image: Tensor
    label: Tensor


class Encoding(UserDict[str, Any]):
    """A mapping that is no dict, as tokenizers give."""


class TestKindsOfData:
    @pytest.mark.parametrize(
        "data",
        [
            (INPUTS, TARGETS),
            [INPUTS, TARGETS],
            TensorDataset(INPUTS, TARGETS),
            Rows(),
            loader(),
            [(INPUTS[:4], TARGETS[:4]), (INPUTS[4:8], TARGETS[4:8]), (INPUTS[8:], TARGETS[8:])],
        ],
        ids=["pair", "list of two tensors", "TensorDataset", "Dataset", "DataLoader", "list of batches"],
    )
    def test_give_the_same_batches_and_the_same_fingerprint(self, data: Any) -> None:
        found = batches(data)
        assert targets_in(found) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        assert torch.equal(torch.cat([inputs for inputs, _ in found]), INPUTS)
        assert found.survey.rows == ROWS
        assert found.survey.fingerprint == batches((INPUTS, TARGETS)).survey.fingerprint

    def test_batches_of_ones_own_are_kept_whatever_batch_size(self) -> None:
        assert targets_in(batches(loader(batch_size=6), batch_size=3)) == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]

    def test_an_iterable_dataset_in_a_loader(self) -> None:
        class Stream(IterableDataset[tuple[Tensor, Tensor]]):
            def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
                return iter(zip(INPUTS, TARGETS, strict=True))

        assert targets_in(batches(DataLoader(Stream(), batch_size=6))) == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]

    def test_a_batch_size_may_be_set_later(self) -> None:
        found = batches((INPUTS, TARGETS), batch_size=4)
        assert len(targets_in(found)) == 3
        found.rebatched(9)
        assert targets_in(found) == [[0, 1, 2, 3, 4, 5, 6, 7, 8], [9]]

    @pytest.mark.parametrize(
        "batch",
        [
            {"image": INPUTS, "label": TARGETS, "name": ["a"] * ROWS},
            Encoding(image=INPUTS, label=TARGETS),
            Pair(INPUTS, TARGETS),
            [INPUTS, TARGETS],
            ({"image": INPUTS}, [TARGETS, 3, None]),
        ],
        ids=["dict", "mapping", "named tuple", "list", "pytree"],
    )
    def test_a_batch_comes_as_the_kind_of_container_that_it_is(self, batch: Any) -> None:
        (found,) = batches([batch])
        assert type(found) is type(batch)
        assert [t.tolist() for t in tensors_of(found)] == [t.tolist() for t in tensors_of(batch)]
        if isinstance(batch, dict):
            assert found["name"] == batch["name"]

    def test_something_that_moves_itself_is_asked_to(self) -> None:
        class Graph:
            device: torch.device | None = None

            def to(self, device: torch.device) -> Graph:
                moved = Graph()
                moved.device = device
                return moved

        (found,) = batches([Graph()])
        assert found.device == torch.device("cpu")


class TestRefused:
    def test_a_generator(self) -> None:
        with pytest.raises(ObjectiveError, match="a generator can be walked only once; pass a list or a DataLoader"):
            batches((INPUTS, TARGETS) for _ in range(3))

    @pytest.mark.parametrize("data", ["mnist", INPUTS, {"x": INPUTS}, None, 3])
    def test_what_is_no_data(self, data: Any) -> None:
        with pytest.raises(ObjectiveError, match=rf"data must be \(inputs, targets\) .* Got {type(data).__name__}"):
            batches(data)

    @pytest.mark.parametrize("data", [(INPUTS, TARGETS[:9]), (INPUTS, torch.tensor(3)), (torch.tensor(3), TARGETS)])
    def test_lengths_that_do_not_match(self, data: Any) -> None:
        with pytest.raises(ObjectiveError, match="must have one row a sample, equally many"):
            batches(data)

    @pytest.mark.parametrize("size", [0, -1, 2.5, True, None])
    def test_a_batch_size_that_is_no_number_of_rows(self, size: Any) -> None:
        with pytest.raises(ObjectiveError, match=f"whole number of at least 1. Got {size}"):
            batches((INPUTS, TARGETS), batch_size=size)

    @pytest.mark.parametrize("samples", [1, 0, -5])
    def test_samples_without_a_spread(self, samples: int) -> None:
        with pytest.raises(ObjectiveError, match=f"at least 2, .* Got {samples}"):
            batches((INPUTS, TARGETS), samples=samples)

    @pytest.mark.parametrize("data", [(INPUTS[:0], TARGETS[:0]), [], TensorDataset(INPUTS[:0])])
    def test_empty_data(self, data: Any) -> None:
        with pytest.raises(ObjectiveError, match="the data gave no batch"):
            batches(data).first()


class TestWalking:
    def test_a_shuffling_loader_keeps_one_order(self, streamed: None) -> None:
        found = batches(loader(shuffle=True))
        first = targets_in(found)
        assert not found.resident
        assert sorted(flat(first)) == list(range(ROWS))
        assert flat(first) != list(range(ROWS))
        torch.manual_seed(99)
        assert targets_in(found) == first
        assert targets_in(batches(loader(shuffle=True))) == first

    def test_another_seed_gives_another_order(self) -> None:
        assert targets_in(batches(loader(shuffle=True), seed=1)) != targets_in(batches(loader(shuffle=True), seed=2))

    @pytest.mark.parametrize("generator_in", ["loader", "sampler"])
    def test_a_loader_with_a_generator_of_its_own_keeps_one_order_too(self, streamed: None, generator_in: str) -> None:
        generator = torch.Generator().manual_seed(3)
        data = (
            loader(shuffle=True, generator=generator)
            if generator_in == "loader"
            else loader(sampler=RandomSampler(range(ROWS), generator=generator))
        )
        expected = [batch[1].tolist() for batch in data]
        generator.manual_seed(3)
        found = batches(data)
        generator.manual_seed(17)
        before = generator.get_state()
        assert targets_in(found) == targets_in(found) == expected
        assert generator.get_state().equal(before)

    @pytest.mark.parametrize("stop", [1, 2, None], ids=["abandoned at once", "abandoned later", "to the end"])
    def test_random_states_are_as_before(self, streamed: None, stop: int | None) -> None:
        generator = torch.Generator().manual_seed(3)

        def noisy(rows: list[Any]) -> Any:
            random.random()
            np.random.rand()  # noqa: NPY002
            torch.rand(1)
            return torch.stack([r[0] for r in rows]), torch.stack([r[1] for r in rows])

        found = batches(loader(shuffle=True, generator=generator, collate_fn=noisy))
        _ = found.survey
        before, own = RandomStates.capture(), generator.get_state()
        for count, _ in enumerate(found, start=1):
            assert _same(RandomStates.capture(), before)
            if count == stop:
                break
        assert _same(RandomStates.capture(), before)
        assert generator.get_state().equal(own)

    def test_random_states_are_as_before_after_the_data_failed(self) -> None:
        def failing(rows: list[Any]) -> Any:
            torch.rand(1)
            raise OSError("the disk is gone")

        generator = torch.Generator().manual_seed(3)
        found = batches(loader(shuffle=True, generator=generator, collate_fn=failing))
        before, own = RandomStates.capture(), generator.get_state()
        with pytest.raises(OSError, match="the disk is gone"):
            found.first()
        assert _same(RandomStates.capture(), before)
        assert generator.get_state().equal(own)

    def test_augmentation_from_the_global_random_states_is_the_same_each_time(self, streamed: None) -> None:
        def augmented(rows: list[Any]) -> Any:
            return torch.stack([r[0] for r in rows]) + torch.rand(1) + random.random() + np.random.rand(), torch.zeros(len(rows))  # noqa: NPY002

        found = batches(loader(collate_fn=augmented))
        first = [inputs for inputs, _ in found]
        torch.manual_seed(5)
        random.seed(5)
        assert all(torch.equal(a, b) for a, (b, _) in zip(first, found, strict=True))
        assert found.fingerprint_again() == found.survey.fingerprint

    def test_what_the_model_draws_between_two_batches_does_not_change_the_data(self, streamed: None) -> None:
        def augmented(rows: list[Any]) -> Any:
            return torch.rand(1), torch.zeros(1)

        found = batches(loader(collate_fn=augmented))
        calm = [float(x) for x, _ in found]
        noisy = [float(x) + 0 * float(torch.rand(1)) for x, _ in found]
        assert calm == noisy
        assert len(set(calm)) == len(calm)


def _same(a: RandomStates, b: RandomStates) -> bool:
    return a.python == b.python and repr(a.numpy) == repr(b.numpy) and a.torch_cpu.equal(b.torch_cpu)


class TestMemory:
    def test_data_that_fit_are_loaded_once(self) -> None:
        loads = []

        def counting(rows: list[Any]) -> Any:
            loads.append(len(rows))
            return torch.stack([r[0] for r in rows]), torch.stack([r[1] for r in rows])

        found = batches(loader(collate_fn=counting))
        assert found.resident
        assert [batch[1].tolist() for _ in range(3) for batch in found][:3] == targets_in(found)
        assert loads == [4, 4, 2]

    @pytest.mark.parametrize(("budget", "fits"), [(239, False), (240, True)])
    def test_data_fit_where_the_budget_holds_them_all(self, monkeypatch: pytest.MonkeyPatch, budget: int, fits: bool) -> None:
        monkeypatch.setattr("thetascope.scoring.batches._memory_budget", lambda device: budget)
        found = batches(loader(batch_size=3), dtype=torch.float64)
        assert found.resident is fits

    def test_views_of_tensors_that_are_in_memory_anyway_cost_nothing(self, streamed: None) -> None:
        assert batches((INPUTS, TARGETS)).resident
        assert not batches((INPUTS, TARGETS), dtype=torch.float64).resident
        assert not batches((INPUTS, TARGETS), samples=5).resident

    @pytest.mark.parametrize("samples", [None, 7])
    def test_streamed_and_resident_data_score_the_same(self, monkeypatch: pytest.MonkeyPatch, samples: int | None) -> None:
        linear = case("linear")
        data = DataLoader(TensorDataset(*linear.data()), batch_size=4, shuffle=True)
        resident = Objective(linear.model(), data, samples=samples)
        scores = [resident.score(state) for state in linear.states(2)]
        assert resident.batches.resident
        monkeypatch.setattr("thetascope.scoring.batches._memory_budget", lambda device: 0.0)
        streamed = Objective(linear.model(), data, samples=samples)
        assert [streamed.score(state) for state in linear.states(2)] == scores
        assert not streamed.batches.resident


class TestSamples:
    @given(st.integers(2, 10), st.integers(0, 99), st.integers(1, 10))
    def test_rows_are_drawn_once_without_replacement_the_same_for_all_kinds_of_data(self, samples: int, seed: int, size: int) -> None:
        from_tensors = batches((INPUTS, TARGETS), samples=samples, seed=seed)
        drawn = torch.cat([targets for _, targets in from_tensors]).tolist()
        assert len(set(drawn)) == samples
        from_loader = batches(loader(batch_size=size), samples=samples, seed=seed)
        assert flat(targets_in(from_loader)) == drawn
        for inputs, targets in from_loader:
            assert torch.equal(inputs, INPUTS[targets])
        assert from_tensors.survey.fingerprint == from_loader.survey.fingerprint
        assert from_tensors.survey.rows == samples

    def test_another_seed_draws_others(self) -> None:
        drawn = {str(targets_in(batches((INPUTS, TARGETS), samples=5, seed=seed))) for seed in range(5)}
        assert len(drawn) > 1

    @pytest.mark.parametrize("data", [(INPUTS, TARGETS), loader()], ids=["pair", "DataLoader"])
    def test_more_than_there_are_is_all(self, data: Any) -> None:
        assert flat(targets_in(batches(data, samples=99))) == list(range(ROWS))

    def test_of_a_shuffling_loader_stay_the_same_rows(self, streamed: None) -> None:
        found = batches(loader(shuffle=True), samples=5)
        assert targets_in(found) == targets_in(found)
        assert len(set(flat(targets_in(found)))) == 5

    def test_of_mappings_take_their_lists_along(self) -> None:
        names = [f"row {i}" for i in range(ROWS)]
        data = [
            {"x": INPUTS[:6], "names": names[:6], "ids": np.arange(6), "scale": 0.5, "of": torch.tensor(1.0)},
            {"x": INPUTS[6:], "names": names[6:], "ids": np.arange(6, 10), "scale": 0.5, "of": torch.tensor(1.0)},
        ]
        found = list(batches(data, samples=6))
        expected = torch.cat([targets for _, targets in batches((INPUTS, TARGETS), samples=6)]).tolist()
        assert [name for batch in found for name in batch["names"]] == [names[i] for i in expected]
        assert np.concatenate([batch["ids"] for batch in found]).tolist() == expected
        assert torch.equal(torch.cat([batch["x"] for batch in found]), INPUTS[expected])
        assert all(batch["scale"] == 0.5 and batch["of"] == 1 for batch in found)

    def test_need_rows_to_draw_from(self) -> None:
        data = [{"nodes": INPUTS, "edges": INPUTS[:3]}]
        with pytest.raises(ObjectiveError, match="must share their first dimension; these do not"):
            batches(data, samples=2).first()


class TestDType:
    def test_inputs_are_cast_and_targets_keep_their_precision(self) -> None:
        (inputs, targets), *_ = batches((INPUTS, TARGETS.float()), dtype=torch.float64)
        assert (inputs.dtype, targets.dtype) == (torch.float64, torch.float32)

    def test_floating_tensors_of_other_batches_are_cast_and_integers_not(self) -> None:
        (found,) = batches([{"x": INPUTS, "y": TARGETS}], dtype=torch.float64)
        assert (found["x"].dtype, found["y"].dtype) == (torch.float64, torch.int64)

    def test_tokens_stay_integers(self) -> None:
        (tokens, _), *_ = batches((TARGETS, TARGETS), dtype=torch.float64)
        assert tokens.dtype == torch.int64


class TestFingerprint:
    @given(st.integers(1, 12), st.integers(1, 12))
    def test_does_not_depend_on_how_the_rows_are_cut(self, a: int, b: int) -> None:
        one, other = (batches((INPUTS, TARGETS), batch_size=size).survey.fingerprint for size in (a, b))
        assert one == other

    @pytest.mark.parametrize("data", [(INPUTS, TARGETS), Rows()], ids=["tensors", "dataset"])
    def test_of_batches_that_are_halved_is_not_made_again(self, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        found, again = batches(data, batch_size=8), batches(data, batch_size=4)
        before, expected = found.survey, again.survey
        monkeypatch.setattr("thetascope.scoring.batches.DataHash.add", None)
        found.rebatched(4)
        assert found.survey == expected
        assert found.survey.fingerprint == before.fingerprint
        assert targets_in(found) == targets_in(again)

    def test_of_other_rows_is_made_anew(self) -> None:
        found = batches((INPUTS, TARGETS), batch_size=8)
        whole = found.survey.fingerprint
        found.rebatched(4)
        found.resample(5)
        assert found.survey.fingerprint == batches((INPUTS, TARGETS), samples=5).survey.fingerprint != whole
        wide = batches((INPUTS, TARGETS), batch_size=8)
        _ = wide.survey
        wide.rebatched(4)
        assert wide.cast(torch.float64).survey.fingerprint == batches((INPUTS, TARGETS), dtype=torch.float64).survey.fingerprint

    def test_changes_with_any_value_shape_dtype_or_name(self) -> None:
        changed = INPUTS.clone()
        changed[7, 1] += 1e-5
        data: list[Any] = [
            (INPUTS, TARGETS),
            (changed, TARGETS),
            (INPUTS, TARGETS.flip(0)),
            (INPUTS.flip(0), TARGETS),
            (INPUTS.reshape(ROWS, 1, 2), TARGETS),
            (INPUTS, TARGETS.int()),
            (INPUTS[:9], TARGETS[:9]),
            [{"x": INPUTS, "names": ["a"] * ROWS}],
            [{"x": INPUTS, "names": ["a"] * 9 + ["b"]}],
            [{"x": INPUTS, "scale": 1.0}],
            [{"x": INPUTS, "scale": 2.0}],
        ]
        assert len({batches(kind).survey.fingerprint for kind in data}) == len(data)

    def test_tells_data_that_differ_from_walk_to_walk(self, streamed: None) -> None:
        own = np.random.default_rng(0)

        def augmented(rows: list[Any]) -> Any:
            return torch.rand(1) + own.random(), torch.zeros(1)

        found = batches(loader(collate_fn=augmented))
        assert found.fingerprint_again() != found.survey.fingerprint


class TestPytrees:
    def test_map_tensors_keeps_everything_else(self) -> None:
        pytree = {"a": [TARGETS, "text", None], "b": Pair(INPUTS, TARGETS), "c": (3, {"d": TARGETS})}
        found = map_tensors(pytree, lambda t: t + 1)
        assert isinstance(found["b"], Pair)
        assert found["a"][1:] == ["text", None]
        assert found["c"][0] == 3
        assert all(torch.equal(new, old + 1) for new, old in zip(tensors_of(found), tensors_of(pytree), strict=True))

    @pytest.mark.parametrize(
        ("batch", "rows"),
        [
            ((INPUTS, TARGETS), 10),
            ({"x": INPUTS, "scale": torch.tensor(2.0)}, 10),
            ((INPUTS, TARGETS[:3]), None),
            (["a", "b"], None),
        ],
    )
    def test_rows_are_what_all_tensors_share(self, batch: Any, rows: int | None) -> None:
        assert rows_of(batch) == rows


class Bag:
    """A batch that moves itself, in place."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def to(self, device: torch.device) -> Bag:
        self.x, self.y = self.x.to(device), self.y.to(device)
        return self


@pytest.mark.parametrize(
    "writes", [lambda bag, x: setattr(bag, "x", x), lambda bag, x: bag.x.mul_(0.5)], ids=["another tensor", "in place"]
)
def test_a_model_that_writes_to_the_objects_that_are_its_batches_writes_to_copies(writes: Any) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(2, 3)

        def forward(self, bag: Bag) -> Tensor:
            found: Tensor = self.last(bag.x)
            writes(bag, bag.x + 1)
            return found

    bags, model = [Bag(INPUTS[:6].clone(), TARGETS[:6] % 3), Bag(INPUTS[6:].clone(), TARGETS[6:] % 3)], Net()
    objective = Objective.from_step(model, bags, lambda m, b: {"loss": nn.functional.cross_entropy(m(b), b.y, reduction="none")})
    wanted = float(nn.functional.cross_entropy(model.last(INPUTS), TARGETS % 3).detach())
    assert [objective.score(model.state_dict())["loss"] for _ in range(3)] == pytest.approx([wanted] * 3, rel=1e-5)
    assert bags[0].x.equal(INPUTS[:6])


@pytest.mark.parametrize("inside", [False, True])
def test_tensors_of_inference_mode_are_data_too(inside: bool) -> None:
    with torch.inference_mode():
        pair = (INPUTS * 1.0, TARGETS % 3)
    model = nn.Linear(2, 3)
    with torch.inference_mode(inside):
        objective = Objective(model, pair, batch_size=4)
        found = [objective.score(model.state_dict())["loss"] for _ in range(2)]
    wanted = float(nn.functional.cross_entropy(model(INPUTS), TARGETS % 3).detach())
    assert found == pytest.approx([wanted] * 2, rel=1e-5)


@pytest.mark.parametrize("form", [Tensor.to_dense, Tensor.to_sparse, Tensor.to_sparse_csr], ids=["dense", "COO", "CSR"])
@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.filterwarnings("ignore:Sparse invariant")
def test_a_graph_with_its_adjacency_is_one_batch(form: Any) -> None:
    edges = (torch.arange(400).reshape(20, 20) % 7 == 0).float()
    batch, model = {"x": torch.randn(20, 4), "edges": form(edges), "y": torch.arange(20) % 3}, nn.Linear(4, 3)
    objective = Objective.from_step(
        model, [batch], lambda m, b: {"loss": nn.functional.cross_entropy(b["edges"] @ m(b["x"]), b["y"], reduction="none")}
    )
    states = [{name: tensor + shift for name, tensor in model.state_dict().items()} for shift in (0.0, 1.0)]
    found = ts.interpolate(objective, ts.Trajectory.from_states(states), alphas=[0.0, 1.0], progress=False).data["loss"]
    wanted = nn.functional.cross_entropy(edges @ model(batch["x"]), batch["y"]).detach()
    assert float(found[0]) == pytest.approx(float(wanted), rel=1e-5)


def test_an_empty_batch_counts_nothing() -> None:
    model = nn.Linear(2, 3)
    objective = Objective(model, [(INPUTS, TARGETS % 3), (INPUTS[:0], TARGETS[:0])], nn.functional.cross_entropy, ())
    wanted = float(nn.functional.cross_entropy(model(INPUTS), TARGETS % 3).detach())
    assert objective.score(model.state_dict())["loss"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("data", [(INPUTS, INPUTS, TARGETS), ((INPUTS, INPUTS), TARGETS)])
def test_tensors_of_a_tuple_are_not_taken_for_batches(data: Any) -> None:
    with pytest.raises(ObjectiveError, match="TensorDataset"):
        Objective.from_step(nn.Linear(2, 2), data, lambda m, b: {"loss": m(b[0])})


@pytest.mark.parametrize("data", [list(zip(INPUTS, TARGETS, strict=True)), [(x, 1) for x in INPUTS]])
def test_single_samples_are_not_taken_for_batches(data: Any) -> None:
    with pytest.raises(ObjectiveError, match="give single samples"):
        Objective(nn.Linear(2, 3), data)
