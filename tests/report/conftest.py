"""A small run with every experiment of the catalog, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import thetascope as ts
from tests.report.pages import record, runs_of_every_experiment


@pytest.fixture(scope="session")
def examined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded run with a result of every experiment; not to be written to."""
    torch.manual_seed(0)
    return runs_of_every_experiment(tmp_path_factory.mktemp("report") / "tiny")


@pytest.fixture
def run(examined: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(examined, tmp_path / "tiny"))


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A recorded run without results."""
    model = nn.Sequential()
    model.add_module("hidden", nn.Linear(2, 2))
    return record(tmp_path / "bare", model)


@pytest.fixture(scope="session")
def report(examined: Path) -> Path:
    """The report of the run with every experiment."""
    return ts.write_report(examined)
