from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thetascope as ts
from tests.evaluation.plain import combined, loaded, plain_scores, recalibrate
from thetascope.errors import ObjectiveError
from thetascope.evaluation.backends import BACKENDS, Engine, chosen_engine
from thetascope.evaluation.backends.batched import BatchedBackend
from thetascope.evaluation.backends.eager import EagerBackend
from thetascope.evaluation.backends.prefix import TOGETHER, PrefixBackend, _alone
from thetascope.evaluation.backends.settings import Settings
from thetascope.evaluation.objective import Objective
from thetascope.evaluation.patches import patches_of
from thetascope.evaluation.tuning import FIRST, ROUNDS, tuned
from thetascope.geometry.edits import Parameter, ScalarEdits, parameter_values
from thetascope.geometry.points import Points, PointSet
from thetascope.testing.contracts import BackendContract, assert_close, line, scored
from thetascope.testing.models import CASES, Case, case


class TestEagerBackend(BackendContract):
    """The oracle itself, against a plainer computation still."""

    backend = EagerBackend

    def expected(self, case: Case, objective: Objective, points: Points) -> list[dict[str, float]]:
        dtype = objective.dtype or torch.float32
        batches = list(objective.batches)
        found = []
        for k in range(len(points)):
            tensors = combined(points, k)
            if objective.buffers == "final":
                tensors |= {name: points.basis[-1][name] for name in objective.space.buffers}
            model = loaded(case, tensors, dtype)
            if objective.buffers == "recalibrate":
                recalibrate(model, batches)
            found.append(plain_scores(model, batches, case.loss))
        return found


class TestPrefixBackend(BackendContract):
    backend = PrefixBackend


class TestBatchedBackend(BackendContract):
    backend = BatchedBackend


class RowsOfThree(PrefixBackend):
    """Batches in chunks, of which the last is shorter, and channels last."""

    def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False) -> None:
        super().__init__(objective, points, as_recorded=as_recorded, settings=Settings(rows=3, channels_last=True))


class TestPrefixBackendInChunks(BackendContract):
    backend = RowsOfThree


class InBlocks(PrefixBackend):
    """In chunks, and in oneDNN's layout from convolution to convolution."""

    def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False) -> None:
        super().__init__(objective, points, as_recorded=as_recorded, settings=Settings(rows=5, blocked=True))


class TestPrefixBackendInBlocks(BackendContract):
    backend = InBlocks


class OnPatches(PrefixBackend):
    """In chunks, and what convolutions see of the data laid out."""

    def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False) -> None:
        super().__init__(objective, points, as_recorded=as_recorded, settings=Settings(rows=5, unfolded=True))


class TestPrefixBackendOnPatches(BackendContract):
    backend = OnPatches


def test_every_backend_goes_by_its_name() -> None:
    assert all(backend.name == name for name, backend in BACKENDS.items())


def objective_of(name: str, **options: Any) -> Objective:
    chosen = case(name)
    return Objective(chosen.model(), chosen.data(), chosen.loss, **options)


def engine_of(objective: Objective, engine: str = "auto") -> Engine:
    with objective.model.running():
        return chosen_engine(engine, objective)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_backend_is_chosen_with_a_reason(case: Case) -> None:
    chosen = engine_of(Objective(case.model(), case.data(), case.loss))
    if case.name == "untraceable":
        assert chosen.backend is EagerBackend
        assert "torch.fx cannot trace it" in chosen.reason
    else:
        assert chosen.backend is PrefixBackend
    assert Engine.from_json(chosen.to_json()) == chosen


@pytest.mark.parametrize("case", [c for c in CASES if c.name != "untraceable"], ids=lambda case: case.name)
def test_what_can_be_traced_does_not_fall_back(case: Case) -> None:
    objective = Objective(case.model(), case.data(), case.loss)
    backend = PrefixBackend(objective, line(objective, case.states(2), (0.3, 0.6)))
    with objective.model.running():
        backend.evaluate([0, 1])
    assert backend.fallback is None


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
    backend = PrefixBackend(objective, line(objective, [Switching().state_dict() for _ in range(2)], (0.3, 0.6)))
    with objective.model.running():
        backend.evaluate([0, 1])
    assert backend.fallback is not None
    assert "other values" in backend.fallback


def test_a_step_of_ones_own_and_recalibration_leave_it_to_full_passes() -> None:
    linear = case("linear")
    own = Objective.from_step(linear.model(), [linear.data()], lambda model, batch: {"loss": model(batch[0]).square().sum(1)})
    assert "user's own" in engine_of(own).reason
    assert "recalibrated" in engine_of(objective_of("BatchNorm ResNet block", buffers="recalibrate")).reason


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
    backend = PrefixBackend(objective, Points(basis, coeffs, dict.fromkeys(names, 0)))
    with objective.model.running():
        backend.evaluate([0])  # verifies
        CountedLinear.calls.clear()
        backend.evaluate(range(7))
    assert CountedLinear.calls == {4: 2, 5: 14}


