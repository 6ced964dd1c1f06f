"""Guards before numbers: whether a state arrives where the model computes, and whether a batch's values are those of its samples.

Made once an objective, on few rows. A guard that finds nothing costs a few passes over those.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from thetascope.allocator import LARGE, give_back
from thetascope.errors import ObjectiveError
from thetascope.scoring.batches import Batches
from thetascope.scoring.failures import StepFailedError
from thetascope.scoring.model import BoundModel, named_tensors
from thetascope.scoring.pytrees import cut, map_tensors, rows_of, select_rows, tensors_of
from thetascope.scoring.scores import Column, WholeColumn
from thetascope.scoring.untouched import forgetting, seed_all
from thetascope.shown import warn

FEW_ROWS, ROWS = 8, 64
"""So many rows show whether a state arrives, and whether values [N] are those of rows; so many whether a mean is one over samples."""

PERTURBATIONS = (1e-3, 3e-2, 1.0)
"""By what share of their size parameters are moved, until something changes."""

FEW_VALUES = 2**20
"""So many values of a parameter are moved at once."""

EXACT, MOST_EXACT = 1e-9, 10_000_000
"""What double precision agrees to at least; more parameters are not copied into it."""

WITHOUT_VALUES = frozenset({"empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "new_empty", "new_zeros"})
"""Operations that look at a tensor's shape only."""


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes where tensors lie that operations read, which of them are the caller's own model's, and the coarsest precision in use."""

    def __init__(self, own: Mapping[int, str] = MappingProxyType({})) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.own, self.found, self.precision = own, dict[str, str](), 0.0
        self.read, self.called = set[int](), set[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note and go on."""
        name = func.overloadpacket.__name__ if hasattr(func, "overloadpacket") else str(func)
        if not getattr(func, "is_view", False) and name not in WITHOUT_VALUES and name not in ("detach", "alias"):
            for leaf in tree_leaves((args, kwargs)):
                if isinstance(leaf, Tensor):
                    self.read.add(place := _storage(leaf))
                    if place in self.own:
                        self.found.setdefault(self.own[place], name)
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                self.precision = max(self.precision, torch.finfo(leaf.dtype).eps)
        return result


@dataclass(frozen=True)
class Looked:
    """What a look at a model showed.

    Attributes:
        telling: whether the loss is finite and not 0, without which nothing is seen.
        alone: whether a sample has a value of its own; where it has not, a single batch of all data is not cut.
    """

    telling: bool
    alone: bool = True


def guard(model: BoundModel, batches: Batches, make: Callable[[], dict[str, Tensor]], *, fixed: bool) -> Looked:
    """Look at how a model scores batches, at the point whose tensors `make` gives, new ones each time. Call it within `running`.

    With `fixed` values belong to whole batches, and parts of them are not looked at.

    Raises:
        ObjectiveError: the state does not arrive, or values are no means over samples; the message says what to do.
    """
    first = batches.first()  # of data that are loaded anew, once
    precision, telling = _arrives(model, make(), cut(first, FEW_ROWS)[0], first)
    return Looked(telling, fixed or precision is None or _means(model, batches, make(), precision, rows_of(first)))


