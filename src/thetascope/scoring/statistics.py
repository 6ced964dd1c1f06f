"""Buffers that follow from weights and data: which there are in a model, and their values at a point.

Running statistics of normalisation layers are estimated anew from calibration data: the cumulative average over whole batches, each of
which is normalised by its own statistics, as ``torch.optim.swa_utils.update_bn`` does (Izmailov et al. 2018, section 3.2), while all
other layers stay in evaluation mode. Norms of other libraries are known by what they do: two passes in training mode, from buffers of
zeros and of ones, tell whether a buffer becomes ``(1 − m) · before + m · s``, so that s, the batch's statistic, can be read off.

Spectral normalisation's vectors follow from the weight alone, by power iteration.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm, _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

from thetascope.errors import ObjectiveError
from thetascope.scoring.failures import StepFailedError, out_of_memory, problem_of
from thetascope.scoring.model import BoundModel
from thetascope.scoring.pytrees import cut, rows_of
from thetascope.scoring.untouched import seed_all

PROBE_ROWS = 16
"""So many rows show how a buffer changes in a pass in training mode."""

PLAIN = (_BatchNorm.forward, _InstanceNorm.forward, SyncBatchNorm.forward)
"""Whose momentum is the share of the new value; that of a forward pass of another's own is looked at."""

ITERATIONS, SETTLED = 1000, 1e-9
"""Power iteration ends where the norm changes by less than this share, or after so many steps."""


@dataclass(frozen=True)
class Spectral:
    """A weight that is divided by its largest singular value, and the buffers that hold the singular vectors."""

    weight: str
    left: str
    right: str
    dim: int

    def vectors(self, weight: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        """The leading singular vectors, by power iteration from the `left` one at hand."""
        matrix = weight.double().movedim(self.dim, 0).flatten(1)
        u = left.double()
        u = u if bool(u.any()) else torch.ones_like(u)
        before = torch.zeros((), dtype=torch.float64, device=u.device)
        for _ in range(ITERATIONS):
            v = nn.functional.normalize(matrix.T @ u, dim=0)
            product = matrix @ v
            u, norm = nn.functional.normalize(product, dim=0), product.norm()
            if bool((norm - before).abs() <= SETTLED * norm):
                break
            before = norm
        return u.to(weight.dtype), v.to(weight.dtype)


def spectral_of(model: BoundModel) -> list[Spectral]:
    """All that torch's two ways of spectral normalisation keep, where they come first in what is done to a weight."""
    found, space = [], model.space
    for name, module in model.model.named_modules():
        path = f"{name}." if name else ""
        if isinstance(module, _SpectralNorm) and name.endswith(".0") and hasattr(module, "_u"):
            original = f"{name.removesuffix('.0')}.original"
            found.append(Spectral(space.ties.get(original, original), f"{path}_u", f"{path}_v", module.dim))
        hooks = [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, SpectralNorm)]
        found += [Spectral(f"{path}{h.name}_orig", f"{path}{h.name}_u", f"{path}{h.name}_v", h.dim) for h in hooks]
    return [each for each in found if {each.weight, each.left, each.right} <= space.tensors.keys()]


@dataclass(frozen=True)
class Statistics:
    """The running statistics of a model.

    Attributes:
        norms: the names of torch's own normalisation layers that keep statistics.
        others: of other layers, the buffers that can be estimated, each with the share of the new value in an update.
        layers: the names of those layers.
        left: buffers that a pass in training mode changes in a way that is not understood: they stay as they are.
    """

    norms: tuple[str, ...] = ()
    others: Mapping[str, Tensor] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.norms or self.others)


def statistics_of(model: BoundModel, batch: Any) -> Statistics:
    """Find what keeps running statistics, but what the caller holds in evaluation mode while the model trains.

    Call it within the model's `running`; a batch is looked at where other libraries' layers may be.
    """
    modules = {name: module for name, module in model.model.named_modules() if name not in model.held_in_evaluation}
    norms = [name for name, m in modules.items() if isinstance(m, _NormBase) and m.track_running_stats and m.running_mean is not None]
    vectors = {name for each in spectral_of(model) for name in (each.left, each.right)}
    floating = {name for name in model.space.buffers if model.space.tensors[name].floating and name not in vectors}
    owned: dict[str, list[str]] = {}
    for buffer in sorted(floating):
        if (owner := buffer.rpartition(".")[0]) in modules:
            owned.setdefault(owner, []).append(buffer)
    unsure = {name: owned[name] for name in norms if type(modules[name]).forward not in PLAIN and name in owned}
    if unsure:  # with a momentum of 1 nothing is left of what was there, as with torch's own
        found = _probed(model, batch, norms, unsure, updates=1)
        replaced = {name for name, own in unsure.items() if all(float(found.others.get(each, torch.zeros(()))) > 1 - 1e-3 for each in own)}
        norms = [name for name in norms if name not in unsure or name in replaced]
    owned = {name: own for name, own in owned.items() if name not in norms}
    return _probed(model, batch, norms, owned) if owned else Statistics(tuple(norms))


