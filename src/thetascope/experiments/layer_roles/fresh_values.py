"""Fresh values for a layer, as its own initialisation draws them, made from a seed without touching the model."""

from __future__ import annotations

import copy
import hashlib
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.weight_norm import WeightNorm

from thetascope.scoring.untouched import preserved_random_states, seed_all
from thetascope.state import ROOT_LAYER, Layer, ParameterSpace, State


@dataclass(frozen=True)
class FreshValues:
    """Draws the floating parameters of a layer anew, the same for the same (seed, draw, layer name).

    The layer's module is copied and its copy's ``reset_parameters`` called, under random states of its own. What
    that does not draw (there is none, it fails, it leaves a tensor out) is drawn from a normal distribution with
    the mean and the standard deviation of the tensor in `first`.
    """

    model: nn.Module
    space: ParameterSpace
    first: State
    seed: int

    def names(self, layer: Layer) -> tuple[str, ...]:
        """The tensors that are drawn: the floating parameters, a tied one in the layer that owns it."""
        return tuple(name for name in layer.parameters if self.space.tensors[name].floating)

    def draw(self, layer: Layer, draw: int) -> dict[str, Tensor]:
        """Draw number `draw` of `layer`, on the CPU."""
        made, _ = self._reset(layer, draw)
        return {name: made[name] if name in made else self._normal(layer, draw, name) for name in self.names(layer)}

    def drawn_normally(self, layer: Layer) -> dict[str, str]:
        """The tensors that ``reset_parameters`` does not draw, each with the reason."""
        made, reason = self._reset(layer, 0)
        return {name: reason for name in self.names(layer) if name not in made}

    def _reset(self, layer: Layer, draw: int) -> tuple[dict[str, Tensor], str]:
        """What ``reset_parameters`` draws, and why it does not draw the rest."""
        module = self.model.get_submodule("" if layer.name == ROOT_LAYER else layer.name)
        if not callable(getattr(module, "reset_parameters", None)):
            return {}, f"{layer.type} has no reset_parameters"
        prefix = "" if layer.name == ROOT_LAYER else f"{layer.name}."
        own = {name: name.removeprefix(prefix) for name in self.names(layer)}
        try:
            with preserved_random_states(), torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fresh = _reset_copy(module, tuple(own.values()), _seed(self.seed, draw, layer.name))
                found = {name: fresh.get_parameter(short).detach() for name, short in own.items()}
        except Exception as error:  # noqa: BLE001 - a user's own code may raise anything; the result says what it was
            return {}, f"reset_parameters failed ({type(error).__name__}: {error})"
        return {n: t for n, t in found.items() if t.shape == self.space.tensors[n].shape and not t.isnan().any()}, (
            "reset_parameters leaves it as it is"
        )

    def _normal(self, layer: Layer, draw: int, name: str) -> Tensor:
        values = self.first[name].cpu()
        wide = values.to(torch.complex128 if values.is_complex() else torch.float64)
        generator = torch.Generator().manual_seed(_seed(self.seed, draw, layer.name, name))
        unit = torch.randn(wide.shape, generator=generator, dtype=wide.dtype)
        return (wide.mean() + wide.std(correction=0) * unit).to(values.dtype)


def _seed(*parts: object) -> int:
    """A seed that is the same in every process, and another for any other parts."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8]) >> 1


def _reset_copy(module: nn.Module, own: tuple[str, ...], seed: int) -> nn.Module:
    """A copy of `module` after its ``reset_parameters``; those of its `own` parameters that were not drawn are NaN."""
    made = _copied(module)
    parametrized = {name: getattr(made, name).detach() for name in _parametrized(made)}
    for short in own:
        made.get_parameter(short).fill_(torch.nan)
    weights = _plain_weight_norm(made)
    lists = _plain_parametrizations(made, parametrized)
    seed_all(seed)
    made.reset_parameters()  # type: ignore[operator]
    for hook in weights:
        weight = made._parameters.pop(hook.name)
        assert weight is not None
        made.register_parameter(f"{hook.name}_g", nn.Parameter(torch.norm_except_dim(weight, 2, hook.dim)))
        made.register_parameter(f"{hook.name}_v", nn.Parameter(weight.detach()))
    if lists is not None:
        for name in parametrized:
            _set_originals(lists[name], getattr(made, name).detach())
        made._modules["parametrizations"] = lists
    return made


def _copied(module: nn.Module) -> nn.Module:
    """A deep copy on the CPU that shares no tensor with `module`, also where the old weight_norm left a computed one."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        for tensor in [*part._parameters.values(), *part._buffers.values(), *vars(part).values()]:
            if isinstance(tensor, Tensor):
                values = torch.zeros_like(tensor, device="cpu") if tensor.is_meta else tensor.detach().to("cpu", copy=True)
                memo[id(tensor)] = nn.Parameter(values, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else values
    return copy.deepcopy(module, memo)


def _plain_weight_norm(module: nn.Module) -> list[WeightNorm]:
    """Make the weights that the old weight_norm computes plain parameters; return its hooks."""
    hooks = {key: hook for key, hook in module._forward_pre_hooks.items() if isinstance(hook, WeightNorm)}
    for key, hook in hooks.items():
        hook.remove(module)
        del module._forward_pre_hooks[key]
    return list(hooks.values())


def _parametrized(module: nn.Module) -> list[str]:
    return list(module.parametrizations) if parametrize.is_parametrized(module) else []  # type: ignore[arg-type]


def _plain_parametrizations(module: nn.Module, values: dict[str, Tensor]) -> Any:
    """Make parametrised tensors plain parameters, NaN as yet; return what held them.

    torch's remove_parametrizations takes the property off the class, which the user's own module shares.
    """
    if not values:
        return None
    module.__class__ = parametrize.type_before_parametrizations(module)
    lists = module._modules.pop("parametrizations")
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(torch.full_like(value, torch.nan)))
    return lists


def _set_originals(originals: Any, value: Tensor) -> None:
    """Let a parametrised tensor be `value`; without a right inverse the original becomes it, as when it is registered."""
    if value.isnan().any():
        return
    if all(hasattr(part, "right_inverse") for part in originals):
        originals.right_inverse(value)
    else:
        originals.original.copy_(value)