def _arrives(model: BoundModel, bound: dict[str, Tensor], few: Any, whole: Any) -> tuple[float | None, bool]:
    """Whether other parameters give other values or outputs, and none of the caller's own are read.

    The tensors `bound` are used up: one copy of the model is held, whatever is tried.

    Returns:
        The precision of what is computed, None where the model does not run on part of a batch; whether the loss tells anything.
    """
    given = {0, *map(_storage, tensors_of(whole))}  # data that the model holds too, as a Gaussian process does, are read as data
    own = {_storage(tensor): name for name, tensor in named_tensors(model.model).items()}
    watch, batch = _Watch({place: name for place, name in own.items() if place not in given}), few
    with forgetting(model.model):
        try:
            values, outputs = _seen(model, bound, batch, watch)
        except (StepFailedError, NotImplementedError):  # the model does not run on few rows, or not under a dispatch mode
            batch = whole
            values, outputs = _seen(model, bound, batch)
        if watch.found:
            name, operation = next(iter(watch.found.items()))
            others = f" and {len(watch.found) - 1} more" if len(watch.found) > 1 else ""
            raise ObjectiveError(
                f'the step reads "{name}"{others} of the model itself ({operation}), not of the state that is scored, '
                "so that this would be the same at every point. Take parameters from the model when the step runs: "
                "a step(model, batch) for from_step that uses model.parameters() inside, and no list of them from before"
            )
        read = _names_read(bound, watch)
        if batch is few and not read <= _read_again(model, bound, few):
            model.forgets = True
    precision = watch.precision if batch is few else None
    if model.forgets and (kept := sorted(read - _read_again(model, bound, few))):
        raise ObjectiveError(
            f'the model reads "{kept[0]}" in its first pass only and keeps what it made of it where that is not found, so that all points '
            "would be scored with the first one's. Let forward make it anew, or empty what keeps it at the beginning of a step"
        )
    moving = [n for n, t in bound.items() if t.is_floating_point() and n not in model.space.buffers and t.numel()]
    if not (moving and _telling(values)):
        return precision, _telling(values)
    if not any(_changed(model, bound, moving, share, batch, values, outputs) for share in PERTURBATIONS):
        raise ObjectiveError(
            f"neither the loss nor the outputs change when all {len(moving)} parameters change by as much as their own size "
            f'("{moving[0]}" is the first), so that every point would score the same. Parameters of a state do not arrive '
            "where the model computes: it may keep copies of them, or take them from a hook or from outside"
        )
    called = {name for name, module in model.model.named_modules() if id(module) in watch.called}
    if unread := [name for name in moving if batch is few and name not in read and name.rpartition(".")[0] in called]:
        warn(
            f'no operation reads {len(unread)} of {len(moving)} parameters ("{unread[0]}" is the first) although their modules are called: '
            "values do not depend on them. Where they should, the module keeps what it made of them, or takes them from elsewhere",
            stacklevel=2,
        )
    return precision, True


def _names_read(bound: Mapping[str, Tensor], watch: _Watch) -> set[str]:
    return {name for name, tensor in bound.items() if _storage(tensor) in watch.read}


def _read_again(model: BoundModel, bound: dict[str, Tensor], batch: Any) -> set[str]:
    """What one more pass reads, at the same point but other tensors: one that the model kept lies elsewhere then."""
    watch, size = _Watch(), 0
    for name in list(bound):
        bound[name], size = bound[name].clone(), size + bound[name].nbytes
        give_back(size)
        size *= size < LARGE
    _seen(model, bound, batch, watch)
    return _names_read(bound, watch)


