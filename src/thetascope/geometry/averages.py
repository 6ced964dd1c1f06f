"""Averages of states: of the last few, exponential ones, of any subset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thetascope.arrays import Floats
from thetascope.geometry.points import Points
from thetascope.state import State


def window_weights(count: int, size: int) -> Floats:
    """``[count]``: the uniform average of the last `size` states."""
    return subset_weights(count, range(count - size, count))


def subset_weights(count: int, chosen: Sequence[int]) -> Floats:
    """``[count]``: the uniform average of the chosen states."""
    weights = np.zeros(count)
    weights[list(chosen)] = 1 / len(chosen)
    return weights


def decay_weights(count: int, decay: float) -> Floats:
    """``[count]``: a weight `decay` times that of the state after it, which sum to 1, so that no state is taken for a start from 0."""
    weights: Floats = decay ** np.arange(count - 1, -1, -1, dtype=np.float64)
    return np.asarray(weights / weights.sum(), np.float64)


def averages(states: Sequence[State], weights: Floats, parameters: Sequence[str], buffers: Sequence[str]) -> Points:
    """The states averaged with each row of `weights` ``[K, T]``: floating parameters, and floating buffers where they move.

    Weights of states with the same values are put together, so that an average of one state, however often, is it bit for bit.
    """
    last = {state.digest(): t for t, state in enumerate(states)}
    merged = np.zeros_like(weights)
    for t, state in enumerate(states):
        merged[:, last[state.digest()]] += weights[:, t]
    alone = (merged != 0).sum(axis=1) == 1
    merged[alone] = (merged[alone] != 0).astype(np.float64)
    groups = dict.fromkeys(parameters, 0) | dict.fromkeys(buffers, 1)
    return Points(tuple(states), np.stack([merged, merged], axis=1), groups, buffer_groups=frozenset({1}))
