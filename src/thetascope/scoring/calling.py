"""Calling models whose batches are mappings, as those of transformers are."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from thetascope.errors import ObjectiveError
from thetascope.scoring.pytrees import shapes_of


def called(model: nn.Module, batch: Any, without: Collection[str] = ()) -> Any:
    """What the model gives for a batch of its keyword arguments.

    Keys that its forward does not name are left out, as transformers' Trainer does; no cache is asked for, which would only take memory.

    Args:
        model: any module; of one of peft's the base model's forward counts.
        batch: a mapping.
        without: keys to leave out besides.

    Raises:
        ObjectiveError: the batch is no mapping.
    """
    if not isinstance(batch, Mapping):
        raise ObjectiveError(f"batches must be mappings of the model's keyword arguments. Got {shapes_of(batch)} instead.")
    named, takes_any = _named(model)
    given = {key: value for key, value in batch.items() if key not in without and (key in named or (takes_any and not named))}
    if "use_cache" in named:
        given.setdefault("use_cache", False)
    return model(**given)


def _named(model: nn.Module) -> tuple[set[str], bool]:
    """The arguments that forward names, and whether it takes any others."""
    find_base = getattr(model, "get_base_model", None)
    forward = (find_base() if callable(find_base) else model).forward
    parameters = inspect.signature(forward).parameters.values()
    some = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return some, any(p.kind is p.VAR_KEYWORD for p in parameters)


def decodes(model: nn.Module) -> bool:
    """Whether the model has an encoder and a decoder, whose input is made of the labels."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def part(outputs: Any, name: str, place: int) -> Any:
    """A part of what a model gave: by name, or by its place in a tuple; None where it has none."""
    if isinstance(outputs, Mapping):
        return outputs.get(name)
    if isinstance(outputs, tuple) and not hasattr(outputs, name):
        return outputs[place] if len(outputs) > place else None
    return getattr(outputs, name, None)


def logits_of(outputs: Any) -> Tensor:
    """The logits in what a model gave without a loss.

    Raises:
        ObjectiveError: there are none.
    """
    found = outputs if isinstance(outputs, Tensor) else part(outputs, "logits", 0)
    if isinstance(outputs, tuple) and isinstance(found, Tensor) and not found.ndim:
        found = outputs[1]  # behind the loss, of a model that was given labels
    if not isinstance(found, Tensor):
        raise ObjectiveError(
            f"the model gave no logits but a {type(outputs).__name__}; write a step of your own for it (Objective.from_step)"
        )
    return found


def labels_of(batch: Mapping[str, Any]) -> Tensor:
    """The labels in a batch.

    Raises:
        ObjectiveError: there are none.
    """
    found = batch.get("labels", batch.get("label")) if isinstance(batch, Mapping) else None
    if not isinstance(found, Tensor):
        raise ObjectiveError(f'batches must be mappings that hold "labels". Got {shapes_of(batch)} instead.')
    return found
