from __future__ import annotations

from pathlib import Path

import pytest
import torch

import thetascope as ts
from thetascope.cli import main
from thetascope.demo.images import load_mnist
from thetascope.demo.network import LeNet
from thetascope.experiments.framework.catalog import chosen_entries


def test_the_network_is_the_thesis_s() -> None:
    space = ts.ParameterSpace.of_model(LeNet())
    counts = {layer.name: sum(space.tensors[n].size for n in layer.parameters) for layer in space.layers}
    assert counts == {"conv1": 60, "conv2": 880, "fc1": 69_240, "fc2": 10_164, "fc3": 850}
    assert space.parameter_count == 81_194


def test_the_demo_runs_and_says_where_the_picture_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--quick", "--out", str(out)]) == 0
    said = capsys.readouterr()
    pictures = [Path(line) for line in said.out.splitlines() if line.endswith(".png")]
    results = [ts.load_result(out / "results" / picture.stem) for picture in pictures]
    quick = chosen_entries([], with_training=True)
    assert [result.data.attrs["experiment"] for result in results] == [call.experiment.name for call in quick]
    assert {path.name for path in (out / "results").iterdir()} == {result.data.attrs["key"] for result in results}
    assert all(p.stat().st_size > 10_000 and p.with_name(f"{p.stem}.html").exists() for p in pictures)
    assert all(call.words.question in said.err for call in quick)
    assert pictures[0].read_bytes().startswith(b"\x89PNG")
    assert said.out.splitlines()[-1] == str(out / "report.html")
    assert 4e6 < (out / "report.html").stat().st_size < 12e6
    trajectory = ts.Trajectory(out)
    assert trajectory.epochs == [0, 1, 2, 2.5, 3, 4, 5]
    assert trajectory.at(0.5).step == 75  # of 150: the exact half is recorded too
    result = ts.load_result(out / "results" / "interpolate-alphas=11")
    assert result.status_counts()["evaluated"] == 11 + 7
    assert float(result.data["accuracy"][-1]) > 0.8
    # what the training measured is what the experiment measures at the same states
    for state, loss in zip(trajectory, result.data["actual_loss"].values, strict=True):
        if "validation_loss" in state.metrics:
            assert state.metrics["validation_loss"] == pytest.approx(float(loss), rel=1e-6)


def test_the_demo_replaces_nothing_but_demos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    assert main(["demo", "--quick", "--out", str(tmp_path)]) == 2
    assert "no run directory" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_mnist_needs_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--data", "mnist", "--out", str(tmp_path / "a")]) == 1
    assert "--data-dir" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_real_mnist_loads(mnist_folder: Path) -> None:
    found = load_mnist(mnist_folder)
    assert found.train_images.shape == (60_000, 1, 32, 32)
    assert torch.bincount(found.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert abs(float(found.train_images.mean())) < 0.02