def test_points_of_other_layers_share_what_comes_before_each() -> None:
    objective = Objective(Counting(), case("linear").data(), batch_size=10)
    basis = tuple(objective.bind({name: torch.randn_like(t) for name, t in Counting().state_dict().items()}) for _ in range(2))
    coeffs = np.array([[[0.5, 0.5], [0, 1]], [[0, 1], [0.5, 0.5]], [[0, 1], [0.2, 0.8]], [[0, 1], [0.3, 0.7]]])
    backend = PrefixBackend(objective, Points(basis, coeffs, {"first.weight": 0, "second.weight": 1}))
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
    assert_close(scored(PrefixBackend, objective, points), scored(EagerBackend, objective, points), 1e-6)


@pytest.mark.parametrize("engine", ["prefix:rows=0", "prefix:rows=x", "prefix:fast=yes", "prefix:channels_last=maybe"])
def test_settings_that_are_off_say_what_there_is(engine: str) -> None:
    with pytest.raises(ObjectiveError, match=r"rows=N, channels_last=yes\|no, blocked=yes\|no and unfolded=yes\|no"):
        engine_of(objective_of("linear"), engine)


def test_settings_may_be_given() -> None:
    assert engine_of(objective_of("linear"), "prefix:rows=7,channels_last=yes").settings == Settings(7, True)
    assert engine_of(objective_of("linear"), "prefix:blocked=yes").settings == Settings(None, False, True)
    assert engine_of(objective_of("linear"), "prefix:unfolded=yes").settings == Settings(unfolded=True)
    assert engine_of(objective_of("linear"), "eager").backend is EagerBackend


def test_unknown_engine_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ObjectiveError, match=r'engine must be "auto" or one of eager.*Got "warp"'):
        engine_of(objective_of("linear"), "warp")


@pytest.fixture
def many_images() -> Objective:
    lenet = case("LeNet")
    inputs, targets = lenet.data()
    return Objective(lenet.model(), (inputs.repeat(20, 1, 1, 1), targets.repeat(20)), lenet.loss)


def test_settings_are_measured_where_work_is_ahead(many_images: Objective) -> None:
    objective, points = many_images, line(many_images, case("LeNet").states(2), (0.0, 0.3))
    with objective.model.running():
        engine = chosen_engine("auto", objective)
        assert tuned(engine, objective, points, seconds=1.0) == engine
        measured = tuned(engine, objective, points, seconds=100.0)
    assert measured.settings is not None
    assert "fastest on the first batch" in measured.reason


def chosen_by(times: Callable[[Settings, int], float], objective: Objective, monkeypatch: pytest.MonkeyPatch) -> Settings | None:
    """The settings chosen where rehearsals take these times: of the settings and how often they were asked before."""
    asked: Counter[Settings] = Counter()

    def rehearse(self: PrefixBackend, row: int, batch: Any) -> float:
        asked[self._settings] += 1
        return times(self._settings, asked[self._settings] - 1)

    monkeypatch.setattr(PrefixBackend, "rehearse", rehearse)
    points = line(objective, case("LeNet").states(2), (0.0, 0.3))
    with objective.model.running():
        return tuned(chosen_engine("auto", objective), objective, points, seconds=100.0).settings


