"""Where each parameter of a layer stands in its picture: matrices by row and column, kernels as tiles, biases beside their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.scales import text_of
from thetascope.drawing.style import Ints

GAP, FINEST, WIDEST = 0.3, 1 / 120, 0.35
"""Between tiles: of a cell, or at least of the picture; at most of a tile."""
STRIP, APART, THINNEST = 0.03, 0.015, 0.06
"""Of the picture's longer side: how wide a strip of biases is, how far parts stand apart, how high a lying strip is."""
FEW, NARROW = 5, 0.7
"""So many numbers stand along an axis, about; fewer where the width is less than this of the height."""
Ticks = tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class ImageBlock:
    """One tensor in a picture: `index` ``[h, w]`` says which parameter a cell shows, −1 for none; cells end at the edges."""

    tensor: str
    shape: tuple[int, ...]
    index: Ints
    x: Floats
    y: Floats

    def moved(self, x: float, y: float) -> ImageBlock:
        """The same elsewhere."""
        return replace(self, x=self.x + x, y=self.y + y)

    def thinned(self, weight: Floats, rows: int, columns: int) -> ImageBlock:
        """At most so many rows and columns: of cells that fall together the one with the largest `weight` is kept."""
        down, across = (-(-size // most) for size, most in zip(self.index.shape, (rows, columns), strict=True))
        if down == across == 1:
            return self
        height, width = (-(-size // by) for size, by in zip(self.index.shape, (down, across), strict=True))
        padded = np.full((height * down, width * across), -1, np.int64)
        padded[: self.index.shape[0], : self.index.shape[1]] = self.index
        together = padded.reshape(height, down, width, across).swapaxes(1, 2).reshape(height, width, down * across)
        heavy = np.where(together < 0, -np.inf, weight[together])
        index = np.take_along_axis(together, heavy.argmax(axis=2)[..., None], axis=2)[..., 0]
        x, y = (np.append(edges[:-1:by], edges[-1]) for edges, by in ((self.x, across), (self.y, down)))
        return replace(self, index=index, x=x, y=y)


@dataclass(frozen=True)
class LayerImage:
    """All tensors of a layer in one plane, y downwards. `indexed`: whether ticks along x and y count a tensor's second and first index."""

    blocks: tuple[ImageBlock, ...]
    x_ticks: Ticks
    y_ticks: Ticks
    indexed: tuple[bool, bool]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height, in cells."""
        return max(block.x[-1] for block in self.blocks), max(block.y[-1] for block in self.blocks)


def picture_of(layer: str, tensors: Mapping[str, tuple[tuple[int, ...], int]]) -> LayerImage:
    """The picture of a layer's `tensors`, given by their shapes and the place of their first value among the parameters.

    Matrices of as many rows stand side by side, with vectors of that length as strips beside them; what fits to no other
    stands below.
    """
    names = {name: name.removeprefix(f"{layer}.") for name in tensors}
    matrices = {name: _tiles(name, *tensors[name]) for name in tensors if len(tensors[name][0]) > 1}
    rows: dict[tuple[int, int], list[str]] = {}
    for name in matrices:
        rows.setdefault((tensors[name][0][0], _tile(tensors[name][0])[0]), []).append(name)
    vectors = [name for name in tensors if name not in matrices]
    longest = max([block.x[-1] for block in matrices.values()] + [float(prod(tensors[name][0])) for name in vectors])
    bands: list[tuple[list[ImageBlock], Ticks, Ticks]] = []
    for (count, _), members in rows.items():
        strips = [name for name in vectors if tensors[name][0] == (count,)]
        vectors = [name for name in vectors if name not in strips]
        bands.append(_band([matrices[name] for name in members], [(name, tensors[name][1]) for name in strips], names))
    height = max(1.0, THINNEST * longest)
    bands += [_lying(name, *tensors[name], height) for name in vectors]
    return _stacked(bands, names, bool(matrices))


def _tile(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of what stands at one place of the first two indices."""
    rest = shape[2:]
    return (prod(rest[:-1]), rest[-1]) if rest else (1, 1)


def _gap(shape: Sequence[int]) -> float:
    """Between tiles: thin, yet wide enough to be seen in a large picture; 0 where it would be wide beside the tiles."""
    longest = max(part * size for part, size in zip(shape[:2], _tile(shape), strict=True))
    gap = max(GAP, FINEST * longest)
    return gap if gap <= WIDEST * max(_tile(shape)) else 0.0


def _tiles(name: str, shape: tuple[int, ...], start: int) -> ImageBlock:
    """The first index downwards, the second across, the others within a tile."""
    (height, width), (down, across), gap = _tile(shape), shape[:2], _gap(shape)
    gap_y, gap_x = int(height > 1 and gap > 0), int(width > 1 and gap > 0)
    padded = np.full((down, across, height + gap_y, width + gap_x), -1, np.int64)
    padded[:, :, :height, :width] = np.arange(start, start + prod(shape)).reshape(down, across, height, width)
    index = padded.swapaxes(1, 2).reshape(down * (height + gap_y), across * (width + gap_x))
    index = index[: len(index) - gap_y, : index.shape[1] - gap_x]
    return ImageBlock(name, shape, index, _edges(across, width, 1.0, gap_x * gap), _edges(down, height, 1.0, gap_y * gap))


def _edges(tiles: int, cells: int, cell: float, gap: float) -> Floats:
    """Of `tiles` times `cells` cells, with a gap between tiles."""
    gaps = [gap] if gap > 0 else []
    widths = ([cell] * cells + gaps) * tiles
    return np.concatenate([[0.0], np.cumsum(widths[: len(widths) - len(gaps)])])


def _band(matrices: list[ImageBlock], strips: list[tuple[str, int]], names: Mapping[str, str]) -> tuple[list[ImageBlock], Ticks, Ticks]:
    """Matrices of as many rows from left to right, then their strips: the blocks, and ticks along x and y."""
    first = matrices[0]
    count, (height, across) = first.shape[0], _tile(first.shape)
    gap_y, gap_x = (_gap(first.shape) if size > 1 else 0.0 for size in (height, across))
    longer = max(sum(block.x[-1] for block in matrices), first.y[-1])
    apart, width = max(GAP, APART * longer), max(1.0, STRIP * longer)
    blocks: list[ImageBlock] = []
    at = 0.0
    for block in matrices:
        blocks.append(block.moved(at, 0.0))
        at += block.x[-1] + apart
    for name, start in strips:
        index = np.full((count, 1 + int(gap_y > 0)), -1, np.int64)
        index[:, 0] = np.arange(start, start + count)
        cells = index.reshape(-1, 1)[: count * index.shape[1] - int(gap_y > 0)]
        block = ImageBlock(name, (count,), cells, np.array([0.0, width]), _edges(count, 1, float(height), gap_y))
        blocks.append(block.moved(at, 0.0))
        at += width + apart
    named = tuple((float(b.x[0] + b.x[-1]) / 2, names[b.tensor]) for b in blocks)
    narrow = at < NARROW * first.y[-1]
    room = (0.6 if narrow else 0.9) * first.x[-1] if strips else np.inf  # not below the names of the strips
    numbers = tuple(tick for tick in _numbers(first.shape[1], across, gap_x, 3 if narrow else FEW) if tick[0] <= room)
    x_ticks = named if len(matrices) > 1 else (*numbers, *named[1:])
    return blocks, x_ticks, _numbers(count, height, gap_y)


def _lying(name: str, shape: tuple[int, ...], start: int, height: float) -> tuple[list[ImageBlock], Ticks, Ticks]:
    count = prod(shape)
    block = ImageBlock(name, shape, np.arange(start, start + count)[None], np.arange(count + 1.0), np.array([0.0, height]))
    return [block], _numbers(count, 1, 0.0), ()


def _numbers(tiles: int, cells: int, gap: float, few: int = FEW) -> Ticks:
    """Some of the indices of an axis, at the middles of their tiles."""
    rough = max((tiles - 1) / few, 1.0)
    power = 10 ** int(np.floor(np.log10(rough)))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    return tuple((i * (cells + gap) + cells / 2, text_of(float(i))) for i in range(0, tiles, step))


def _stacked(bands: list[tuple[list[ImageBlock], Ticks, Ticks]], names: Mapping[str, str], matrices: bool) -> LayerImage:
    """Bands below one another; several are called by their tensors."""
    longest = max(block.x[-1] for blocks, _, _ in bands for block in blocks)
    apart, at = max(GAP, APART * longest), 0.0
    placed: list[ImageBlock] = []
    ticks: list[tuple[float, str]] = []
    for blocks, _, _ in bands:
        height = blocks[0].y[-1]
        placed += [block.moved(0.0, at) for block in blocks]
        called = [block for block in blocks if len(block.shape) > 1] or blocks
        ticks.append((at + height / 2, ", ".join(names[block.tensor] for block in called)))
        at += height + apart
    alone = len(bands) == 1 and matrices
    several = sum(len(block.shape) > 1 for block in bands[0][0]) > 1
    return LayerImage(tuple(placed), bands[0][1], bands[0][2] if alone else tuple(ticks), (matrices and not several, alone))
