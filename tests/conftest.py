"""Settings for all tests: one thread, so that parallel workers do not fight for cores and bits do not vary."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

pytest_plugins = ("tests.faults.counting",)

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
