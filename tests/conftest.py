"""Settings for all tests: one thread, so that parallel workers do not fight for cores and bits do not vary."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

pytest_plugins = ("tests.faults.counting",)

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

settings.register_profile("thetascope", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("thetascope")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def mnist_folder() -> Path:
    """The folder of MNIST's files, where the machine has one."""
    folder = os.environ.get("THETASCOPE_MNIST")
    if not folder:
        pytest.skip("THETASCOPE_MNIST names no folder with MNIST's files")
    return Path(folder)


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
