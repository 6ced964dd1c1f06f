"""A LightningModule's own step as a step for `Objective.from_step`: it runs without a Trainer, and what it logs is caught."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from thetascope.errors import ObjectiveError
from thetascope.scoring.metrics import check_name
from thetascope.scoring.pytrees import rows_of, shapes_of
from thetascope.scoring.scores import Column, WholeColumn, column

BEFORE, AFTER = "on_before_batch_transfer", "on_after_batch_transfer"
"""Hooks that may change a batch."""


class LightningStep:
    """Runs a step of a module on a view of it, whose ``self.log`` keeps values and whose metrics are copies.

    Args:
        module: the LightningModule.
        step: the method's name.
        loss: the logged name that is the loss; None for what the step returns, else the one name that holds "loss".
        weight: batch -> how much its values weigh; None for the batch's size.
    """

    def __init__(self, module: nn.Module, step: str, loss: str | None, weight: Callable[[Any], Any] | None) -> None:
        method = getattr(type(module), step, None)
        if not callable(method) or not hasattr(type(module), "log_dict"):
            raise ObjectiveError(f'module must be a LightningModule with a "{step}". Got {type(module).__name__} instead.')
        self.step, self.loss, self.weight = step, loss, weight
        others = [*inspect.signature(method).parameters.values()][2:]  # behind the module and the batch: places, which are all 0
        self.places = sum(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in others)

    def __call__(self, module: nn.Module, batch: Any) -> dict[str, Any]:
        """Score one batch."""
        logged: dict[str, tuple[Any, Any]] = {}
        view = _view_of(module, logged)
        for hook in (BEFORE, AFTER):
            batch = getattr(view, hook)(batch, 0)
        returned = getattr(view, self.step)(batch, *[0] * self.places)
        size = rows_of(batch) if self.weight is None else self.weight(batch)
        weights = {name: size if own is None or self.weight is not None else own for name, (_, own) in logged.items()}
        found = {name: _column(name, value, weights[name]) for name, (value, _) in logged.items()}
        return self._with_loss(returned, found, size, batch)

    def _with_loss(self, returned: Any, found: dict[str, Column], size: Any, batch: Any) -> dict[str, Column]:
        """The logged values, one of them, or what was returned, as the loss."""
        name = self.loss
        if name is None:
            loss = returned.get("loss") if isinstance(returned, Mapping) else returned
            if isinstance(loss, Tensor):
                return {"loss": _column("loss", loss, size)} | {n: c for n, c in found.items() if n != "loss"}
            named = [n for n in found if "loss" in n.lower()]
            name = named[0] if len(named) == 1 else None
        if name not in found:
            there = ", ".join(found) or "nothing"
            raise ObjectiveError(
                f"{self.step} returned no loss and logged {there} for a batch of {shapes_of(batch)}: "
                "return the loss, or say which logged value it is (loss=)"
            )
        return {"loss": found.pop(name), **found}


def _column(name: str, value: Any, weight: Any) -> Column:
    check_name(name)
    if callable(getattr(value, "compute", None)):
        return WholeColumn.of(_Merged(), value, None)
    return value if isinstance(value, Column) else column(name, value, None if _is_of_rows(value) else weight, None)


def _is_of_rows(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 1 and len(value) > 1


class _Merged:
    """A metric of torchmetrics, put together of copies that took a batch each."""

    def __init__(self) -> None:
        self._metric: Any = None

    def update(self, batch: Any, _targets: Any) -> None:
        """Take the copy that a batch went to."""
        if self._metric is None:
            self._metric = copy.deepcopy(batch)
        else:
            self._metric.merge_state(batch)

    def compute(self) -> Any:
        """Over all batches."""
        return self._metric.compute()

    def reset(self) -> None:
        """Forget all batches."""
        self._metric = None


def _view_of(module: nn.Module, logged: dict[str, tuple[Any, Any]]) -> Any:
    """The module as an object of a class that logs into `logged`; it shares all but its metrics, of which it has fresh copies."""

    def log(_self: Any, name: str, value: Any, *_: Any, batch_size: int | None = None, **__: Any) -> None:
        logged[name] = (value, batch_size)

    def log_dict(_self: Any, dictionary: Mapping[str, Any], *_: Any, batch_size: int | None = None, **__: Any) -> None:
        for name, value in dictionary.items():
            logged[name] = (value, batch_size)

    kind = type(type(module).__name__, (type(module),), {"log": log, "log_dict": log_dict, "__module__": type(module).__module__})
    view = _with_fresh_metrics(module, kind)
    home = next((parameter.device for parameter in module.parameters()), None)
    if home is not None and "_device" in view.__dict__:
        view.__dict__["_device"] = home  # that of the state in the module's place
    return view


def _with_fresh_metrics(module: nn.Module, kind: type | None = None) -> Any:
    """A module that shares all with another but the metrics in it; the same one where it holds none."""
    if _is_metric(module):
        fresh = copy.deepcopy(module)
        fresh.reset()  # type: ignore[operator]
        return fresh
    children = {name: None if child is None else _with_fresh_metrics(child) for name, child in module._modules.items()}
    if kind is None and all(child is module._modules[name] for name, child in children.items()):
        return module
    view: Any = object.__new__(kind or type(module))
    view.__dict__.update(module.__dict__, _modules=children)
    return view


def _is_metric(module: nn.Module) -> bool:
    return all(callable(getattr(module, name, None)) for name in ("update", "compute", "reset"))
