"""What is said wherever layers move one at a time."""

from __future__ import annotations

import xarray as xr


def mover(data: xr.Dataset) -> str:
    """What moves alone: a layer, or a block where the call chose all blocks."""
    return "block" if data.attrs.get("options", {}).get("layers") == "blocks" else "layer"


def moved_together(data: xr.Dataset) -> str:
    """What of a layer moves: where buffers are the path's, a BatchNorm's statistics do, and may matter more than its weights."""
    moves = data.attrs["buffers"] == "path"
    return "its weights and biases and, where it has them, its running statistics (BatchNorm's)" if moves else "its weights and biases"
