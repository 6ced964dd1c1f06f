from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.scoring.known import ALPHAS, MemorySink, bowl, layer_line, request
from thetascope.errors import ObjectiveError
from thetascope.geometry.points import PointSet, StoredStates
from thetascope.scoring.fast.choice import Backend, Engine
from thetascope.scoring.fast.settings import Settings
from thetascope.scoring.fast.shared import GraphBackend
from thetascope.scoring.fast.vmapped import BatchedBackend
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.scoring.runner import UNIT_SECONDS, Request, Runner, Sink, pending_units, unit_size
from thetascope.scoring.scores import Sums
from thetascope.testing.models import QuadraticBowl, case


def run(objective: Objective, requests: Sequence[Request], sink: Sink, engine: Engine, advance: Callable[[int], None]) -> dict[str, Any]:
    """Score all that is not stored yet; the runner's notes."""
    runner = Runner(objective, sink, engine, advance)
    for one in requests:
        runner.everything(one)
    return runner.notes


class TestUnits:
    @pytest.mark.parametrize(
        ("seconds", "resident", "expected"),
        [
            (UNIT_SECONDS * 3, True, 1),
            (UNIT_SECONDS, True, 1),
            (UNIT_SECONDS / 4, True, 4),
            (UNIT_SECONDS / 4.5, True, 5),
            (UNIT_SECONDS / 1000, True, 40),
            (0.0, True, 40),
            (UNIT_SECONDS * 3, False, 16),
            (UNIT_SECONDS / 30, False, 30),
        ],
    )
    def test_are_about_as_long_as_wanted_and_never_longer_than_a_row(self, seconds: float, resident: bool, expected: int) -> None:
        assert unit_size(request(bowl(), 3, 40), seconds, resident=resident, shares=False) == expected

    @given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 12))
    def test_hold_each_point_once_and_cross_no_row(self, rows: int, columns: int, size: int) -> None:
        units = list(pending_units(request(bowl(), rows, columns), MemorySink(size, total=rows * columns)))
        assert [k for unit in units for k in unit] == list(range(rows * columns))
        assert all(unit[0] // columns == unit[-1] // columns and len(unit) <= size for unit in units)

    def test_that_are_stored_are_left_out_and_torn_ones_completed(self) -> None:
        sink = MemorySink(size=2, stored={"": {k: {"loss": 0.0} for k in range(3)}})
        assert list(pending_units(request(bowl(), 6), sink)) == [range(3, 4), range(4, 6)]


EAGER = Engine(EagerBackend, "asked for")


class TestRun:
    def test_stores_every_point_of_every_request(self) -> None:
        objective, sink, advanced = bowl(), MemorySink(size=4), list[int]()
        requests = [request(objective, 6), request(objective, 6, prefix="other_")]
        with objective.model.running():
            run(objective, requests, sink, EAGER, advanced.append)
        for prefix in ("", "other_"):
            assert sink.losses(prefix) == {k: pytest.approx(alpha**2) for k, alpha in enumerate(ALPHAS)}
        assert advanced == [4, 2, 4, 2]

    def test_the_pace_is_that_of_units_all_over_which_are_not_scored_again(self) -> None:
        objective, sink, advanced = bowl(), MemorySink(size=1), list[int]()
        made, rows = list[int](), list[int]()
        runner = Runner(objective, sink, Engine(counting(made, rows), "asked for"), advanced.append)
        asked = request(objective, 6)
        with objective.model.running():
            found = runner.pace(asked, list(pending_units(asked, sink)), stored=True)
            assert found.points == 4
            assert found.of(6) == pytest.approx(found.seconds + 2 * found.each)
            assert found.of(3) == found.seconds  # what is done is done
            assert min(found.seconds, found.each) > 0
            assert rows == [0, 5, 3, 2]  # the last first: late layers take least
            assert sorted(sink.losses()) == sorted(rows)
            assert advanced == [1, 1, 1, 1]
            runner.everything(asked)
        assert rows == [0, 5, 3, 2, 1, 4]
        assert sink.losses() == {k: pytest.approx(alpha**2) for k, alpha in enumerate(ALPHAS)}

    def test_what_takes_long_is_measured_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("thetascope.scoring.runner.AHEAD_SECONDS", 0.0)
        objective, sink = bowl(), MemorySink(size=2)
        made, rows = list[int](), list[int]()
        with objective.model.running():
            asked = request(objective, 6)
            Runner(objective, sink, Engine(counting(made, rows), "asked for")).pace(asked, [[4, 5], [0, 1]], stored=False)
        assert rows == [4, 5]
        assert not sink.stored

    def test_goes_on_where_it_was_stopped(self) -> None:
        def stop(_: int) -> None:
            raise KeyboardInterrupt

        objective, sink = bowl(), MemorySink(size=2)
        with pytest.raises(KeyboardInterrupt), objective.model.running():
            run(objective, [request(objective, 6)], sink, EAGER, stop)
        assert list(sink.losses()) == [0, 1]  # finished means stored
        made, rows = list[int](), list[int]()
        with objective.model.running():
            run(objective, [request(objective, 6)], sink, Engine(counting(made, rows), "asked for"), lambda _: None)
        assert rows == [2, 3, 4, 5]
        assert made == [6]
        assert sink.losses() == {k: pytest.approx(alpha**2) for k, alpha in enumerate(ALPHAS)}

    def test_a_request_that_is_finished_needs_no_backend(self) -> None:
        objective = bowl()
        sink = MemorySink(size=2, stored={"": {k: {"loss": 0.0} for k in range(6)}})
        made, rows = list[int](), list[int]()
        run(objective, [request(objective, 6)], sink, Engine(counting(made, rows), "asked for"), lambda _: None)
        assert made == rows == []

    def test_stored_states_are_scored_as_recorded(self) -> None:
        block = case("BatchNorm ResNet block")
        objective = Objective(block.model(), block.data(), buffers="recalibrate")
        states = [objective.bind(state) for state in block.states(2)]
        points = StoredStates(tuple(states))
        sink = MemorySink(size=2, total=2)
        with objective.model.running():
            run(objective, [Request(points, ("state",), (2,), as_recorded=True)], sink, EAGER, lambda _: None)
        assert sink.losses() == {k: objective.score(state)["loss"] for k, state in enumerate(states)}

    def test_carries_the_standard_error_where_samples_are_drawn(self) -> None:
        objective, sink = bowl(samples=2), MemorySink(size=6)
        with objective.model.running():
            run(objective, [request(objective, 6)], sink, EAGER, lambda _: None)
        assert set(sink.stored[""][3]) == {"loss", "loss_standard_error"}

    def test_a_step_that_changes_its_metrics_is_told(self) -> None:
        def step(model: nn.Module, batch: Any) -> dict[str, Tensor]:
            losses = model(batch[0])
            return {"loss": losses} if len(losses) == 3 else {"loss": losses, "late": losses}

        data = [*QuadraticBowl.data(3), *QuadraticBowl.data(2)]
        objective = Objective.from_step(QuadraticBowl([2.0], [0.0]), data, step=step)
        points = request(objective, 6)
        with objective.model.running(), pytest.raises(ObjectiveError, match="the same values; got loss, late after loss"):
            run(objective, [points], MemorySink(size=2), EAGER, lambda _: None)


class TestMemory:
    def failing_above(self, objective: Objective, rows: int, error: Exception) -> Engine:
        """One whose passes fail with more than so many rows a batch."""

        class Failing(EagerBackend):
            def evaluate(self, wanted: Sequence[int]) -> list[Sums]:
                if objective.batches.batch_size > rows:
                    raise error
                return super().evaluate(wanted)

        return Engine(Failing, "")

    @pytest.mark.parametrize("error", [torch.OutOfMemoryError("no"), MemoryError(), RuntimeError("[…] can't allocate memory")])
    def test_that_runs_out_halves_the_batch_and_goes_on(self, error: Exception) -> None:
        linear = case("linear")
        objective, whole = (Objective(linear.model(), linear.data(), batch_size=10) for _ in range(2))
        sink, oracle = MemorySink(size=2), MemorySink(size=2)
        points = layer_line(objective)
        with objective.model.running():
            notes = run(objective, [points], sink, self.failing_above(objective, 3, error), lambda _: None)
            assert run(whole, [points], oracle, EAGER, lambda _: None) == {}
        assert notes == {"batch_size": 2, "memory_ran_out": True}
        assert sink.losses() == {k: pytest.approx(loss, rel=1e-6) for k, loss in oracle.losses().items()}

    @pytest.mark.parametrize("backend", [GraphBackend, BatchedBackend])
    def test_that_runs_out_while_a_backend_is_checked_is_no_reason_to_leave_points_to_the_oracle(self, backend: type[Backend]) -> None:
        errors: list[Exception] = []

        def loss(outputs: Tensor, targets: Tensor) -> Tensor:
            if errors:
                raise errors.pop()
            return F.cross_entropy(outputs, targets, reduction="none")

        linear = case("linear")
        objective, sink = Objective(linear.model(), linear.data(), loss=loss, batch_size=10), MemorySink(size=6)
        asked = layer_line(objective)
        errors.append(RuntimeError("[…] can't allocate memory"))
        with objective.model.running():
            notes = run(objective, [asked], sink, Engine(backend, ""), lambda _: None)
        assert notes == {"batch_size": 5, "memory_ran_out": True}
        assert len(sink.losses()) == 6

    def test_that_runs_out_with_one_sample_says_what_to_do(self) -> None:
        linear = case("linear")
        objective = Objective(linear.model(), linear.data(), batch_size=10)
        engine = self.failing_above(objective, 0, MemoryError("no"))
        with objective.model.running(), pytest.raises(ObjectiveError, match=r"one sample \(no\).*more memory"):
            run(objective, [layer_line(objective)], MemorySink(size=2), engine, lambda _: None)

    def test_batches_of_the_callers_are_not_cut(self) -> None:
        linear = case("linear")
        objective = Objective(linear.model(), [linear.data()])
        engine = self.failing_above(objective, 0, MemoryError("no"))
        with objective.model.running(), pytest.raises(ObjectiveError, match="as the data give them"):
            run(objective, [layer_line(objective)], MemorySink(size=2), engine, lambda _: None)

    def test_other_errors_are_not_swallowed(self) -> None:
        objective = bowl()
        engine = self.failing_above(objective, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
        with objective.model.running(), pytest.raises(RuntimeError, match="shapes"):
            run(objective, [request(objective, 6)], MemorySink(size=2), engine, lambda _: None)


def counting(made: list[int], rows: list[int]) -> type[Backend]:
    """The eager backend that notes for how many points it is made, and which it is asked for."""

    class Counting(EagerBackend):
        def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False, settings: Settings | None = None) -> None:
            super().__init__(objective, points, as_recorded=as_recorded, settings=settings)
            made.append(len(points))

        def evaluate(self, wanted: Sequence[int]) -> list[Sums]:
            rows.extend(wanted)
            return super().evaluate(wanted)

    return Counting
