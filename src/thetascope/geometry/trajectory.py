"""The geometry of the way that a training went, from its recorded states alone.

The states are read in pieces, one after the other, and only products with neighbours and ends are kept: T states of P parameters are
never in memory at once, and no T × T matrix is made. All sums are float64.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from thetascope.arrays import Floats
from thetascope.errors import GeometryError
from thetascope.state import State

PIECE = 2**21
"""So many values of a state are read at once, of several small tensors or a part of a large one."""
BLOCK = 2**13
"""So many values are multiplied at once: few enough for the processor's caches."""
FEWEST, MOST = 16, 64
"""So many states are multiplied at once: the fewest where a piece is large, the most where it is small."""


@dataclass(frozen=True)
class WayProducts:
    """Sums over the tensors of each group, ``[G, T]``; column t is of the step d_t from state t − 1 to t, and 0 in the first.

    Attributes:
        steps: ``|d_t|²``.
        successive: ``⟨d_t, d_{t−1}⟩``.
        along: ``⟨d_t, θ_T − θ_0⟩``.
        behind: ``⟨d_t, θ_{t−1} − θ_0⟩``.
        start: ``[G]``, ``|θ_0|²``.
        units: ``[G]``, ``|Σ_t d_t / |d_t||²``; or ``[1]`` of all groups together, where they were normalised together.
    """

    steps: Floats
    successive: Floats
    along: Floats
    behind: Floats
    start: Floats
    units: Floats

    def together(self) -> WayProducts:
        """Of all groups as one."""
        sums = {f.name: getattr(self, f.name).sum(axis=0, keepdims=True) for f in fields(self) if f.name != "units"}
        return replace(self, **sums)

    def without_units(self) -> WayProducts:
        """The same without directions of steps, so that nothing is known of their mean cosine."""
        return replace(self, units=np.full(len(self.start), np.nan))


@dataclass(frozen=True)
class Way:
    """The geometry of the way of each group, ``[G, T]`` or ``[G]``; nan where there is none, as of a way of length 0.

    Attributes:
        arc: the length of the way so far.
        from_start, to_end: distances from the first and to the last state.
        share: s_t = ``⟨θ_t − θ_0, θ_T − θ_0⟩ / |θ_T − θ_0|²``, of the way from the first to the last state.
        off_line: the distance from the straight line through both. Below 1e-7 of `from_start` it is rounding.
        step_length: of the step that leads to the state.
        heading: the cosine of that step with what was left to go, ``θ_T − θ_{t−1}``.
        turning: the cosine of that step with the one before.
        relative: ``|θ_t − θ_0| / |θ_0|``.
        chord: ``|θ_T − θ_0|``.
        tortuosity: arc / chord.
        mean_cosine: over all pairs of steps that have a direction.
    """

    arc: Floats
    from_start: Floats
    to_end: Floats
    share: Floats
    off_line: Floats
    step_length: Floats
    heading: Floats
    turning: Floats
    relative: Floats
    chord: Floats
    tortuosity: Floats
    mean_cosine: Floats


def way_of(products: WayProducts) -> Way:
    """What follows from the products.

    Of n unit vectors û the mean cosine over all pairs is ``(|Σ û|² − n) / (n (n − 1))``.
    """
    steps, lengths = products.steps, np.sqrt(products.steps)
    ahead = products.along - products.behind  # ⟨d_t, θ_T − θ_{t−1}⟩
    from_start = np.cumsum(2 * products.behind + steps, axis=1)
    # from the end backwards, so that small distances there are no differences of large ones
    shrinks = (2 * ahead - steps)[:, 1:]
    to_end = np.zeros_like(steps)
    to_end[:, :-1] = np.cumsum(shrinks[:, ::-1], axis=1)[:, ::-1]
    from_start, to_end = np.sqrt(np.maximum(from_start, 0.0)), np.sqrt(np.maximum(to_end, 0.0))
    chord, arc, along = from_start[:, -1], np.cumsum(lengths, axis=1), np.cumsum(products.along, axis=1)
    left = np.zeros_like(to_end)
    left[:, 1:] = to_end[:, :-1]
    before = np.zeros_like(lengths)
    before[:, 1:] = lengths[:, :-1]
    counts = (lengths > 0).sum(axis=1)
    share = _ratio(along, np.where(chord > 0, along[:, -1], 0.0)[:, None])
    off_line = np.sqrt(np.maximum(from_start**2 - (share * chord[:, None]) ** 2, 0.0))
    return Way(
        arc=arc,
        from_start=from_start,
        to_end=to_end,
        share=share,
        off_line=off_line,
        step_length=lengths,
        heading=_cosine(ahead, lengths * left),
        turning=_cosine(products.successive, lengths * before),
        relative=_ratio(from_start, np.sqrt(products.start)[:, None]),
        chord=chord,
        tortuosity=_ratio(arc[:, -1], chord),
        mean_cosine=_ratio(products.units - counts, counts * (counts - 1.0)),
    )


