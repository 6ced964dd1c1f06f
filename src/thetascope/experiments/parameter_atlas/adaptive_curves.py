"""A curve asked for at many places is scored at few: where it bends unforeseen, at more of them, up to all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thetascope.arrays import Floats

FIRST_PLACES = 7
"""So many places are scored at first, densest at both ends."""

FORESEEN = 3e-6
"""A value was foreseen when the cubic through its neighbours missed it by less, as a share of the loss there and of the
final one, whichever is larger. On convolutions of a small network on MNIST what was then read was off by up to twice as much."""

NEIGHBOURS = 2
"""A place that was not foreseen casts doubt on so many stretches on either side beyond its own two."""

APART = 0.2
"""What the cubic goes through lies so far apart at least, as a share of the stretch it is read in: closer ones magnify rounding."""


class Curve:
    """The change of a loss along one parameter, 0 where the parameter does not change.

    Args:
        at: ``[A]``, the changes of the parameter that are asked for, in any order.
        final_loss: the loss where it does not change.
    """

    def __init__(self, at: Floats, final_loss: float) -> None:
        self._x, where = np.unique(np.append(at, 0.0), return_inverse=True)
        self._where, self._zero, self._final = where[:-1], int(where[-1]), final_loss
        self._y = np.full(len(self._x), np.nan)
        self._known = np.zeros(len(self._x), bool)
        self._y[self._zero], self._known[self._zero] = 0.0, True
        ranks = (1 - np.cos(np.linspace(0, np.pi, FIRST_PLACES))) / 2 * (len(self._x) - 1)
        self._asked: NDArray[np.int64] = np.setdiff1d(ranks.round().astype(np.int64), [self._zero])
        self._is_first = True

    @property
    def asks(self) -> Floats:
        """The changes ``[k]`` to score next; none once the rest can be read."""
        return self._x[self._asked]

    def tell(self, changes: Floats) -> None:
        """The changes of the loss ``[k]`` at what it asks."""
        scale = np.maximum(abs(self._final), np.abs(self._final + changes))
        missed = np.ones(len(changes), bool)
        if not self._is_first:
            with np.errstate(invalid="ignore"):
                missed = ~(np.abs(self._read(self._asked) - changes) <= FORESEEN * scale) | ~np.isfinite(changes)
        self._y[self._asked], self._known[self._asked] = changes, True
        known = np.flatnonzero(self._known)
        places, doubtful = np.searchsorted(known, self._asked[missed]), np.zeros(len(known) + 1, bool)
        for k in range(-1 - NEIGHBOURS, NEIGHBOURS + 1):
            doubtful[np.clip(places + k, 0, len(known) - 2)] = True
        stretches = np.arange(len(known) - 1) if self._is_first else np.flatnonzero(doubtful[: len(known) - 1])
        low, high = known[stretches], known[stretches + 1]
        self._asked, self._is_first = ((low + high) // 2)[high - low > 1], False

    def values(self) -> Floats:
        """The change of the loss at all places that were asked for ``[A]``."""
        found, left = self._y.copy(), np.flatnonzero(~self._known)
        found[left] = self._read(left)
        return found[self._where]

    @property
    def is_read(self) -> NDArray[np.bool_]:
        """Which of the places that were asked for were not scored ``[A]``."""
        return ~self._known[self._where]

    def _read(self, places: NDArray[np.int64]) -> Floats:
        """The cubics through what is known on both sides of the `places`, or of lower degree where there is less."""
        x, y = self._x[self._known], self._y[self._known]
        at, last = self._x[places], len(x) - 1
        low = np.clip(np.searchsorted(x, at) - 1, 0, last - 1)
        gap = APART * (x[low + 1] - x[low])
        before, after = np.searchsorted(x, x[low] - gap, "right") - 1, np.searchsorted(x, x[low + 1] + gap)
        # at an end, both outer ones lie on the other side
        further = np.searchsorted(x, x[np.minimum(after, last)] + gap)
        earlier = np.searchsorted(x, x[np.maximum(before, 0)] - gap, "right") - 1
        outer = np.stack([np.where(before < 0, further, before), np.where(after > last, earlier, after)])
        nodes = np.concatenate([np.stack([low, low + 1]), outer])
        there = (nodes >= 0) & (nodes <= last)
        at_nodes = x[np.clip(nodes, 0, last)]
        found = np.zeros(len(at))
        for a in range(4):
            share = there[a].astype(np.float64)
            for b in range(4):
                if b != a:
                    apart = np.where(there[a] & there[b], at_nodes[a] - at_nodes[b], 1.0)
                    share *= np.where(there[a] & there[b], (at - at_nodes[b]) / apart, 1.0)
            with np.errstate(invalid="ignore"):  # a neighbour that is not finite makes what is read not finite, so that it is scored
                found += share * np.where(there[a], y[np.clip(nodes[a], 0, last)], 0.0)
        return found
