"""A whole step as a graph: the model, the loss and the metrics, or what the user's own step does with them, by torch.export.

The model's tensors and the batch's are inputs of the graph, and the number of rows is left open. Where the loss or a metric
cannot be captured the model is captured alone, and they are computed at each point.
"""

from __future__ import annotations

import builtins
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import torch
from torch import Tensor, fx, nn

from thetascope.scoring.failures import out_of_memory, problem_of
from thetascope.scoring.fast.graph import Graph, NotTraceableError, traced
from thetascope.scoring.fast.graph_passes import pooled_first, without_writing
from thetascope.scoring.fast.writing_down import written_down
from thetascope.scoring.metrics import SupervisedStep
from thetascope.scoring.model import BoundModel
from thetascope.scoring.pytrees import map_tensors, plain_values, rows_of, tensors_of
from thetascope.scoring.scores import Column
from thetascope.scoring.untouched import untouched

CAPTURE_ROWS = 16
"""So many rows of a batch are captured with; how many there are is left open."""


class Captured:
    """A graph, and how batches go in and scores come out.

    Args:
        graph: of the whole step, or of the model alone.
        batch: one that it was captured with; others must have its shape, but for the number of rows.
        columns: the names of what a whole step gives, and whether each is a value a sample; None for the model alone.
        reason: why it is not of the whole step, or not by torch.export.
    """

    def __init__(self, model: BoundModel, graph: Graph, batch: Any, columns: Sequence[tuple[str, bool]] | None, reason: str = "") -> None:
        self.graph, self.reason, self._step, self._columns = graph, reason, model.step, columns
        self._form = _form(batch) if columns is not None or len(graph.inputs) > 1 else None

    def takes(self, batch: Any) -> bool:
        """Whether the graph is of such batches."""
        return self._form is None or (self._form == _form(batch) and (rows_of(batch) or 0) > 1)

    def inputs(self, batch: Any) -> list[Any]:
        """What the graph's input nodes stand for."""
        if self._columns is not None:
            return tensors_of(batch)
        return [batch[0]] if self._form is None else tensors_of(batch[0])

    def columns(self, outputs: Sequence[Any], batches: Sequence[Any], whole: Any) -> Mapping[str, Column]:
        """The scores of a batch that went through in parts.

        Args:
            outputs: what the graph gave for each part.
            batches: the parts.
            whole: the batch.
        """
        if self._columns is not None:
            flat = outputs[0] if len(outputs) == 1 else [torch.cat(parts) for parts in zip(*outputs, strict=True)]
            return {name: Column(flat[2 * i], flat[2 * i + 1]) for i, (name, _) in enumerate(self._columns)}
        assert isinstance(self._step, SupervisedStep)
        if len(outputs) == 1:
            return self._step.measure(outputs[0], whole[1])
        if self._step.by_name:  # each sample has a value of its own
            return joined([self._step.measure(output, part[1]) for output, part in zip(outputs, batches, strict=True)])
        return self._step.measure(torch.cat(list(outputs)), whole[1])

    @property
    def per_sample(self) -> bool:
        """Whether a batch may go through in parts."""
        return self._columns is None or all(alone for _, alone in self._columns)


def joined(parts: Sequence[Mapping[str, Column]]) -> Mapping[str, Column]:
    """The columns of a batch from those of its parts.

    Raises:
        ValueError: they are means, which are no means of means.
    """
    if len(parts) == 1:
        return parts[0]
    if not all(column.per_sample for column in parts[0].values()):
        raise ValueError("a mean over a batch is not put together from parts")
    return {
        name: Column(torch.cat([part[name].values for part in parts]), torch.cat([part[name].weights for part in parts]))
        for name in parts[0]
    }


def captured(model: BoundModel, batch: Any) -> Captured:
    """A step of the model as a graph. Call it within the model's `running`.

    torch.fx where that says the same as torch.export at a hundredth of the time: the loss goes by its name, and the model is made
    of plain layers.

    Raises:
        NotTraceableError: neither way; the message says why.
    """
    supervised, by_fx = isinstance(model.step, SupervisedStep), "a step of the user's own"
    if isinstance(model.step, SupervisedStep):
        try:
            graph = traced(model)
        except NotTraceableError as error:
            by_fx = str(error)
        else:
            if model.step.by_name and is_fine(graph):
                return Captured(model, graph, batch, None)
            by_fx = ""
    reasons: list[str] = []
    for whole in (True, False) if supervised else (True,):
        try:
            return exported(model, batch, whole=whole, reason="; ".join(reasons))
        except NotTraceableError as error:
            reasons.append(str(error))
    if supervised and not by_fx:
        return Captured(model, graph, batch, None, "; ".join(reasons))
    raise NotTraceableError(reasons[0] if not supervised else f"{by_fx}; {reasons[-1]}")


