"""Fresh values for a layer, drawn as the model was initialised, from a seed and without touching the model."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from thetascope.arrays import Floats
from thetascope.experiments.layer_roles.initialisation import Initialisation
from thetascope.experiments.layer_roles.module_copies import reset_copy
from thetascope.experiments.layer_roles.seeds import seed_of
from thetascope.geometry.directions import wide
from thetascope.scoring.untouched import preserved_random_states
from thetascope.state import ROOT_LAYER, Layer, ParameterSpace, State

INIT, RESET, MOMENTS, CONSTANT = "init", "reset_parameters", "first state's moments", "constant"
"""What a tensor is drawn from: the user's init, its module's own reset_parameters, a normal distribution with the mean and the standard
deviation of its first values, or nothing, because its first values are all the same."""

TRIALS = 100
"""So many draws by ``reset_parameters`` are compared with the first state."""
LEAST, MOST = 0.7, 1.4
"""The first state's spread, as a share of the draws' median, where they are of one distribution: a wrong one is off by 1.7 or more."""
RANGE = 0.99
"""So much of the draws' own range of spreads counts as compatible besides: few scalars scatter more."""
SMALL = 30
"""A tensor of fewer scalars is not judged by itself: it follows the largest of its module."""
LARGE, AGREE, FEW = 20_000, 0.05, 5
"""Of modules with more scalars so few draws are enough, where their spreads agree so well."""


@dataclass(frozen=True)
class DrawnFrom:
    """What a tensor is drawn from, and where that is the first state's moments why."""

    kind: str
    reason: str = ""