def _ratio(above: Floats, below: Floats) -> Floats:
    """nan where the lower one is 0."""
    below = np.broadcast_to(below, above.shape)
    found: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return found


def _cosine(inner: Floats, lengths: Floats) -> Floats:
    return np.clip(_ratio(inner, lengths), -1.0, 1.0)


@dataclass(frozen=True)
class TensorPart:
    """Some values of one tensor: `start` to `stop` in row-major order; all of it where `stop` is None."""

    group: int
    name: str
    size: int
    start: int = 0
    stop: int | None = None


class WayReading:
    """Reads the tensors of all groups in all states, piece by piece, and multiplies neighbours.

    Each state is opened once a piece; a second time where steps are longer than a piece, for their lengths are known only then.

    Args:
        states: two or more, of the same names and shapes.
        groups: names of tensors, which count as one vector each. Complex values count as two real ones.
        together: whether directions of steps (`units`) are those of all groups together.
    """

    def __init__(self, states: Sequence[State], groups: Sequence[Sequence[str]], *, together: bool) -> None:
        self._states, self._together, self._groups = states, together, len(groups)
        self._pieces = [(piece, {part.group for part in piece}) for piece in _pieces_of(states[0], groups)]
        homes = [g for _, home in self._pieces for g in home]
        # groups that lie whole in one piece: the lengths of their steps are known while their values are at hand
        self._whole = {g for g in homes if homes.count(g) == 1} if not together or len(self._pieces) == 1 else set[int]()

    @property
    def reads(self) -> int:
        """How many pieces of states are read."""
        return len(self._states) * sum(1 + bool(home - self._whole) for _, home in self._pieces)

    def seconds(self) -> float:
        """About how long it takes, measured on a few states."""
        few = [*self._states[:FEWEST], self._states[-1]]
        (piece, home), begin = self._pieces[0], time.perf_counter()
        _Reader(few, piece, lambda count: None).multiply(self._zeros(len(few)), self._whole & home, self._together)
        return (time.perf_counter() - begin) / len(few) * self.reads

    def products(self, advance: Callable[[int], None] = lambda count: None) -> WayProducts:
        """All of them; `advance` is told when a piece of a state is read.

        Raises:
            GeometryError: a state holds a value that is not finite.
        """
        sums = self._zeros(len(self._states))
        for piece, home in self._pieces:
            _Reader(self._states, piece, advance).multiply(sums, self._whole & home, self._together)
        for piece, home in self._pieces:
            left = home - self._whole
            if left:
                _Reader(self._states, [part for part in piece if part.group in left], advance).add_units(sums, self._together, left)
        return sums

    def _zeros(self, count: int) -> WayProducts:
        steps, successive, along, behind = np.zeros((4, self._groups, count))
        return WayProducts(steps, successive, along, behind, np.zeros(self._groups), np.zeros(1 if self._together else self._groups))


def _pieces_of(state: State, groups: Sequence[Sequence[str]]) -> list[list[TensorPart]]:
    """What is read at once: whole tensors as long as they are small together, else a part of one."""
    found: list[list[TensorPart]] = []
    small: list[TensorPart] = []
    for g, names in enumerate(groups):
        for name in names:
            size = state.specs[name].size
            if size > PIECE:
                found += [[TensorPart(g, name, min(PIECE, size - at), at, min(at + PIECE, size))] for at in range(0, size, PIECE)]
            elif size:
                if sum(part.size for part in small) + size > PIECE:
                    found.append(small)
                    small = []
                small.append(TensorPart(g, name, size))
    return [*found, small] if small else found


