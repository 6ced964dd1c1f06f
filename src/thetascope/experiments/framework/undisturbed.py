"""What a call leaves as it found it, wherever in it an interrupt comes."""

from __future__ import annotations

from collections.abc import Sequence

import zarr
from torch import nn

from thetascope.scoring.undisturbed import PutBack

WRITE_EMPTY = "array.write_empty_chunks"


class Undisturbed(PutBack):
    """Puts back what scoring does, and zarr's settings; twice, as there."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__(models)
        self._writes_empty = zarr.config.get(WRITE_EMPTY)

    def put_back(self) -> None:
        """That too."""
        super().put_back()
        if zarr.config.get(WRITE_EMPTY) != self._writes_empty:
            zarr.config.set({WRITE_EMPTY: self._writes_empty})
