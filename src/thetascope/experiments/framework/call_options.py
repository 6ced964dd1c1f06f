"""The options of an experiment, read off its signature; how each is typed on a command line; the key that a call is known by.

Loads neither torch nor numpy, so that the command line can say at once what there is.
"""

from __future__ import annotations

import builtins
import hashlib
import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin
from urllib.parse import quote

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

HOW_IT_RUNS = ("out", "engine", "progress")
"""Arguments that decide how and where a call runs, not what it finds: no key counts them."""

LONGEST = 32
"""Longer texts stand in a key by their hash."""

OutPath = str | Path | None


@dataclass(frozen=True)
class Typed:
    """How an option is typed on a command line.

    Attributes:
        type: what the parser makes of the words.
        read: the option's value from that and the trajectory of the run.
        help: what a command's help says of it, where the docstring speaks of what only Python can give.
        shown: what a command line shows for the option's value.
    """

    type: Any
    read: Callable[[Any, Any], Any] = lambda given, trajectory: given
    help: str = ""
    shown: Callable[[Any], Any] = lambda value: value


def _number_or_values(given: Sequence[float], _: object) -> Any:
    """One whole number above 1 says how many; else they are the values."""
    return int(given[0]) if len(given) == 1 and float(given[0]).is_integer() and given[0] > 1 else list(given)


def _number_or_labels(given: Sequence[str], _: object) -> Any:
    return int(given[0]) if len(given) == 1 and given[0].isdigit() else list(given)


def _range_or_number(given: Sequence[float], _: object) -> Any:
    """One number says how many values; three are the low end, the high end and how many."""
    return int(given[0]) if len(given) == 1 and float(given[0]).is_integer() else (*given[:2], *map(int, given[2:]))


def _none_by_name(given: str, _: object) -> str | None:
    return None if given == "none" else given


def _word_or_names(given: Sequence[str], trajectory: Any) -> Any:
    """One of the words that choose layers, unless a layer is called so; else they are names or globs."""
    if len(given) != 1 or given[0] not in LAYER_WORDS:
        return list(given)
    from thetascope.state.names import holds_layer

    called_so = trajectory is not None and holds_layer(trajectory[0].specs, given[0])
    return list(given) if called_so else given[0]


LAYER_WORDS = ("blocks", "trainable")
"""What stands for layers besides their names. No Literals: a key says ``layers=blocks``, for the word alone does not tell its option."""

LAYERS = "Names or globs of layers, or one of the words blocks and trainable (default: all)."
LABELS = 'Labels such as "conv1.weight[0,0,1,1]", or how many to draw in each layer (default 4).'

Alphas = Annotated["int | ArrayLike", Typed(list[float], _number_or_values)]
Layers = Annotated[str | Sequence[str] | Mapping[str, Sequence[str]] | None, Typed(list[str], _word_or_names, LAYERS)]
Parameters = Annotated[Sequence[str] | Mapping[str, Sequence[Sequence[int]]] | int | None, Typed(list[str], _number_or_labels, LABELS)]
AxisOrCount = Annotated[int | tuple[float, float, int], Typed(list[float], _range_or_number)]
Kind = Literal["linear", "quadratic"] | int
Normalize = Annotated[Literal["filter", "layer"] | None, Typed(Literal["filter", "layer", "none"], _none_by_name)]
States = Annotated[int | Sequence[int] | None, Typed(list[int], _number_or_values)]
Sizes = Annotated["Sequence[int] | ArrayLike | None", Typed(list[int])]


@dataclass(frozen=True)
class Option:
    """An option of an experiment: its default, what may be given, what the docstring says of it."""

    name: str
    default: Any
    annotation: Any
    help: str

    @property
    def typed(self) -> Typed:
        """How it is typed on a command line."""
        if get_origin(self.annotation) is Annotated:
            return next(part for part in get_args(self.annotation) if isinstance(part, Typed))
        return Typed(self.annotation)

    @property
    def choices(self) -> frozenset[str]:
        """The words of its Literals, which say by themselves which option they are of."""
        return frozenset(_choices(self.annotation))


class _Names(dict[str, Any]):
    """What a signature's annotations may name; what is imported for type checkers only counts as any object."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, object)


@cache
def options_of(function: Callable[..., Any]) -> dict[str, Option]:
    """The options of an experiment, in the order of its signature: all arguments with a default but `HOW_IT_RUNS`."""
    told = argument_texts(function)
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is not inspect.Parameter.empty and name not in HOW_IT_RUNS:
            annotation = parameter.annotation
            if isinstance(annotation, str):
                annotation = eval(annotation, {}, _Names(vars(inspect.getmodule(function))))
            found[name] = Option(name, parameter.default, annotation, told.get(name, ""))
    return found


def subjects_of(function: Callable[..., Any]) -> list[str]:
    """The arguments without a default: what the experiment is about."""
    parameters = inspect.signature(function).parameters.values()
    return [parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty]


def argument_texts(function: Callable[..., Any]) -> dict[str, str]:
    """What the docstring says of each argument."""
    from docstring_parser import parse  # comes with cyclopts

    return {part.arg_name: " ".join((part.description or "").replace("`", "").split()) for part in parse(function.__doc__ or "").params}


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [word for word in get_args(annotation) if isinstance(word, str)]
    return [word for part in get_args(annotation) if not isinstance(part, Typed | str) for word in _choices(part)]


def changed_options(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the given options that differ from their defaults, in the signature's order."""
    options = options_of(function)
    return {n: given[n] for n, option in options.items() if n in given and canonical(given[n]) != canonical(option.default)}


def key_of(function: Callable[..., Any], given: Mapping[str, Any]) -> str:
    """What a call is known by: the experiment's name and the options that differ from their defaults.

    A word of a Literal stands alone (``interpolate-quadratic-layer``), anything else as ``option=value``, and what is no short
    scalar by the first 8 hex digits of its SHA-256.
    """
    parts = [function.__name__]
    for name, value in changed_options(function, given).items():
        parts.append(value if isinstance(value, str) and value in options_of(function)[name].choices else key_part(name, value))
    return "-".join(_escaped(part) for part in parts)


def key_part(name: str, value: Any) -> str:
    """``option=value``, for a key."""
    plain = canonical(value)
    short = plain is None or isinstance(plain, bool | int | float) or (isinstance(plain, str) and len(plain) <= LONGEST)
    return f"{name}={plain if short else digest_of_value(value)}"


def digest_of_value(value: Any) -> str:
    """The first 8 hex digits of the hash of a value, the same for lists, tuples and arrays of the same numbers."""
    return hashlib.sha256(json.dumps(canonical(value), sort_keys=True).encode()).hexdigest()[:8]


def canonical(value: Any) -> Any:  # noqa: PLR0911 - one kind of value a line
    """A value as JSON holds it: numbers as whole ones where they are, arrays as lists, states by their digest."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Real):
        return int(value) if isinstance(value, Integral) or float(value).is_integer() else float(value)  # type: ignore[call-overload]
    if callable(getattr(value, "digest", None)):
        return {"state": value.digest()}
    if isinstance(value, Mapping):
        if value and all(type(part).__module__.startswith("torch") for part in value.values()):
            from thetascope.state import digest_of

            return {"state": digest_of(value)}
        return [[str(name), canonical(part)] for name, part in value.items()]
    if hasattr(value, "tolist"):
        return canonical(value.tolist())
    if isinstance(value, Sequence):
        return [canonical(part) for part in value]
    return getattr(value, "__qualname__", type(value).__qualname__)


def _escaped(part: str) -> str:
    return quote(part, safe="._=-").replace("~", "%7E")