class _Reader:
    """One piece of all states, a few states at a time, and the sums over it."""

    def __init__(self, states: Sequence[State], piece: Sequence[TensorPart], advance: Callable[[int], None]) -> None:
        self._states, self._piece, self._advance = states, piece, advance
        self._whole = [part.name for part in piece if part.stop is None]
        self._size = sum(part.size for part in piece)
        self._count = min(max(FEWEST, PIECE // (8 * self._size)), MOST)

    def _batches(self) -> Iterator[range]:
        """The states but the first, a few at a time."""
        count = len(self._states)
        return (range(at, min(at + self._count, count)) for at in range(1, count, self._count))

    def _read(self, t: int) -> list[Tensor]:
        """The values of each part in a state, flat. Files are mapped where they can be, so that nothing is copied."""
        state = self._states[t]
        tensors = state.tensors(self._whole) if self._whole else {}
        found = []
        for part in self._piece:
            values = tensors[part.name] if part.stop is None else state.piece(part.name, part.start, part.stop)
            values = values.detach().cpu()
            found.append((torch.view_as_real(values.resolve_conj()) if values.is_complex() else values).reshape(-1))
        self._advance(1)
        return found

    def _blocks(self, rows: Sequence[list[Tensor]], held: Collection[int]) -> Iterator[tuple[TensorPart, int, Tensor]]:
        """Some values of all rows in float64, ``[rows, values]``: of which part, and where in the piece they begin."""
        wide, at = torch.empty(len(rows), BLOCK, dtype=torch.float64), 0
        for p, part in enumerate(self._piece):
            width = len(rows[0][p])
            for start in range(0, width if part.group in held else 0, BLOCK):
                stop = min(start + BLOCK, width)
                block = wide[:, : stop - start]
                for row, values in zip(block, rows, strict=True):
                    row.copy_(values[p][start:stop])
                yield part, at + start, block
            at += width

    def multiply(self, sums: WayProducts, whole: Collection[int], together: bool) -> None:
        """Add the products of neighbours; of the groups that lie `whole` in this piece the units too."""
        home = {part.group for part in self._piece}
        first, last = self._read(0), self._read(len(self._states) - 1)
        units = torch.zeros(sum(map(len, first)) if whole else 0, dtype=torch.float64)
        start = np.zeros_like(sums.start)
        for part, _, block in self._blocks([first], home):
            start[part.group] += float(block.square().sum())
        self._check(start, [0])
        sums.start[...] += start
        before, previous = first, first
        for here in self._batches():
            rows = [last if t == len(self._states) - 1 else self._read(t) for t in here]
            found = self._products([first, last, before, previous, *rows], home, len(start))
            self._check(found[0], here)
            at = slice(here.start, here.stop)
            for into, values in zip((sums.steps, sums.successive, sums.along, sums.behind), found, strict=True):
                into[:, at] += values
            if whole:
                steps = found[0].sum(axis=0, keepdims=True) if together else found[0]
                self._unite(units, [previous, *rows], steps, whole, together)
            before, previous = [before, previous, *rows][-2:]
        self._square(units, sums.units, whole, together)

    def _products(self, rows: Sequence[list[Tensor]], home: Collection[int], groups: int) -> Floats:
        """``[4, G, states]`` of the states from the fifth row on, in the order of `WayProducts`; the rows before are the first state,
        the last, and the two before these."""
        found = np.zeros((4, groups, len(rows) - 4))
        places, moves = np.empty((len(rows) - 1, BLOCK)), np.empty((len(rows) - 3, BLOCK))
        for part, _, block in self._blocks(rows, home):
            values = block.numpy()
            # by numpy: torch would wake all its threads for each of these small differences, which cost more than they save
            seen = np.subtract(values[1:], values[0], out=places[:, : values.shape[1]])  # from the first state
            steps = np.subtract(seen[2:], seen[1:-1], out=moves[:, : values.shape[1]])
            now, group = steps[1:], found[:, part.group]
            group[0] += np.vecdot(now, now)
            group[1] += np.vecdot(now, steps[:-1])
            group[2] += now @ seen[0]
            group[3] += np.vecdot(now, seen[2:-1])
        return found

    def add_units(self, sums: WayProducts, together: bool, groups: Collection[int]) -> None:
        """Read the piece again, and add the steps divided by their lengths, which are known by now."""
        steps = sums.steps.sum(axis=0, keepdims=True) if together else sums.steps
        previous = self._read(0)
        units = torch.zeros(sum(map(len, previous)), dtype=torch.float64)
        for here in self._batches():
            rows = [previous, *(self._read(t) for t in here)]
            self._unite(units, rows, steps[:, here.start : here.stop], groups, together)
            previous = rows[-1]
        self._square(units, sums.units, groups, together)

    def _unite(self, units: Tensor, rows: Sequence[list[Tensor]], steps: Floats, groups: Collection[int], together: bool) -> None:
        """Add ``Σ_t (θ_t − θ_{t−1}) / |d_t|`` of the rows, of which the first is the state before; steps of length 0 count nothing."""
        inverse = np.zeros((len(steps), steps.shape[1] + 2))
        inverse[:, 1:-1] = np.nan_to_num(_ratio(np.ones_like(steps), np.sqrt(steps)))
        weights = torch.from_numpy(inverse[:, :-1] - inverse[:, 1:])
        for part, at, block in self._blocks(rows, groups):
            units[at : at + block.shape[1]].addmv_(block.T, weights[0 if together else part.group])

    def _square(self, units: Tensor, into: Floats, groups: Collection[int], together: bool) -> None:
        at = 0
        for part in self._piece:
            width = part.size * (2 if self._states[0].specs[part.name].dtype.startswith("complex") else 1)
            if part.group in groups:
                into[0 if together else part.group] += float(units[at : at + width].square().sum())
            at += width

    def _check(self, squares: Floats, states: Sequence[int]) -> None:
        """Whether the states hold finite values, by sums of squares that would not be finite then."""
        if np.isfinite(squares).all():
            return
        for t in states:
            if not all(bool(torch.isfinite(values).all()) for values in self._read(t)):
                raise GeometryError(
                    f"{self._states[t].label} holds values that are not finite, so that its way has no length. Leave it out, and others "
                    "like it: ts.Trajectory.from_states([…])"
                )


@dataclass(frozen=True)
class NearPath:
    """Where on a path each of some states is nearest to it, ``[T]``: α, and how far it is from there; nan where that is not known."""

    alpha: Floats
    distance: Floats


SPAN = (-0.2, 1.2)
"""Of α: where the nearest place of a curve is looked for."""


def nearest_on_path(products: Floats, knots: Sequence[int], at: Floats) -> NearPath:
    """Where on the polynomial path through some of the states each state is nearest to it.

    The squared distance is a polynomial in α of twice the path's degree. On a straight line its one minimum is the share of the way,
    wherever that is; on a curve the least value counts, of the roots of its derivative within `SPAN` and the ends, so that
    it is the nearest place of all there.

    Args:
        products: ``[T, T]``, ``⟨θ_s − θ_c, θ_t − θ_c⟩`` for any c.
        knots: which of the states are the path's knots. A knot is nearest to itself.
        at: where the knots stand.
    """
    count = len(products)
    alpha, distance = np.full(count, np.nan), np.full(count, np.nan)
    basis = [_lagrange(at, i) for i in range(len(at))]
    with np.errstate(invalid="ignore", over="ignore"):  # of states that are not finite
        square = _total(products[a, b] * basis[i] * basis[j] for i, a in enumerate(knots) for j, b in enumerate(knots))
        for t in range(count):
            if t in knots:
                alpha[t], distance[t] = at[list(knots).index(t)], 0.0
                continue
            away = square - 2 * _total(products[a, t] * basis[i] for i, a in enumerate(knots)) + products[t, t]
            if not np.isfinite(away.coef).all():
                continue
            alpha[t] = _lowest(away, straight=len(at) == 2)
            distance[t] = np.sqrt(max(float(away(alpha[t])), 0.0))
    return NearPath(alpha, distance)


def _lowest(away: Polynomial, *, straight: bool) -> float:
    """Where a squared distance is least; nan for a line of length 0."""
    if straight:
        bends = float(away.coef[2]) if len(away.coef) > 2 else 0.0
        return -float(away.coef[1]) / (2 * bends) if bends > 0 else np.nan
    roots = np.atleast_1d(away.deriv().trim().roots())
    # a double root has imaginary parts by rounding; what is tried too much does no harm
    inside = roots.real[(np.abs(roots.imag) < 1e-3) & (roots.real > SPAN[0]) & (roots.real < SPAN[1])]
    tried = np.concatenate([inside, SPAN])
    return float(tried[np.argmin(away(tried))])


def _lagrange(at: Floats, i: int) -> Polynomial:
    """The i-th of Lagrange's basis polynomials."""
    others = np.delete(at, i)
    return Polynomial(Polynomial.fromroots(others).coef / np.prod(at[i] - others))


def _total(parts: Iterable[Polynomial]) -> Polynomial:
    return sum(parts, Polynomial([0.0]))
