"""What is said wherever layers move one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def moved_together(data: xr.Dataset) -> str:
    """What of a layer moves: where buffers are the path's, a BatchNorm's statistics do, and may matter more than its weights."""
    moves = data.attrs["buffers"] == "path"
    return "its weights and biases and, where it has them, its running statistics (BatchNorm's)" if moves else "its weights and biases"


def tag_by_group(figure: Figure, owners: list[str]) -> None:
    """Curves are grouped by their number; each takes its owner's name."""
    for trace in figure.data:
        group = trace.legendgroup or ""
        if group.isdigit() and int(group) < len(owners):
            trace.meta = {"layer": owners[int(group)]}