def _changed(model: BoundModel, bound: dict[str, Tensor], moving: list[str], share: float, batch: Any, *before: Any) -> bool:
    """Whether another point gives other values; the tensors are moved where they are, farther each time."""
    generator = torch.Generator().manual_seed(0)
    for name in moving:
        tensor = bound[name]
        size = tensor.abs().mean(dtype=torch.float32).clamp(min=1e-3).to(tensor.dtype)
        for part in torch.split(tensor, max(1, FEW_VALUES * len(tensor) // tensor.numel())) if tensor.ndim else (tensor,):
            part.add_(share * torch.randn(part.shape, generator=generator).to(part) * (part.abs() + size))
    try:
        values, outputs = _seen(model, bound, batch)
    except StepFailedError:
        return True  # that it fails depends on them
    return not (_same(before[0], values) and _same(before[1], outputs))


def _seen(model: BoundModel, tensors: Mapping[str, Tensor], batch: Any, watch: _Watch | None = None) -> tuple[list[Tensor], list[Tensor]]:
    """The values of a pass, and what the model gave in it."""
    outputs: list[Tensor] = []
    seed_all(0)
    with _outputs_of(model.model, outputs.append, set() if watch is None else watch.called), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*global hooks on modules")  # torch, of a compiled layer; the hook only looks
        columns = model.evaluate(tensors, batch, watch=watch)
    return [column.values for column in columns.values()], outputs


@contextmanager
def _outputs_of(model: nn.Module, take: Callable[[Tensor], None], called: set[int]) -> Iterator[None]:
    def note(module: nn.Module, _inputs: Any, output: Any) -> None:
        called.add(id(module))
        if module is model:
            for leaf in tree_leaves(output):
                if isinstance(leaf, Tensor):
                    take(leaf.detach())

    handle = nn.modules.module.register_module_forward_hook(note)  # a global hook, because one on the model would write to it
    try:
        yield
    finally:
        handle.remove()


def _means(model: BoundModel, batches: Batches, tensors: Mapping[str, Tensor], precision: float, most: int | None) -> bool:
    """Whether parts of a batch give what the whole gives, row by row or as a mean; an error where there are several batches.

    Looked at in double precision where the step runs in it, so that rounding hides nothing.
    """
    scored, close, own = model, precision**0.5, dict(tensors)
    if model.device.type in ("cpu", "cuda") and model.space.parameter_count <= MOST_EXACT:
        exact, few = model.evaluated_in(torch.float64), cut(batches.first(), FEW_ROWS)[0]
        wide, watch = {name: _wide(tensor) for name, tensor in tensors.items()}, _Watch()
        try:
            exact.evaluate(wide, map_tensors(few, _wide), watch=watch)
        except (ObjectiveError, NotImplementedError):
            pass  # it insists on its own dtype
        else:
            scored, own, close = exact, wide, max(EXACT, min(watch.precision**0.5, 100 * watch.precision))

    def parts_of(rows: int, seed: int = 1) -> tuple[Mapping[str, Column], list[Mapping[str, Column]]] | None:
        spread = batches.spread(min(rows, most or rows))  # no more than there is memory for
        size = rows_of(spread)
        if size is None or size < 3:
            return None
        spread = spread if scored is model else map_tensors(spread, _wide)
        try:
            parts = [spread, *(select_rows(spread, chosen, size) for chosen in torch.arange(size).tensor_split([size // 3]))]
            whole, *found = [_seeded(scored, own, part, seed) for part in parts]
        except StepFailedError:
            return None  # then nothing cuts its batches
        return whole, found

    found = parts_of(FEW_ROWS)
    if found is not None and not all(column.per_sample for column in found[0].values()):
        found = parts_of(ROWS)
    if found is None or found[0].keys() != found[1][0].keys():
        return True
    off = [
        name
        for name, whole in found[0].items()
        if not isinstance(whole, WholeColumn) and not _agree(name, whole, [part[name] for part in found[1]], close)
    ]
    again = parts_of(ROWS if not all(column.per_sample for column in found[0].values()) else FEW_ROWS, seed=2) if off else None
    if again is None or not all(_same([whole.values], [again[0][name].values]) for name, whole in found[0].items()):
        return True  # random, which another guard tells
    if batches.survey.count > 1:
        raise ObjectiveError(_no_mean(off[0], found[0][off[0]], [part[off[0]] for part in found[1]]))
    return False  # one batch of all data may be scored in any way


def _seeded(model: BoundModel, tensors: Mapping[str, Tensor], batch: Any, seed: int) -> Mapping[str, Column]:
    seed_all(seed)
    return model.evaluate(tensors, batch)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _agree(name: str, whole: Column, parts: list[Column], close: float) -> bool:
    values, weights = (torch.cat([getattr(part, which).reshape(-1) for part in parts]) for which in ("values", "weights"))
    if whole.per_sample:
        if values.shape != whole.values.shape:
            return False
        bound = close * whole.values.abs().nan_to_num(0, 0, 0).max().clamp(min=1.0)
        if not torch.allclose(weights, whole.weights, rtol=max(close, EXACT)):
            return False
        same = ((values - whole.values).abs() <= bound) | (values == whole.values) | (values.isnan() & whole.values.isnan())
        return bool(same.all() if name == "loss" else same.double().mean() > 0.8)  # of a metric with steps, rounding may turn some
    total = float(weights.sum())
    mean = float((values * weights).sum()) / total if total else float("nan")
    wanted, count = float(whole.values), float(whole.weights)
    if not (abs(mean) < float("inf") and abs(wanted) < float("inf")):
        return True
    steps = 1.5 / max(count, 1.0) if close > 1e-2 and name != "loss" else 0.0
    return abs(mean - wanted) <= max(close * max(1.0, abs(wanted)), steps)


def _no_mean(name: str, whole: Column, parts: list[Column]) -> str:
    what = f'"{name}" of a sample depends on the samples it is scored with'
    if not whole.per_sample:
        each = " and ".join(f"{float(part.values):.6g} (of {float(part.weights):g})" for part in parts)
        what = f'"{name}" is no mean over samples: a batch gives {float(whole.values):.6g}, two parts of it {each}'
    return (
        f"{what}, so that batch_size would decide the result. Ways out:\n"
        '- values [N], one a sample (reduction="none"), or from_step with means and their "weight", or (value, weight) pairs\n'
        "- a metric over all data, such as R2 or F1: an object with update(outputs, targets), compute() and reset()\n"
        '- batches="fixed": a batch is the sample, and batch_size is a part of the question\n'
        "- one batch of all data"
    )


def _same(before: list[Tensor], after: list[Tensor]) -> bool:
    return len(before) == len(after) and all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(before, after, strict=True))


def _telling(values: list[Tensor]) -> bool:
    return all(bool((value.isfinite() & (value != 0)).any()) for value in values[:1])


def _storage(tensor: Tensor) -> int:
    """Where a tensor's memory begins; 0 where that cannot be told."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return 0
