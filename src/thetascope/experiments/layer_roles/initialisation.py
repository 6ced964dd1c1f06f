"""The initialisation that a user passes: a function that makes a new model, or one that initialises modules in place."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from thetascope.errors import StateError, UsageError
from thetascope.experiments.layer_roles.module_copies import copied
from thetascope.experiments.layer_roles.seeds import seed_of
from thetascope.scoring.model import same_values
from thetascope.scoring.untouched import seed_all, untouched
from thetascope.state import ParameterSpace, digest_of, named_tensors, unwrapped

HELD_BYTES = 2**28
"""So much of what was drawn is kept, so that layers of one draw need not make the model again; the latest draw always is."""

Init = Callable[[], nn.Module] | Callable[[nn.Module], Any]


@dataclass(frozen=True, eq=False)
class Initialisation:
    """Draws all floating parameters of a model by a user's function: draw d is the same for the same `seed`.

    Args:
        function: without arguments, it makes a new model; with one, it initialises the module that it is given, and is applied to every
            module of a copy of `model`, as ``model.apply(function)`` does.
        model: the model whose parameters are drawn. It stays as it is.
        space: its parameter space.
        seed: of all draws.

    Raises:
        UsageError: `function` is no such function, fails, changes `model`, or does not follow the seed.
        StateError: it makes a model with other parameters.
    """

    function: Init
    model: nn.Module
    space: ParameterSpace
    seed: int
    _held: dict[int, dict[str, Tensor]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        _check_function(self.function)
        with _guarded(self.model):
            first, again, other = self._make(0), self._make(0), self._make(1)
        if not first:
            raise UsageError("init sets no parameter of the model; it must fill modules in place, as model.apply(init) does")
        if digest_of(first) != digest_of(again):
            raise UsageError("init draws other values under the same torch seed; it must draw with torch's own random numbers")
        if digest_of(first) == digest_of(other) and not all(_same(values) for values in first.values()):
            raise UsageError(
                "init draws the same values under every torch seed, so there is nothing to compare: it must make a new model at each "
                "call, and must not seed torch itself"
            )
        self._hold(0, first)
        self._hold(1, other)

    @property
    def digest(self) -> str:
        """SHA-256 over the values of the first draw."""
        return digest_of(self.draw(0))

    def draw(self, number: int) -> dict[str, Tensor]:
        """The floating parameters of one draw that `function` sets, on the CPU."""
        if number not in self._held:
            self._hold(number, self._make(number))
        return self._held[number]

    def _hold(self, number: int, drawn: dict[str, Tensor]) -> None:
        self._held[number] = drawn
        while len(self._held) > 1 and sum(t.nbytes for made in self._held.values() for t in made.values()) > HELD_BYTES:
            del self._held[next(iter(self._held))]

    def _make(self, number: int) -> dict[str, Tensor]:
        makes = not _takes_module(self.function)
        with untouched(self.model), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            blank = None if makes else self._blank()
            seed_all(seed_of(self.seed, number, "init"))
            try:
                made = self.function() if blank is None else blank.apply(self.function)  # type: ignore[call-arg, arg-type]
            except Exception as error:
                raise UsageError(f"init failed ({type(error).__name__}: {error})") from error
        model = self._checked(made) if makes else made
        tensors = {name: tensor.detach() for name, tensor, kind in named_tensors(model) if kind == "parameter"}
        wanted = self.space.floating_parameters
        drawn = {name: self._named(tensors, name).to("cpu", copy=True) for name in wanted}
        return {name: tensor for name, tensor in drawn.items() if makes or not tensor.isnan().any()}

    def _named(self, tensors: dict[str, Tensor], name: str) -> Tensor:
        """A tensor by its name, or by one that it is tied to."""
        return tensors[name] if name in tensors else tensors[next(a for a, of in self.space.ties.items() if of == name and a in tensors)]

    def _blank(self) -> nn.Module:
        """A copy of the model whose floating parameters are NaN, so that it shows which of them are set."""
        try:
            made = copied(self.model)
        except Exception as error:
            raise UsageError(
                f"init is applied to a copy of the model, and that cannot be copied ({type(error).__name__}: {error}); "
                "pass a function without arguments that makes a new model"
            ) from error
        with torch.no_grad():
            for parameter in made.parameters():
                if parameter.is_floating_point() or parameter.is_complex():
                    parameter.fill_(torch.nan)
        return made

    def _checked(self, made: object) -> nn.Module:
        if not isinstance(made, nn.Module):
            raise UsageError(f"init() must return a module, a new model. Got {type(made).__name__} instead.")
        made = unwrapped(made)
        if made is self.model:
            raise UsageError("init() returned the objective's own model; it must make a new one at each call")
        space = ParameterSpace.of_model(made)
        difference = self.space.compare({name: spec for name, spec in space.tensors.items() if spec.kind == "parameter"} | self._buffers())
        if difference:
            raise StateError(f"init() makes another model than the objective's: it {difference.describe()}. {difference.guess}".rstrip())
        if any(parameter.is_meta for parameter in made.parameters()):
            raise UsageError("init() makes a model without values (on the meta device); it must initialise it")
        return made

    def _buffers(self) -> dict[str, Any]:
        """Those of the objective's model: a new model may lack them."""
        return {name: self.space.tensors[name] for name in self.space.buffers}


def _check_function(function: object) -> None:
    wanted = "a function without arguments that makes a new model, or one that initialises the module it is given"
    if not callable(function) or isinstance(function, nn.Module):
        raise UsageError(f"init must be {wanted}. Got {type(function).__name__} instead.")
    if len(_needed(function)) > 1:
        raise UsageError(f"init must be {wanted}; this one needs {', '.join(_needed(function))}")


def _takes_module(function: Callable[..., Any]) -> bool:
    return len(_needed(function)) == 1


def _needed(function: Callable[..., Any]) -> list[str]:
    """The arguments that must be given; of what tells no signature one, as torch's own functions are applied to modules."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return [] if isinstance(function, type) else ["module"]
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind not in several]


@contextmanager
def _guarded(model: nn.Module) -> Iterator[None]:
    """Put the values of `model` back at the end; that they had changed is an error."""
    before = [(tensor, tensor.detach().clone()) for _, tensor, _ in named_tensors(model) if not tensor.is_meta]
    changed = False
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, values in before:
                if not same_values(tensor.detach(), values):
                    tensor.data.copy_(values)
                    changed = True
    if changed:
        raise UsageError(
            "init changed the objective's own model, which was put back; it must make a new one, or use only the module it is given"
        )


def _same(values: Tensor) -> bool:
    return bool((values == values.flatten()[:1]).all())
