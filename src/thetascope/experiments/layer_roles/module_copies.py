"""Copies of a module, of which one is initialised by its own ``reset_parameters``; the module itself stays as it is."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.weight_norm import WeightNorm


def reset_copy(module: nn.Module, own: tuple[str, ...], seed: int) -> nn.Module:
    """A copy of `module` after its ``reset_parameters``; those of its `own` parameters that were not drawn are NaN."""
    made = copied(module)
    parametrized = {name: getattr(made, name).detach() for name in _parametrized(made)}
    for short in own:
        made.get_parameter(short).fill_(torch.nan)
    weights = _plain_weight_norm(made)
    lists = _plain_parametrizations(made, parametrized)
    _seed_cpu(seed)
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


def _seed_cpu(seed: int) -> None:
    """Seed what draws on the CPU, where the copy is: torch's own manual_seed takes most of the time of resetting a small module."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the global one is what modules use
    torch.default_generator.manual_seed(seed)


def copied(module: nn.Module) -> nn.Module:
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