def _probed(model: BoundModel, batch: Any, norms: Sequence[str], owned: Mapping[str, Sequence[str]], updates: int = 0) -> Statistics:
    """Whether the layers that own other floating buffers update them, and how, after so many updates before."""
    names = [name for own in owned.values() for name in own]
    present, few = model.tensors_of(model.present_state()), cut(batch, PROBE_ROWS)[0]
    updated = []
    for value in (0.0, 1.0):
        tensors = present | {name: torch.full_like(present[name], value) for name in names} | _counters(model, owned, updates)
        seed_all(0)
        try:
            with warnings.catch_warnings(), _training(model, norms, owned):
                warnings.simplefilter("ignore")
                model.evaluate(tensors, few, writable_buffers=True)
        except StepFailedError:
            return Statistics(tuple(norms), left=tuple(names))
        updated.append({name: tensors[name].double() for name in names})
    others, left = dict[str, Tensor](), list[str]()
    for name in names:
        zero, one = updated[0][name], updated[1][name]
        keeps = one - zero
        if not zero.any() and bool((keeps == 1).all()):
            continue  # a constant, which no pass changes
        kept = keeps.mean()
        is_one = bool(((keeps - kept).abs() <= 1e-4 + 1e-5 * zero.abs()).all())
        if is_one and -1e-6 < float(kept) < 1 - 1e-6:
            others[name] = (1 - kept).clamp(max=1.0)
        else:
            left.append(name)
    layers = [layer for layer, own in owned.items() if any(name in others for name in own)]
    return Statistics(tuple(norms), others, tuple(layers), tuple(left))


def _counters(model: BoundModel, layers: Iterable[str], updates: int = 0) -> dict[str, Tensor]:
    """What layers count their updates in, after so many: the share of one may hang on it."""
    owners, tensors = set(layers), model.space.tensors
    whole = [name for name in model.space.buffers if tensors[name].dtype.startswith("int") and not tensors[name].shape]
    names = [name for name in whole if name.rpartition(".")[0] in owners]
    return {name: torch.full_like(tensor, updates) for name, tensor in model.tensors_of(model.present_state(), names).items()}


@contextmanager
def _training(model: BoundModel, norms: Iterable[str], others: Iterable[str] = ()) -> Iterator[None]:
    """Some layers in training mode, whatever mode a step asks for; torch's norms average all their uses within it alike."""
    layers: list[Any] = [model.model.get_submodule(name) for name in dict.fromkeys([*norms, *others])]
    averaging: list[Any] = [model.model.get_submodule(name) for name in norms]
    before = [(layer.training, getattr(layer, "momentum", None)) for layer in layers]
    uses: Counter[nn.Module] = Counter()

    def averaged(layer: Any, _inputs: Any) -> None:
        uses[layer] += 1
        layer.momentum = 1 / uses[layer]  # the first use replaces what was there

    handles = [layer.register_forward_pre_hook(averaged) for layer in averaging]
    try:
        for layer in layers:
            layer.training = True
            layer.train = lambda mode=True, layer=layer: layer  # model.eval() within a step
        yield
    finally:
        for handle in handles:
            handle.remove()
        for layer, (training, momentum) in zip(layers, before, strict=True):
            layer.training = training
            del layer.train
            if layer in averaging:
                layer.momentum = momentum


def recalibrated(model: BoundModel, tensors: dict[str, Tensor], batches: Iterable[Any], statistics: Statistics) -> dict[str, Tensor]:
    """`tensors` with the running statistics estimated from `batches`. Call it within the model's `running`.

    Models without such layers come back unchanged.

    Raises:
        ObjectiveError: a batch is too small to have a variance, or memory runs out.
    """
    if not statistics:
        return tensors
    own = dict(tensors) | {name: tensors[name].clone() for name in model.space.buffers}
    sums = {name: torch.zeros_like(own[name], dtype=torch.float64) for name in statistics.others}
    counters = _counters(model, statistics.layers)
    seen = 0
    with _training(model, statistics.norms, statistics.layers):
        for batch in batches:
            seen += 1
            own |= {name: torch.zeros_like(own[name]) for name in sums} | {name: tensor.clone() for name, tensor in counters.items()}
            with explained(batch):
                model.evaluate(own, batch, writable_buffers=True)
            for name in sums:
                sums[name] += own[name].double() / statistics.others[name]
    own |= {name: tensors[name] for name in counters}
    return own | {name: (total / max(seen, 1)).to(own[name].dtype) for name, total in sums.items()}


class explained:
    """What fails on a calibration batch is an error that names it and says what to do."""

    def __init__(self, batch: Any) -> None:
        self._rows = rows_of(batch)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RuntimeError | MemoryError) and out_of_memory(error):
            raise ObjectiveError(
                f"memory ran out with a calibration batch of {self._rows} rows ({problem_of(error)}). Its size decides the statistics, "
                "so that it is not made smaller by itself: choose a smaller calibration_batch"
            ) from error
        if error is not None and "more than 1 value per channel" in str(error):
            raise ObjectiveError(
                f"no statistics can be estimated from a calibration batch of {self._rows} ({problem_of(error)}); choose a "
                "calibration_batch that leaves no such batch, or pass other calibration_data"
            ) from error