def is_fine(graph: Graph) -> bool:
    """Whether each module that is a single node is a single layer."""
    modules = [graph.module(node) for node in graph.nodes if node.op == "call_module"]
    return not any(list(module.children()) for module in modules)


class _Pass(nn.Module):
    """The step as a function of the model's tensors and the batch's."""

    def __init__(self, model: BoundModel, batch: Any, names: Sequence[str], columns: list[tuple[str, bool]] | None) -> None:
        super().__init__()
        self._bound, self._batch, self._names, self._columns = [model], batch, names, columns

    def forward(self, tensors: list[Tensor], leaves: list[Tensor]) -> Any:
        """The values and weights of each column, one after the other, or the model's output."""
        (model,), given = self._bound, iter(leaves)
        held = dict(zip(self._names, tensors, strict=True))
        batch = map_tensors(self._batch, lambda _: next(given))
        if self._columns is None:
            return model.output(held, batch)
        columns = model.columns(held, batch)
        self._columns[:] = [(name, column.per_sample) for name, column in columns.items()]
        return tuple(tensor for column in columns.values() for tensor in (column.values, column.weights))


def exported(model: BoundModel, batch: Any, *, whole: bool, reason: str = "") -> Captured:
    """A step, or the model alone, by torch.export.

    Raises:
        NotTraceableError: it cannot be captured, or not for any number of rows.
    """
    given = batch if whole else batch[0]
    rows, leaves = rows_of(given), tensors_of(given)
    if rows is None or rows < 2:
        raise NotTraceableError("not all tensors of a batch have a row for each sample")
    small = [leaf[: min(rows, CAPTURE_ROWS)] if leaf.ndim else leaf for leaf in leaves]
    own = model.own_tensors()
    present = model.tensors_of(model.present_state()) | own
    columns: list[tuple[str, bool]] | None = [] if whole else None
    step = _Pass(model, given, list(present), columns)
    open_rows = [{0: torch.export.Dim.DYNAMIC} if leaf.ndim else None for leaf in leaves]

    def export() -> torch.export.ExportedProgram:
        with untouched(model.model), _quiet(), _without_caches(model.model), _open_length():
            return torch.export.export(
                step, (list(present.values()), small), dynamic_shapes={"tensors": [None] * len(present), "leaves": open_rows}, strict=False
            )

    try:
        program = written_down(export)
    except Exception as error:  # what is captured may raise anything when it is given tensors without values
        if out_of_memory(error):
            raise
        raise NotTraceableError(f"torch.export cannot capture it ({type(error).__name__}: {problem_of(error)})") from error
    module, names, inputs, tensors = program.graph_module, list(present), list[fx.Node](), dict[fx.Node, str]()
    given_values = {**program.constants, **program.state_dict}
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    for spec, node in zip(program.graph_signature.input_specs, placeholders, strict=True):
        if spec.target in given_values:
            _stands_for(module, node, given_values[spec.target])
        elif names and names[0] in own:
            _stands_for(module, node, own[names.pop(0)])
        elif names:
            tensors[node] = names.pop(0)
        else:
            inputs.append(node)
    problem = without_writing(module)
    if problem is not None:
        raise NotTraceableError(f"it writes to a value that is read under another name ({problem})")
    pooled_first(module)
    output = next(node for node in module.graph.nodes if node.op == "output")
    if not whole:
        output.args = (output.args[0][0],)
    return Captured(model, Graph(model, module, inputs, tensors), batch, columns, reason)


def _stands_for(module: fx.GraphModule, node: fx.Node, value: Any) -> None:
    """Let a node of the graph be a constant."""
    name = f"constant_{node.name}"
    module.register_buffer(name, value.detach(), persistent=False)
    with module.graph.inserting_before(node):
        held = module.graph.get_attr(name)
    node.replace_all_uses_with(held)
    module.graph.erase_node(node)


def _form(batch: Any) -> Any:
    """What batches of one graph have in common."""
    return [(tensor.dtype, tensor.shape[1:]) for tensor in tensors_of(batch)], [repr(value) for value in plain_values(batch)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch.export says of models that it cannot capture: the reason stands in the result."""
    logger = logging.getLogger("torch")
    before = logger.level
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(before)


@contextmanager
def _without_caches(model: nn.Module) -> Iterator[None]:
    """Without the caches that language models fill for the next token: a pass that is scored needs none."""
    found: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    configs: dict[int, Any] = {id(config): config for config in found if getattr(config, "use_cache", False) is True}
    for config in configs.values():
        config.use_cache = False
    try:
        yield
    finally:
        for config in configs.values():
            config.use_cache = True


@contextmanager
def _open_length() -> Iterator[None]:
    """Let ``len(batch)`` stay open as ``batch.shape[0]`` does: it would have to be a number that is known."""
    length: Callable[[Any], Any] = len

    def of(value: Any) -> Any:
        return value.shape[0] if isinstance(value, Tensor) and value.ndim else length(value)

    builtins.len = of
    try:
        yield
    finally:
        builtins.len = length
