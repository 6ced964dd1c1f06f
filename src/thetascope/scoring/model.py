"""A model bound to a way of scoring a batch: states go in, per-sample values come out, the model stays as it is."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from thetascope.errors import ObjectiveError, StateError, ThetascopeError
from thetascope.scoring.failures import StepFailedError, out_of_memory, problem_of
from thetascope.scoring.metrics import RESERVED, Step, check_name
from thetascope.scoring.pytrees import is_object, map_leaves, shapes_of, tensors_of
from thetascope.scoring.scores import Column, column
from thetascope.scoring.sharded import check_whole
from thetascope.scoring.untouched import forgetting, untouched
from thetascope.state import READ_AT_ONCE, ParameterSpace, State, unwrapped
from thetascope.state.names import fit


class _Stepper(nn.Module):
    """Makes a whole step the forward pass of one module, so that the model in it can be used in any way."""

    def __init__(self, model: nn.Module, step: Step) -> None:
        super().__init__()
        self.model = model
        self.step = step

    def forward(self, batch: Any, *, several: bool = False) -> Any:
        return [self.step(self.model, part) for part in batch] if several else self.step(self.model, batch)


class BoundModel:
    """A model, the step that scores a batch with it, and where and in which dtype that happens."""

    def __init__(self, model: nn.Module, step: Step, device: torch.device, dtype: torch.dtype | None, *, gradients: bool = False) -> None:
        if isinstance(model, torch.jit.ScriptModule):
            raise ObjectiveError("a TorchScript model cannot be given other parameters; pass the nn.Module that it was made from")
        self.model = unwrapped(model)
        check_whole(self.model)
        self.device, self.dtype, self.gradients = device, dtype, gradients
        self.forgets = False
        """Whether each pass begins with what the model held before the first one, not with what passes left on it."""
        self._writes_inputs: bool | None = None
        self._writes_buffers: bool | None = None
        self.step, self._stepper = step, _Stepper(self.model, step)
        self.space = ParameterSpace.of_model(self.model)
        modules = [*self.model.named_modules()]
        self.held_in_evaluation = frozenset(name for name, module in modules if self.model.training and not module.training)
        """Modules whose statistics the caller holds fixed: in evaluation mode within a model in training mode."""
        self._differentiable = {name for name, p in self.model.named_parameters() if p.requires_grad} if gradients else frozenset[str]()
        self._own = {n: t for n, t in named_tensors(self.model).items() if n not in self.space.tensors and n not in self.space.ties}

    def evaluated_in(self, dtype: torch.dtype | None) -> BoundModel:
        """The same model and step in another dtype."""
        other = copy.copy(self)
        other.dtype, other._writes_inputs, other._writes_buffers = dtype, None, None
        return other

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within it the model may be evaluated; after it the model and all random states are as before."""
        with untouched(self.model):
            yield

    def watch_calls(self, batch: Any) -> None:
        """Put the layers into the order in which one pass over `batch` first calls them."""
        names = {id(module): name for name, module in self.model.named_modules()}
        order: dict[str, None] = {}

        def note(module: nn.Module, _inputs: Any) -> None:
            if id(module) in names:
                order.setdefault(names[id(module)])

        # a global hook, because one on the model would write to it
        handle = nn.modules.module.register_module_forward_pre_hook(note)
        try:
            with self.running(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*global hooks on modules")  # torch, of a compiled layer; the hook only notes names
                self.evaluate(self.tensors_of(self.present_state()), batch)
        finally:
            handle.remove()
        self.space = ParameterSpace.of_model(self.model, tuple(order))

    def present_state(self) -> State:
        """The model's own present tensors; not copies."""
        return State.of(named_tensors(self.model), label="the model's present state")

    def target_dtype(self, name: str) -> torch.dtype:
        """The dtype in which the tensor `name` is evaluated: the objective's, else the model's own."""
        spec = self.space.tensors[name]
        own: torch.dtype = getattr(torch, spec.dtype)
        return self.dtype if self.dtype is not None and own.is_floating_point else own

    def bytes_of(self, name: str) -> int:
        """How many bytes the tensor `name` takes where it is evaluated."""
        return self.space.tensors[name].size * self.target_dtype(name).itemsize

    @property
    def bytes(self) -> int:
        """How many all tensors of a state take."""
        return sum(map(self.bytes_of, self.space.tensors))

    def bind(self, state: Mapping[str, Tensor]) -> State:
        """`state` under the model's names, ties resolved, wrappers' prefixes left out; counters that it lacks are the model's.

        Raises:
            StateError: it does not fit the model (every difference is listed), or two names of one tied tensor
                hold different values.
        """
        given = State.of(state)
        fitted = fit(given.specs, self.space)
        names = fitted.names
        if fitted.difference:
            raise StateError(
                f"{given.label} does not fit the model: it {fitted.difference.describe()}. {fitted.difference.guess}Pass a state of this "
                "model, or an objective of the model that the state is of"
            )
        self._check_ties(given, names)
        canonical = dict(names)
        for alias, name in self.space.ties.items():
            if alias in names:
                canonical.setdefault(name, names[alias])
                del canonical[alias]
        bound = given.renamed({name: canonical[name] for name in self.space.tensors if name in canonical}, self.space.tensors)
        if not fitted.lacking:
            return bound
        present = named_tensors(self.model)  # counters that the state lacks: no pass in evaluation mode needs them
        own = {name: present[name].detach().clone() for name in fitted.lacking}
        return bound.completed(own, list(self.space.tensors), self.space.tensors)

    def _check_ties(self, state: State, names: Mapping[str, str]) -> None:
        first: dict[str, str] = {}
        for alias, name in self.space.ties.items():
            if alias not in names:
                continue
            held = name if name in names else first.setdefault(name, alias)
            if held != alias and not same_values(state[names[alias]], state[names[held]]):
                raise StateError(
                    f'in {state.label} "{alias}" and "{held}" differ, but the model ties them to one tensor; '
                    "this state is of a model without the tie"
                )

    def tensors_of(self, state: State, names: Sequence[str] | None = None, *, copy: bool = True) -> dict[str, Tensor]:
        """The state's tensors (all by default) on the device and in the dtype of the evaluation, as copies of their own.

        Without `copy` they are the state's where they are there and so already: for who only reads them.
        """
        names, copies = list(self.space.tensors if names is None else names), {}
        for start in range(0, len(names), READ_AT_ONCE):
            for name, tensor in state.tensors(names[start : start + READ_AT_ONCE]).items():
                copies[name] = tensor.detach().to(self.device, self.target_dtype(name), copy=copy)
        return copies

    def guarded(self, batch: Any) -> Any:
        """The batch, or a copy where the model writes to its inputs (or it is not known yet that it does not)."""
        if self._writes_inputs is False and not self.gradients:
            return batch

        def own(leaf: Any) -> Any:
            if isinstance(leaf, Tensor):  # a leaf, so that no gradient reaches the caller's
                return leaf.detach().clone().requires_grad_(leaf.requires_grad) if self.gradients else leaf.clone()
            return copy.deepcopy(leaf) if is_object(leaf) else leaf

        return map_leaves(batch, own)

    def own_tensors(self) -> dict[str, Tensor]:
        """Copies of the tensors that no state holds (non-persistent buffers), where and in which dtype a pass wants them."""
        copies = {}
        for name, tensor in self._own.items():
            dtype = self.dtype if self.dtype is not None and tensor.is_floating_point() else tensor.dtype
            copies[name] = tensor.detach().to(self.device, dtype, copy=True)
        return copies

    def evaluate(
        self, tensors: Mapping[str, Tensor], batch: Any, *, writable_buffers: bool = False, watch: AbstractContextManager[Any] | None = None
    ) -> dict[str, Column]:
        """Score one batch with `tensors` in the model's place; the step runs within `watch`. Call it within `running`.

        A model that writes to its inputs (ReLU in place, say) or its buffers is noticed at the first pass and given copies, so that no
        pass changes another; with `writable_buffers` the pass writes to those in `tensors`.
        """
        held, given = dict(tensors) | self.own_tensors(), self.guarded(batch)
        buffers = () if writable_buffers or self._writes_buffers is False else tuple(self.space.buffers)
        held |= {name: tensors[name].clone() for name in buffers}
        before = _marks(given)
        try:
            with watch or nullcontext(), self._memory():
                found, written = self._columns(held, given)
        except Exception as error:
            self._explain(error, batch)
            raise
        if writable_buffers and isinstance(tensors, dict):  # a layer may put new tensors in place of its buffers
            tensors.update({name: written[name] for name in self.space.buffers})
        if self._writes_inputs is None:
            self._writes_inputs = before != _marks(given)
        if self._writes_buffers is None and not writable_buffers:
            self._writes_buffers = any(held[name]._version for name in (*buffers, *self._own))
        return found

    def _explain(self, error: Exception, batch: Any) -> None:
        """Raise an error that says what failed on what, where there is more to say of it.

        Raises:
            StepFailedError: the step raised something that is no error of ours, and memory did not run out.
        """
        text = problem_of(error)
        if "require grad" in text or "requires_grad" in text:
            what = "already, and this is another fault" if self.gradients else "with gradients=True"
            raise StepFailedError(f"forward, the loss or the step takes gradients: make the objective {what} ({text})") from error
        if isinstance(error, ThetascopeError) or out_of_memory(error):
            return
        kinds = sorted({str(t.dtype).removeprefix("torch.") for t in tensors_of(batch)}) or ["no tensors that are seen"]
        own = sorted({spec.dtype for spec in self.space.tensors.values() if spec.floating}) if self.dtype is None else [str(self.dtype)[6:]]
        message = f"the model or the step failed on a batch of {shapes_of(batch)}: {type(error).__name__}: {text}"
        if "dtype" in text.lower() or "scalar type" in text.lower():
            message += (
                f". The dtype of the batch is {', '.join(kinds)}, of the parameters {', '.join(own)}: cast the data "
                "(inputs.float()), or give dtype=, which casts parameters and floating inputs, but nothing inside other objects"
            )
        raise StepFailedError(message) from error

    def evaluate_parts(self, tensors: Mapping[str, Tensor], parts: Sequence[Any]) -> list[dict[str, Column]]:
        """The same of several parts of a batch, the model given its tensors once; one by one where it writes to what it is given."""
        if self._writes_inputs is not False or self._writes_buffers is not False or self.forgets:
            return [self.evaluate(tensors, part) for part in parts]
        values = {f"model.{name}": tensor for name, tensor in (dict(tensors) | self.own_tensors()).items()}
        return [_columns(returned) for returned in functional_call(self._stepper, values, (parts,), {"several": True})]

    def columns(self, tensors: Mapping[str, Tensor], batch: Any) -> dict[str, Column]:
        """Score one batch with `tensors`, of all names, in the model's place; nothing is copied. Call it within `running`."""
        with self._memory():
            return self._columns(tensors, batch)[0]

    def _columns(self, tensors: Mapping[str, Tensor], batch: Any) -> tuple[dict[str, Column], dict[str, Tensor]]:
        """The scores, and the tensors that are in the model's place afterwards."""
        held = {f"model.{name}": tensor for name, tensor in tensors.items()}
        if not self.gradients:
            return _columns(functional_call(self._stepper, held, (batch,))), {name: held[f"model.{name}"] for name in tensors}
        with torch.enable_grad():
            leaves = {name: t.detach().requires_grad_(name.removeprefix("model.") in self._differentiable) for name, t in held.items()}
            return _columns(functional_call(self._stepper, leaves, (batch,))), {name: leaves[f"model.{name}"].detach() for name in tensors}

    def output(self, tensors: Mapping[str, Tensor], inputs: Any) -> Any:
        """What the model alone gives, likewise."""
        with self._memory():
            return functional_call(self.model, dict(tensors), (inputs,))

    def _memory(self) -> AbstractContextManager[Any]:
        """Around a pass: nothing of it stays where a later one would take it for its own."""
        return forgetting(self.model) if self.forgets else nullcontext()


def _marks(batch: Any) -> list[Any]:
    """What differs after a pass that writes to a batch, or may have done so unseen."""
    marks: list[Any] = []

    def note(leaf: Any) -> None:
        marks.append((leaf._version, leaf.requires_grad) if isinstance(leaf, Tensor) else object() if is_object(leaf) else None)

    map_leaves(batch, note)
    return marks


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by their first names, also those that a state dict leaves out."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def same_values(one: Tensor, other: Tensor) -> bool:
    """Whether the values are equal, NaN to NaN: a training that diverged has its ties still."""
    return one.data_ptr() == other.data_ptr() or bool(((one == other) | (one.isnan() & other.isnan())).all())


def _columns(returned: Any) -> dict[str, Column]:
    if not isinstance(returned, Mapping) or "loss" not in returned:
        what = f"a mapping with {', '.join(map(str, returned))}" if isinstance(returned, Mapping) else type(returned).__name__
        raise ObjectiveError(f'a step returns {{"loss": …, metrics: …}}, [N] values or means with "weight". Got {what} instead.')
    weight = returned.get("weight")
    columns = {}
    for name, given in returned.items():
        if name == "weight":
            continue
        if name != "loss" and name in RESERVED:
            raise ObjectiveError(f'a step may not return a metric called "{name}", which results use themselves; choose another name')
        check_name(name)
        shared = weight.get(name) if isinstance(weight, Mapping) else weight
        value, own = given if isinstance(given, tuple) and len(given) == 2 else (given, shared)
        columns[name] = value if isinstance(value, Column) else column(name, value, own, None)
    return columns