@dataclass(frozen=True)
class FreshValues:
    """Draws the floating parameters of a layer anew, the same for the same (seed, draw, layer name).

    What `init` does not set is put to its first values where these are all the same. Else the layer's module is copied and its copy's
    ``reset_parameters`` called, under random states of its own, if what that draws has the spread of the first values in the module's
    largest tensor and in each of at least `SMALL` scalars. What remains is drawn from a normal distribution with the mean and the standard
    deviation of the tensor in `first`.
    """

    model: nn.Module
    space: ParameterSpace
    first: State
    seed: int
    init: Initialisation | None = None
    _sources: dict[str, dict[str, DrawnFrom]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def names(self, layer: Layer) -> tuple[str, ...]:
        """The tensors that are drawn: the floating parameters, a tied one in the layer that owns it."""
        return tuple(name for name in layer.parameters if self.space.tensors[name].floating)

    def draw(self, layer: Layer, draw: int) -> dict[str, Tensor]:
        """Draw number `draw` of `layer`, on the CPU."""
        sources = self.sources(layer)
        kinds = {source.kind for source in sources.values()}
        set_by_init = self.init.draw(draw) if self.init is not None and INIT in kinds else {}
        reset = self._reset(layer, draw)[0] if RESET in kinds else {}
        drawn = {}
        for name, source in sources.items():
            made = set_by_init if source.kind == INIT else reset
            if source.kind == CONSTANT:
                drawn[name] = self.first[name].cpu().clone()
            elif source.kind == MOMENTS or name not in made:
                drawn[name] = self._normal(layer, draw, name)
            else:
                drawn[name] = made[name]
        return drawn

    def sources(self, layer: Layer) -> dict[str, DrawnFrom]:
        """What each tensor of `layer` is drawn from."""
        if layer.name not in self._sources:
            self._sources[layer.name] = self._chosen(layer)
        return self._sources[layer.name]

    def drawn_normally(self, layer: Layer) -> dict[str, str]:
        """The tensors that are drawn from the first state's moments, each with the reason."""
        return {name: source.reason for name, source in self.sources(layer).items() if source.kind == MOMENTS}

    def is_one(self, layer: Layer) -> bool:
        """Whether every draw of `layer` is the same, because nothing of it is random."""
        kinds = {source.kind for source in self.sources(layer).values()}
        if MOMENTS in kinds:
            return False
        return kinds <= {CONSTANT} or all(torch.equal(t, u) for t, u in zip(*(self.draw(layer, d).values() for d in (0, 1)), strict=True))

    def _chosen(self, layer: Layer) -> dict[str, DrawnFrom]:
        first = self.first.tensors(self.names(layer))
        by_init = set() if self.init is None else self.init.draw(0).keys() & first.keys()
        chosen = {
            name: DrawnFrom(INIT if name in by_init else CONSTANT)
            for name, values in first.items()
            if name in by_init or _is_constant(values)
        }
        rest = {name: values for name, values in first.items() if name not in chosen}
        reasons = self._reasons_against_reset(layer, rest) if rest else {}
        for name, values in rest.items():
            if name not in reasons:
                chosen[name] = DrawnFrom(RESET)
            else:  # a lone scalar has no spread
                chosen[name] = DrawnFrom(MOMENTS, reasons[name]) if values.numel() > 1 else DrawnFrom(CONSTANT)
        return {name: chosen[name] for name in first}

    def _reasons_against_reset(self, layer: Layer, first: dict[str, Tensor]) -> dict[str, str]:
        """The tensors that ``reset_parameters`` does not draw as they were initialised, each with the reason."""
        made, reason = self._reset(layer, 0)
        reasons = {name: reason for name in first if name not in made}
        judged = {name: values for name, values in first.items() if name not in reasons}
        if not judged:
            return reasons
        largest = max(judged, key=lambda name: judged[name].numel())
        judged = {name: values for name, values in judged.items() if name == largest or values.numel() >= SMALL}
        drawn = self._spreads(layer, list(judged))
        for place, (name, values) in enumerate(judged.items()):
            spread, draws = _spread(values), drawn[:, place]
            if not _are_compatible(spread, draws, lone=values.numel() == 1):
                told = f"reset_parameters draws {name} with a spread of {np.median(draws):.2g}, the first values have {spread:.2g}"
                if name == largest:
                    return {each: reasons.get(each, told) for each in first}
                reasons[name] = told
        return reasons

    def _spreads(self, layer: Layer, names: list[str]) -> Floats:
        """The spread of each tensor in each draw by ``reset_parameters``, ``[draws, tensors]``."""
        spreads, size = [], sum(self.space.tensors[name].size for name in names)
        with preserved_random_states():
            for trial in range(TRIALS):
                made, _ = self._reset_within(layer, trial)
                spreads.append([_spread(made[name]) if name in made else np.nan for name in names])
                if trial + 1 == FEW and size > LARGE and (np.ptp(spreads, axis=0) <= AGREE * np.mean(spreads, axis=0)).all():
                    break
        return np.array(spreads)

    def _reset(self, layer: Layer, draw: int) -> tuple[dict[str, Tensor], str]:
        """What ``reset_parameters`` draws, and why it does not draw the rest."""
        with preserved_random_states():
            return self._reset_within(layer, draw)

    def _reset_within(self, layer: Layer, draw: int) -> tuple[dict[str, Tensor], str]:
        """The same, within preserved random states."""
        module = self.model.get_submodule("" if layer.name == ROOT_LAYER else layer.name)
        if not callable(getattr(module, "reset_parameters", None)):
            return {}, f"{layer.type} has no reset_parameters"
        prefix = "" if layer.name == ROOT_LAYER else f"{layer.name}."
        own = {name: name.removeprefix(prefix) for name in self.names(layer)}
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fresh = reset_copy(module, tuple(own.values()), seed_of(self.seed, draw, layer.name))
                found = {name: fresh.get_parameter(short).detach() for name, short in own.items()}
        except Exception as error:  # noqa: BLE001 - a user's own code may raise anything; the result says what it was
            return {}, f"reset_parameters failed ({type(error).__name__}: {error})"
        return {n: t for n, t in found.items() if t.shape == self.space.tensors[n].shape and not t.isnan().any()}, (
            "reset_parameters leaves it as it is"
        )

    def _normal(self, layer: Layer, draw: int, name: str) -> Tensor:
        values = self.first[name].cpu()
        exact = wide(values)
        generator = torch.Generator().manual_seed(seed_of(self.seed, draw, layer.name, name))
        unit = torch.randn(exact.shape, generator=generator, dtype=exact.dtype)
        return (exact.mean() + exact.std(correction=0) * unit).to(values.dtype)


def _is_constant(values: Tensor) -> bool:
    """Whether all values are the same; of a lone scalar, whether it is 0 or 1, which nothing draws."""
    if values.numel() == 0:
        return True
    value = values.flatten()[0]
    return bool((values == value).all()) and (values.numel() > 1 or value.item() in (0, 1))


def _spread(values: Tensor) -> float:
    """The standard deviation; of a lone scalar its size."""
    exact = wide(values.cpu())
    return float(exact.abs()) if exact.numel() == 1 else float(exact.std(correction=0))


def _are_compatible(spread: float, draws: Floats, *, lone: bool) -> bool:
    """Whether the spread of first values may be that of a draw; nothing speaks against it where it is not finite."""
    if not np.isfinite(spread):
        return True
    if not np.isfinite(draws).all():
        return False
    if lone:
        return bool(draws.min() <= spread <= draws.max())
    low, middle, high = np.quantile(draws, [(1 - RANGE) / 2, 0.5, (1 + RANGE) / 2])
    return bool(min(LEAST * middle, low) <= spread <= max(MOST * middle, high))
