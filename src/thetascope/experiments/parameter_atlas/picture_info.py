"""What the picture of a parameter atlas shows: each parameter's impact, distance and pattern, its layers and their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thetascope.arrays import Floats
from thetascope.drawing.legends import told_apart
from thetascope.drawing.scales import Scale, text_of
from thetascope.drawing.style import Bools, Ints, check_holds, quantity_label, title_of
from thetascope.errors import ResultError
from thetascope.experiments.parameter_atlas.tensor_images import LayerImage, picture_of
from thetascope.results.status import ESTIMATED, MISSING, NOT_FINITE

if TYPE_CHECKING:
    import xarray as xr

Tensors = dict[str, tuple[tuple[int, ...], int]]
"""By name the shape, and the place of the first value among the parameters."""
LOWEST = 0.05
"""This share of the impacts above 0 lies below the colours."""
FAINTEST = 1e-8
"""Of the highest impact: the colours reach no lower."""
NAME_LENGTH, TENSOR_LENGTH = 26, 36
"""Longer names of layers and of tensors are clipped."""
MOST = 12
"""So many layers are shown in one figure, those with the largest impacts."""
FEWEST = 3
"""A correlation needs so many parameters."""


@dataclass(frozen=True)
class AtlasLayer:
    """A layer, or one of its tensors: `members` are its places among the parameters."""

    name: str
    members: Ints
    tensors: tuple[str, ...]
    picture: LayerImage


@dataclass(frozen=True)
class AtlasInfo:
    """All that the picture shows, a value a parameter ``[P]``, curves ``[P, A]`` over rising `alphas`.

    Attributes:
        impact: the largest absolute change of the loss along the path; nan unless each point of it has a finite value.
        not_finite: some point was scored and has none.
        missing: some point was not scored.
        midpoint: where the middle state lies between the first, 0, and the last, 1; nan where unknown.
        patterns: names, "" where unknown.
        pattern_intervals: [low, high] of the share of each among all parameters at 95 %.
        pattern_names: all that there may be, in their order; empty where there was no middle state.
    """

    title: str
    notes: tuple[str, ...]
    loss_label: str
    labels: NDArray[np.str_]
    alphas: Floats
    curves: NDArray[np.floating[Any]]
    status: NDArray[np.int8]
    impact: Floats
    distance: Floats
    not_finite: Bools
    missing: Bools
    midpoint: Floats
    patterns: NDArray[np.str_]
    pattern_intervals: Mapping[str, Sequence[float]]
    pattern_names: tuple[str, ...]
    layers: tuple[AtlasLayer, ...]
    tensors: Tensors

    @cached_property
    def colors(self) -> Scale | None:
        """The colours of impacts by their logarithm, few of which lie below; None where none is above 0."""
        positive = self.impact[self.impact > 0]
        if not len(positive):
            return None
        high = float(positive.max())
        low = max(float(np.quantile(positive, LOWEST)), high * FAINTEST)
        return Scale(np.geomspace(low if low < high / 2 else high / 10, high, 3), log=True, even=True)

    @cached_property
    def short_names(self) -> dict[str, str]:
        """Of layers and tensors: clipped, yet told apart from the others."""
        layers = [layer.name for layer in self.layers]
        every = ((list(self.tensors), TENSOR_LENGTH), (layers, NAME_LENGTH))
        return {name: short for names, length in every for name, short in zip(names, told_apart(names, length), strict=True)}

    @property
    def impact_label(self) -> str:
        """What the axis of the impact is called."""
        return f"impact: largest |change| of {self.loss_label}"

    @property
    def everything(self) -> Ints:
        """The places of all parameters."""
        return np.arange(len(self.labels))

    @property
    def has_patterns(self) -> bool:
        """Whether any parameter has one."""
        return bool((self.patterns != "").any())

    def ranked(self, members: Ints) -> Ints:
        """Those of the members that have an impact, the largest first."""
        known = members[np.isfinite(self.impact[members])]
        return known[np.argsort(-self.impact[known], kind="stable")]

    @cached_property
    def prominent(self) -> list[AtlasLayer]:
        """The layers that are shown, in their order: those with the largest impacts where there are many."""
        reach = [self.impact[ranked[0]] if len(ranked := self.ranked(layer.members)) else -1.0 for layer in self.layers]
        return [self.layers[i] for i in np.sort(np.argsort(-np.asarray(reach), kind="stable")[:MOST])]

    def shares(self, members: Ints) -> dict[str, float]:
        """Of the patterns, among the members that have one; they sum to 1, or there are none."""
        own = self.patterns[members]
        own = own[own != ""]
        return {name: float((own == name).mean()) for name in self.pattern_names} if len(own) else {}

    @property
    def widest(self) -> float:
        """How far the 95 % interval of a pattern's share of all parameters reaches from it at most, 0 to 1; nan where it is not known."""
        shares = self.shares(self.everything)
        reach = [abs(end - shares[name]) for name, ends in self.pattern_intervals.items() if shares.get(name) for end in ends]
        return max(reach, default=float("nan"))

    def sized(self, layer: AtlasLayer) -> str:
        """The layer's short name, and how many parameters it has."""
        return f"{self.short_names[layer.name]} ({len(layer.members):,})"

    def pattern_rows(self, layers: Sequence[AtlasLayer]) -> tuple[list[str], list[dict[str, float]]]:
        """What rows are called, and the shares in each: of all parameters, where there are several layers, and of each layer."""
        rows = [(self.sized(layer), layer.members) for layer in layers]
        rows[:0] = [(f"all ({len(self.labels):,})", self.everything)] if len(layers) > 1 else []
        return [text for text, _ in rows], [self.shares(members) for _, members in rows]

    def named(self, name: str) -> AtlasLayer:
        """The layer of that name, or the tensor as a layer of its own.

        Raises:
            ResultError: there is neither.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        for layer in self.layers:
            if name in layer.tensors:
                return _layer(name, layer.name, {name: self.tensors[name]})
        raise ResultError(f'no layer or tensor "{name}" in this result; there are: {", ".join(layer.name for layer in self.layers)}')

    def short_label(self, i: int) -> str:
        """The label of parameter `i`, with the short name of its tensor."""
        tensor, label = self.tensor_of(i), str(self.labels[i])
        return self.short_names[tensor] + label[len(tensor) :]

    def tensor_of(self, i: int) -> str:
        """The tensor that parameter `i` is a value of."""
        return str(self.labels[i]).rpartition("[")[0] or str(self.labels[i])

    def place(self, label: str) -> int:
        """Of the parameter with that label.

        Raises:
            ResultError: there is none.
        """
        found = np.flatnonzero(self.labels == label)
        if not len(found):
            raise ResultError(f'no parameter "{label}" in this result; there are {len(self.labels):,}, such as "{self.labels[0]}"')
        return int(found[0])


def members_of(layers: Sequence[AtlasLayer]) -> Ints:
    """The places of all their parameters."""
    return np.concatenate([layer.members for layer in layers])


def info(data: xr.Dataset) -> AtlasInfo:
    """Gather what the picture shows; what is missing or not finite stays so.

    Raises:
        ResultError: the result is not finished, or its parameters are not all values of its tensors.
    """
    attrs = data.attrs
    check_holds(data, ("loss_change", "status", "impact", "distance", "layer"), "a parameter atlas")
    order = np.argsort(data["alpha"].values)
    rising = slice(None) if (np.diff(order) > 0).all() else order
    labels = data["parameter"].values.astype(str)
    status = data["status"].transpose("parameter", "alpha").values[:, rising]
    impact = np.asarray(data["impact"].values, np.float64)
    missing = (status == MISSING).any(axis=1)
    not_finite = (status == NOT_FINITE).any(axis=1) | (~np.isfinite(impact) & ~missing)
    patterns = data["pattern"].values.astype(str) if "pattern" in data else np.full(len(labels), "")
    tensors = _places(labels, attrs["tensors"])
    return AtlasInfo(
        title=title_of(attrs),
        notes=_notes(attrs, status, not_finite, missing & ~not_finite),
        loss_label=quantity_label("loss", str(attrs.get("loss_name", ""))),
        labels=labels,
        alphas=np.asarray(data["alpha"].values, np.float64)[order],
        curves=data["loss_change"].transpose("parameter", "alpha").values[:, rising],
        status=status,
        impact=np.where(missing | not_finite, np.nan, impact),
        distance=np.asarray(data["distance"].values, np.float64),
        not_finite=not_finite,
        missing=missing & ~not_finite,
        midpoint=np.asarray(data["midpoint"].values, np.float64) if "midpoint" in data else np.full(len(impact), np.nan),
        patterns=patterns,
        pattern_intervals=attrs.get("pattern_shares_interval", {}),
        pattern_names=tuple(dict.fromkeys([*attrs.get("pattern_shares", {}), *np.unique(patterns[patterns != ""]).tolist()])),
        layers=_layers(data["layer"].values.astype(str), tensors),
        tensors=tensors,
    )


def _places(labels: NDArray[np.str_], shapes: Any) -> Tensors:
    """The tensors in the order of their parameters, which must be all their values."""
    found, start = {}, 0
    for name, run in groupby(label.rpartition("[")[0] or label for label in labels.tolist()):
        count, shape = sum(1 for _ in run), tuple(map(int, shapes.get(name, ())))
        if name not in shapes or prod(shape) != count or name in found:
            expected = f"the {prod(shape):,} of shape {list(shape)}" if name in shapes else "none"
            raise ResultError(f'"{name}" has {count:,} parameters in a row, expected {expected}; an atlas holds whole tensors')
        found[name] = (shape, start)
        start += count
    return found


def _layers(owners: NDArray[np.str_], tensors: Tensors) -> tuple[AtlasLayer, ...]:
    """The layers in the order of their first parameters."""
    of_layer: dict[str, Tensors] = {}
    for name, (shape, start) in tensors.items():
        of_layer.setdefault(str(owners[start]), {})[name] = (shape, start)
    return tuple(_layer(name, name, own) for name, own in of_layer.items())


def _layer(name: str, owner: str, tensors: Tensors) -> AtlasLayer:
    members = np.concatenate([np.arange(start, start + prod(shape)) for shape, start in tensors.values()])
    return AtlasLayer(name, members, tuple(tensors), picture_of(owner, tensors))


def _notes(attrs: Any, status: NDArray[np.int8], not_finite: Bools, missing: Bools) -> tuple[str, ...]:
    """What a reader must know beside the picture."""
    told = [str(attrs["subtitle"])] if attrs.get("subtitle") else []
    if attrs.get("kind") and "path" not in "".join(told):
        told.append(f"{attrs['kind']} path")
    if "samples" not in "".join(told) and "samples_scored" in attrs:
        told.append(f"{attrs['samples_scored']:,} samples")
    if "final_loss" in attrs:
        told.append(f"loss of the final state {text_of(float(attrs['final_loss']))}")
    notes = ["; ".join(told)] if told else []
    estimated, error = float((status == ESTIMATED).mean()), attrs.get("table_error")
    if estimated > 0:
        part = "all" if estimated == 1 else "nearly all" if estimated > 0.999 else f"{100 * estimated:.3g} % of the"
        text = f"{part} values are read from tables or between scored places"
        if error:
            text += (
                f"; at {error['places']:,} of these places, of {error['parameters']:,} parameters, they were off by at most "
                f"{share_of(error)}; what is narrower than the way between scored places is not seen"
            )
        notes.append(text)
    for bad, what in ((not_finite, "a value that is not finite"), (missing, "values not scored")):
        if bad.any():
            notes.append(f"{bad.sum():,} of {len(bad):,} parameters have {what}; they are marked and take no part in what is reckoned")
    return tuple(notes)


def share_of(error: Any) -> str:
    """The largest error of a table in its unit."""
    largest, unit = float(error["largest"]), str(error.get("unit", ""))
    return f"{100 * largest:.2g} % of {unit.removeprefix('share of ')}" if unit.startswith("share of ") else f"{largest:.2g} {unit}".strip()


def correlation(impact: Floats, distance: Floats) -> float:
    """Spearman's rank correlation over the parameters that moved and have an impact; nan where that says nothing."""
    known = np.isfinite(impact) & np.isfinite(distance) & (distance > 0)
    if known.sum() < FEWEST or np.ptp(impact[known]) == 0 or np.ptp(distance[known]) == 0:
        return float("nan")
    return float(np.corrcoef(_ranks(impact[known]), _ranks(distance[known]))[0, 1])


def _ranks(values: Floats) -> Floats:
    """From 1; equal values share the mean of their ranks."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place], np.float64)
