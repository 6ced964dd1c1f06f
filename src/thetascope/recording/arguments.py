"""What `record` may be given, and which models can be recorded."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real

import torch
from torch import Tensor, nn

from thetascope.errors import RecordingError
from thetascope.state import named_tensors, unwrapped


def checked_model(model: object) -> nn.Module:
    """The model inside its wrappers.

    Raises:
        RecordingError: it is none, or of a kind that cannot be recorded.
    """
    if not isinstance(model, nn.Module):
        raise RecordingError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise RecordingError("a TorchScript model cannot be recorded; record the nn.Module that it was made from")
    return unwrapped(model)


def check_tensors(model: nn.Module) -> None:
    """Whether all tensors have values that a file can hold.

    Raises:
        RecordingError: some have not; all are named.
    """
    odd = {name: _oddity(tensor) for name, tensor, _ in named_tensors(model)}
    named = ", ".join(f'"{name}" ({oddity})' for name, oddity in odd.items() if oddity)
    if named:
        raise RecordingError(f"states hold dense tensors with values. Got {named} instead; convert these, or record another model")


def _oddity(tensor: Tensor) -> str:
    """Why no file holds this tensor's values; empty where one does."""
    if tensor.is_meta:
        return "on the meta device"
    return "quantised" if tensor.is_quantized else "" if tensor.layout == torch.strided else str(tensor.layout)


def checked_limit(max_states: int | None) -> int | None:
    """How many states are kept at most."""
    if max_states is not None and max_states < 2:
        raise RecordingError(f"max_states must be at least 2 (the first and the last state). Got {max_states} instead.")
    return max_states


def checked_step(step: object, default: int) -> int:
    """The step, or the default where it is None."""
    if step is None:
        return default
    if isinstance(step, bool) or not _is_whole(step) or not 0 <= int(step) < 2**63:  # type: ignore[call-overload]
        raise RecordingError(f"step must be a whole number of at least 0. Got {step!r} instead.")
    return int(step)  # type: ignore[call-overload, no-any-return]


def checked_epoch(epoch: object) -> float | None:
    """The epoch as a number."""
    if epoch is None:
        return None
    if not _is_number(epoch) or not abs(float(epoch)) < float("inf"):  # type: ignore[arg-type]
        raise RecordingError(f"epoch must be a number or None. Got {epoch!r} instead.")
    return float(epoch)  # type: ignore[arg-type]


def checked_metrics(metrics: Mapping[str, float] | None) -> dict[str, float]:
    """The metrics as numbers."""
    numbers = {str(name): _number(name, value) for name, value in (metrics or {}).items()}
    for name in numbers:
        if not name.isprintable():
            raise RecordingError(f"a metric's name must be printable text. Got {name!r} instead.")
    return numbers


def _number(name: str, value: object) -> float:
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        return float(value.item())
    if _is_number(value):
        return float(value)  # type: ignore[arg-type]
    raise RecordingError(f'metric "{name}" must be one number. Got {value!r} instead.')


def _is_whole(value: object) -> bool:
    """Whether `value` equals an int: numpy's and torch's numbers may."""
    try:
        return bool(int(value) == value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):  # no number, nan, infinity
        return False


def _is_number(value: object) -> bool:
    """Python's and numpy's real numbers; bool is none."""
    return isinstance(value, Real) and not isinstance(value, bool)
