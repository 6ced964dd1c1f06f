"""Each alarm is provoked, and silent where there is nothing to tell."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from torch import Tensor

from tests.live.runs import Metrics, moves, record
from thetascope.live import alarms as declared
from thetascope.live.alarms import ALARMS
from thetascope.live.watcher import Watcher


def told(run: Path) -> list[str]:
    watcher = Watcher(run, None)
    watcher.update()
    return list(watcher.view().alarms)


def test_an_ordinary_training_raises_none(tmp_path: Path) -> None:
    metrics: list[Metrics] = [{"train_loss": 2 / t, "validation_loss": 2.1 / t, "validation_accuracy": 1 - 1 / t} for t in range(1, 13)]
    record(tmp_path / "run", 12, metrics=metrics)
    assert told(tmp_path / "run") == []


def test_nan_in_a_layer_since_when(tmp_path: Path) -> None:
    walk = moves()

    def broken(step: int, name: str, values: Tensor) -> Tensor:
        moved = walk(step, name, values)
        return moved.index_fill(0, moved.new_tensor([0]).long(), math.nan) if step == 3 and name == "second.bias" else moved

    record(tmp_path / "run", 5, broken)
    assert told(tmp_path / "run") == ["NaN or infinity in second.bias since step 3 (epoch 3)."]


def test_a_metric_that_is_not_finite(tmp_path: Path) -> None:
    record(tmp_path / "run", 4, metrics=[{"train_loss": value} for value in (1.0, math.inf, math.nan, math.nan)])
    assert told(tmp_path / "run") == ["train loss is not finite since step 2 (epoch 2)."]


def test_a_layer_that_does_not_move(tmp_path: Path) -> None:
    walk = moves()
    record(tmp_path / "run", 9, lambda step, name, values: values if step > 4 and name.startswith("second") else walk(step, name, values))
    assert told(tmp_path / "run") == ["second has not moved for 5 records."]
    record(tmp_path / "frozen", 6, lambda step, name, values: values if name.startswith("second") else walk(step, name, values))
    assert told(tmp_path / "frozen") == ["second has not moved at all: it is frozen, or gets no gradient."]
    record(tmp_path / "short", 4, lambda step, name, values: values if name.startswith("second") else walk(step, name, values))
    assert told(tmp_path / "short") == []


def test_no_layer_moves(tmp_path: Path) -> None:
    walk = moves()
    record(tmp_path / "run", 9, lambda step, name, values: values if step > 3 else walk(step, name, values))
    assert told(tmp_path / "run")[0] == "No layer has moved for 5 records."


@pytest.mark.parametrize(("factor", "alarmed"), [(30.0, True), (5.0, False)])
def test_a_move_much_longer_than_usual(factor: float, alarmed: bool, tmp_path: Path) -> None:
    walk = moves()
    record(tmp_path / "run", 8, lambda step, name, values: values + (factor if step == 8 else 1.0) * (walk(step, name, values) - values))
    found = told(tmp_path / "run")
    assert len(found) == int(alarmed)
    if alarmed:
        assert found[0].startswith("Up to step 8 (epoch 8) the weights moved ")
        assert 20 < int(found[0].split(" times ")[0].split()[-1]) < 45


@pytest.mark.parametrize("epochs", [True, False])
def test_a_validation_past_its_best(epochs: bool, tmp_path: Path) -> None:
    losses = [1.0, 0.5, 0.6, 0.62, 0.61, 0.7]
    record(tmp_path / "run", 6, metrics=[{"validation_loss": v, "train_loss": v} for v in losses], epochs=epochs)
    unit, when = ("epochs", "step 2 (epoch 2)") if epochs else ("records", "step 2")
    assert told(tmp_path / "run") == [f"validation loss is past its best for 4 {unit}: 0.5 at {when}, now 0.7."]
    record(tmp_path / "young", 5, metrics=[{"validation_loss": v} for v in losses[:5]], epochs=epochs)
    assert told(tmp_path / "young") == []
    record(tmp_path / "accuracy", 6, metrics=[{"test_accuracy": 1 - v} for v in losses], epochs=epochs)
    assert told(tmp_path / "accuracy") == [f"test accuracy is past its best for 4 {unit}: 0.5 at {when}, now 0.3."]


def test_steps_that_turn_back_on_each_other(tmp_path: Path) -> None:
    record(tmp_path / "run", 9, lambda step, name, values: values + (0.1 if step % 2 else -0.08))
    assert told(tmp_path / "run") == [
        "The last steps turn back on each other (mean cosine −1.00 over 5): the learning rate may be too high."
    ]


def test_every_alarm_that_is_declared_is_asked() -> None:
    functions = [each for name, each in vars(declared).items() if callable(each) and getattr(each, "__module__", "") == declared.__name__]
    generators = {each for each in functions if each.__name__ not in ("alarms", "at_step", "Seen") and not each.__name__.startswith("_")}
    assert generators == set(ALARMS)
