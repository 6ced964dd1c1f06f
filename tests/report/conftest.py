"""A small run with every experiment of the catalog, made once; the browser that opens its report."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import thetascope as ts
from tests.report.pages import record, runs_of_every_experiment

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


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
def browser() -> Iterator[Any]:
    """Chromium, where there is one and what drives it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install thetascope[dev])")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser found: none of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def report(examined: Path) -> Path:
    """The report of the run with every experiment."""
    return ts.write_report(examined)