def test_what_is_slow_by_chance_once_is_measured_again(many_images: Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Settings(rows=64, channels_last=True)

    def times(settings: Settings, before: int) -> float:
        if settings == wanted:
            return 0.5 if before else 9.0
        return 0.9 if settings.rows == 64 else 1.0

    assert chosen_by(times, many_images, monkeypatch) == wanted


def test_layouts_are_compared_by_times_of_the_same_minute(many_images: Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain sizes were measured before, when the machine was faster; that says nothing against the layouts."""
    first = FIRST + ROUNDS  # so often each plain size is measured alone

    def times(settings: Settings, before: int) -> float:
        if settings == Settings(rows=settings.rows):
            return 0.1 if before < first else 1.0
        return 0.5 if settings.channels_last else 0.6

    found = chosen_by(times, many_images, monkeypatch)
    assert found is not None
    assert found.channels_last


def test_what_is_made_of_the_data_alone_counts_for_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rehearsal is of points that have it in common."""
    objective = objective_of("LeNet")
    backend = PrefixBackend(objective, line(objective, case("LeNet").states(2), (0.3, 0.6)), settings=Settings(unfolded=True))
    with objective.model.running():
        assert backend.ready(0)
        ticks = iter(range(100))
        monkeypatch.setattr("thetascope.evaluation.backends.prefix.time.perf_counter", lambda: float(next(ticks)))
        assert backend.rehearse(0, objective.batches.first()) == pytest.approx(1 / TOGETHER + 1)
        part = next(backend._parts([0]))
        made = [node for node in _alone(part, backend._known()).shared if node.op != "placeholder"]
    assert [node.target for node in made] == [patches_of]


@pytest.mark.parametrize("name", ["linear", "LeNet", "BatchNorm ResNet block", "frozen", "DataParallel"])
def test_several_points_go_through_a_plain_model_at_once(name: str) -> None:
    objective = objective_of(name)
    backend = BatchedBackend(objective, line(objective, case(name).states(2), (0.3, 0.6)))
    with objective.model.running():
        backend.evaluate([0, 1])
    assert backend.fallback is None


@pytest.mark.parametrize("name", ["tied attention", "old weight_norm"])
def test_what_has_no_rule_for_several_points_falls_back(name: str) -> None:
    objective = objective_of(name)
    backend = BatchedBackend(objective, line(objective, case(name).states(2), (0.3, 0.6)))
    with objective.model.running():
        backend.evaluate([0, 1])
    assert backend.fallback is not None
    assert "several points at once" in backend.fallback


@pytest.mark.parametrize(("shared", "expected"), [(False, BatchedBackend), (True, PrefixBackend)])
def test_a_small_model_on_a_gpu_takes_several_points_at_once_where_no_layer_is_shared(shared: bool, expected: type) -> None:
    objective = objective_of("LeNet")
    objective.device = torch.device("cuda")  # only the choice is looked at
    with objective.model.running():
        assert chosen_engine("auto", objective, layers_are_shared=shared).backend is expected


def rows_given(backend: type[Any], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The points that a backend is asked to score from now on."""
    given: list[int] = []
    evaluate = backend.evaluate

    def noted(self: Any, rows: Any) -> Any:
        given.extend(rows)
        return evaluate(self, rows)

    monkeypatch.setattr(backend, "evaluate", noted)
    return given


def test_a_point_is_not_scored_again_with_the_same_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    lenet = case("LeNet")
    objective = objective_of("LeNet")
    states = ts.Trajectory.from_states(lenet.states(3))
    first = ts.interpolate(objective, states, alphas=5, progress=False)
    scored_points = rows_given(PrefixBackend, monkeypatch)
    again = ts.compare_paths(objective, states, alphas=5, progress=False)
    np.testing.assert_array_equal(again.data["linear_loss"].values, first.data["loss"].values)
    assert len(scored_points) == 2  # α = 0.25 and 0.75 of the quadratic path; its knots are stored states
    fresh = ts.compare_paths(objective_of("LeNet"), states, alphas=5, progress=False)
    np.testing.assert_array_equal(again.data["quadratic_loss"].values, fresh.data["quadratic_loss"].values)
    assert objective.evaluated_in("float64").memo.points == {}


def test_single_parameters_are_known_in_the_same_company_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are scored together decide one another's last bits."""
    objective, states = objective_of("LeNet"), ts.Trajectory.from_states(case("LeNet").states(3))
    options: dict[str, Any] = {"level": "parameter", "parameters": 2, "alphas": [0.0, 0.25, 0.5, 1.5], "progress": False}
    first = ts.interpolate(objective, states, **options)
    scored_points = rows_given(PrefixBackend, monkeypatch)
    again = ts.compare_paths(objective, states, **options)
    np.testing.assert_array_equal(again.data["linear_loss"].values, first.data["loss"].values)
    others = len(scored_points)  # the quadratic ones, and those of the noise floor
    scored_points.clear()
    ts.compare_paths(objective_of("LeNet"), states, **options)
    assert len(scored_points) == others + first.data["loss"].size
    scored_points.clear()
    ts.interpolate(objective, states, **{**options, "alphas": [0.0, 0.25, 0.5]})
    assert len(scored_points) == first.data["loss"].size * 3 // 4  # others go with them


def test_the_state_itself_is_scored_once_for_all_single_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, states = objective_of("LeNet"), ts.Trajectory.from_states(case("LeNet").states(3))
    whole = rows_given(EagerBackend, monkeypatch)
    options: dict[str, Any] = {"level": "parameter", "parameters": 2, "alphas": [0.0, 0.5, 1.0], "progress": False}
    found = ts.interpolate(objective, states, **options)
    assert (found.data["loss"].sel(alpha=1.0).values == found.data["loss"].sel(alpha=1.0).values[0]).all()
    assert len(whole) == 3  # the first check's two passes, and the state
    again = ts.interpolate(objective_of("LeNet"), states, **options)
    np.testing.assert_array_equal(found.data["loss"].values, again.data["loss"].values)


def test_a_point_is_known_by_what_it_is_made_of() -> None:
    objective, states = objective_of("LeNet"), case("LeNet").states(3)
    on_line = line(objective, states[:2], (0.0, 0.3, 1.0))
    other = line(objective, states[1:], (0.0, 0.3, 1.0))
    assert on_line.identity(2) == other.identity(0)  # the same state
    assert on_line.identity(1) not in (on_line.identity(0), on_line.identity(2), other.identity(1))
    state = on_line.basis[-1]
    first = Parameter.parse(f"{next(iter(state.specs))}[0,0,1,1]", objective.space)
    edits = ScalarEdits(state, (first,), np.array([[0.3, parameter_values([state], [first])[0, 0]]]))
    assert edits.identity(1) == on_line.identity(2)  # the parameter holds what the state holds
    assert edits.identity(0) != edits.identity(1)
