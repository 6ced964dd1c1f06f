"""Estimating the statistics of normalisation layers anew at a point.

The running mean and variance become the averages of the calibration batches' own, weighted by their sizes
(Izmailov et al. 2018, section 3.2, with batches of different sizes counted rightly).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from thetascope.errors import ObjectiveError
from thetascope.scoring.model import BoundModel
from thetascope.scoring.pytrees import rows_of


def recalibrated(model: BoundModel, tensors: dict[str, Tensor], batches: Iterable[Any]) -> dict[str, Tensor]:
    """`tensors` with the running statistics estimated from `batches`. Call it within the model's `running`.

    Models without such layers come back unchanged.

    Raises:
        ObjectiveError: a batch is too small to have a variance.
    """
    norms = [m for m in model.model.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    if not norms:
        return tensors
    own = dict(tensors) | {name: tensors[name].clone() for name in model.space.buffers}
    momenta = [norm.momentum for norm in norms]
    seen = 0
    try:
        for batch in batches:
            rows = rows_of(batch) or 1
            seen += rows
            for norm in norms:
                norm.training, norm.momentum = True, rows / seen  # the first batch replaces what was there
            try:
                model.evaluate(own, batch, writable_buffers=True)
            except ValueError as error:
                if "more than 1 value per channel" not in str(error):
                    raise
                raise ObjectiveError(
                    f"no statistics can be estimated from a calibration batch of {rows} ({error}); choose a batch_size that leaves "
                    "no such batch, or pass other calibration_data"
                ) from error
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.training, norm.momentum = False, momentum
    return own
