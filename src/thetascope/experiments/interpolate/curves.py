"""What pictures of layers and of parameters share that move one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from thetascope.arrays import Floats
from thetascope.drawing.spec import Rule
from thetascope.drawing.style import knots_note
from thetascope.errors import ResultError

if TYPE_CHECKING:
    import xarray as xr


def one_of(data: xr.Dataset, dim: str, label: str) -> xr.Dataset:
    """Only the curve of that label.

    Raises:
        ResultError: there is none.
    """
    labels = data[dim].values.astype(str).tolist()
    if label not in labels:
        raise ResultError(f'no {dim} "{label}" in this result; there are: {", ".join(labels[:20])}')
    return data.isel({dim: [labels.index(label)]})


def note_of(attrs: Mapping[str, Any], *, buffers: bool) -> str:
    """What all these pictures say below their title."""
    return f"the rest stays final; {knots_note(attrs, buffers=buffers)}"


def ends_of(alphas: Floats) -> list[Rule]:
    """The first and the last state, where α goes beyond them."""
    return [Rule(at=end, width=0.7) for end in (0.0, 1.0)] if alphas.min() < 0 or alphas.max() > 1 else []
