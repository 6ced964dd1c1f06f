"""Runs of trainers beside those of a plain loop."""

from __future__ import annotations

from pathlib import Path

import torch

import thetascope as ts


def assert_equal(one: Path, other: Path, rtol: float = 0.0) -> None:
    """The same steps, epochs and states, bit for bit where no rounding is allowed for."""
    ours, theirs = ts.Trajectory(one), ts.Trajectory(other)
    assert (ours.steps, ours.epochs) == (theirs.steps, theirs.epochs)
    for own, there in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own.tensors(), there.tensors(), rtol=rtol, atol=rtol)
