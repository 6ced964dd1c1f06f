"""Every experiment by name, on models that are not a plain stack of layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import thetascope as ts
from thetascope.errors import UsageError
from thetascope.experiments.catalog import CATALOG, Effort, Subject, chosen_examinations
from thetascope.experiments.examine_run import examine_run
from thetascope.testing.models import case


@pytest.mark.parametrize("name", ["BatchNorm ResNet block", pytest.param("tied attention", marks=pytest.mark.slow)])
def test_every_experiment_takes_every_kind_of_model(name: str, tmp_path: Path) -> None:
    chosen = case(name)
    data = chosen.data(20)
    training = ts.Training(chosen.build, data, data, lambda p: torch.optim.SGD(p, lr=0.05), epochs=3, batch_size=10)
    model = training.model()
    with ts.Recorder(tmp_path / "run", model) as recorder:
        training.train(model, recorder=recorder, progress=False)
    objective = ts.Objective(model, data, chosen.loss)
    effort = Effort(alphas=9, parameters=1, draws=2, repeats=2, grid=13, sizes=(10, 20))
    subject = Subject(objective, ts.Trajectory(tmp_path / "run"), tmp_path / "results", training, effort, progress=False)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    findings = examine_run(subject, chosen_examinations([], with_training=True, with_long=True), tmp_path / "figures")
    assert [finding.examination.name for finding in findings] == list(CATALOG)
    for finding in findings:
        counts = finding.result.status_counts()
        assert counts["missing"] == counts["not finite"] == 0
        assert counts["evaluated"] + counts["estimated"] > 0
        assert finding.headline
        assert all(picture.stat().st_size > 5_000 for picture in finding.pictures)
        loaded = ts.load_result(tmp_path / "results" / finding.examination.name)
        np.testing.assert_array_equal(loaded.data[next(iter(loaded.data))], finding.result.data[next(iter(loaded.data))])
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_names_choose_in_the_order_of_the_catalog() -> None:
    assert [e.name for e in chosen_examinations(["roles", "line"], with_training=False)] == ["line", "roles"]
    assert {e.name for e in chosen_examinations([], with_training=True)} - {
        e.name for e in chosen_examinations([], with_training=False)
    } == {
        "epochs",
        "train-size",
    }
    with pytest.raises(UsageError, match="no experiment lines; there are: line, quadratic"):
        chosen_examinations(["lines"], with_training=False)
