"""One folder an experiment: its declaration and signature, what it scores, its picture, its words. Found by their folders alone."""

from __future__ import annotations

from pkgutil import iter_modules

NO_EXPERIMENTS = ("framework", "shared")
"""Folders that hold what experiments are made of."""


def names() -> list[str]:
    """Of all experiments, without loading one."""
    return sorted(module.name for module in iter_modules(__path__) if module.ispkg and module.name not in NO_EXPERIMENTS)
