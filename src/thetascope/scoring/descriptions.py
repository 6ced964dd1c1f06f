"""Names for losses, steps and models by which a stored result knows them again."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from thetascope.state import digest_of


def described(measure: object) -> str:
    """A name that is equal for equal functions, across processes: what it is called, what it does, what it has bound."""
    if isinstance(measure, str):
        return measure
    named = measure
    while isinstance(named, functools.partial):
        named = named.func
    name = f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', type(named).__qualname__)}"
    return f"{name} ({_short_hash(_content(measure))})"


def described_model(model: nn.Module) -> str:
    """The architecture as torch prints it, with the classes' full names."""
    classes = sorted({f"{type(m).__module__}.{type(m).__qualname__}" for m in model.modules()})
    return f"{type(model).__qualname__} ({_short_hash(f'{model!r}{classes}')})"


def _short_hash(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _content(measure: Any) -> str:
    """The source of a function and the values that it has bound: options, defaults, what its closure holds."""
    if isinstance(measure, functools.partial):
        return f"{_content(measure.func)}{_bound([measure.args, measure.keywords])}"
    if isinstance(measure, nn.Module):
        return _bound(measure)
    code = getattr(measure, "__code__", None)
    if code is None:
        return f"{getattr(measure, '__qualname__', '')}{_bound(getattr(measure, '__dict__', {}))}{type(measure).__qualname__}"
    try:
        source = inspect.getsource(measure)
    except (OSError, TypeError):  # typed at a prompt
        source = f"{code.co_code.hex()}{code.co_names}{[c for c in code.co_consts if isinstance(c, str | int | float | tuple)]}"
    defaults, keyword_defaults = getattr(measure, "__defaults__", None), getattr(measure, "__kwdefaults__", None)
    cells = [cell.cell_contents for cell in getattr(measure, "__closure__", None) or () if _is_filled(cell)]
    return f"{source}{_bound([defaults, keyword_defaults, cells])}"


def _bound(value: Any) -> str:
    """A bound value as text; an object that shows no plain value counts by its class."""
    if isinstance(value, Tensor):
        return digest_of({"": value})
    if isinstance(value, Mapping):
        return repr([(str(key), _bound(part)) for key, part in value.items() if not str(key).startswith("_")])
    if isinstance(value, list | tuple):
        return repr([_bound(part) for part in value])
    if isinstance(value, nn.Module):  # options and class weights; trained parameters are no part of what a loss is
        options = [[o for o in vars(m).items() if isinstance(o[1], str | int | float) and o[0] != "training"] for m in value.modules()]
        return repr([described_model(value), options, [_bound(b) for b in value.buffers()]])
    return (
        repr(value) if isinstance(value, str | int | float | complex | None) else getattr(value, "__qualname__", type(value).__qualname__)
    )


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True
