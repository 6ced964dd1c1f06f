"""Here "auto" means the CPU, whatever the machine has: what is compared with is computed there."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
