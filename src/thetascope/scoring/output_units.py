"""Along which dimensions of a weight its output units lie: seen where a pass multiplies by it.

A linear layer stores ``[out, in]``, a transposed convolution ``[in, out, …]``, Hugging Face's ``Conv1D`` and many a parameter of
one's own ``[in, out]``, experts ``[experts, in, out]``. Names and classes do not tell; the operands of the products do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from thetascope.geometry.directions import Units
from thetascope.scoring.batches import Batches
from thetascope.scoring.failures import StepFailedError
from thetascope.scoring.guards import FEW_ROWS
from thetascope.scoring.model import BoundModel
from thetascope.scoring.pytrees import cut
from thetascope.scoring.untouched import seed_all

FIRST, SECOND = ("self", "mat1", "batch1"), ("mat2", "other", "batch2")
"""What the schemas of torch's matrix products call their operands."""

PRODUCTS = frozenset({"mm", "addmm", "bmm", "baddbmm", "matmul", "mv", "addmv"})


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the output units of the tensors that a pass multiplies by."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names = {tensor.untyped_storage().data_ptr(): name for name, tensor in tensors.items() if tensor.ndim > 1}
        self._tensors, self.found = tensors, dict[str, Units]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note and go on."""
        name = func.overloadpacket.__name__ if hasattr(func, "overloadpacket") else ""
        if name in PRODUCTS or "conv" in name:
            given = {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)} | (kwargs or {})
            if name in PRODUCTS:
                add = name.startswith(("add", "badd"))
                for operand in FIRST[add:]:
                    self._note(given.get(operand), lambda ndim: [dim for dim in range(ndim) if dim != ndim - 1])
                for operand in SECOND:
                    self._note(given.get(operand), lambda ndim: [dim for dim in range(ndim) if dim != ndim - 2])
            elif given.get("transposed", "transpose" in name) is True:
                self._transposed(given.get("weight"), int(given.get("groups", 1)))
        return func(*args, **(kwargs or {}))

    def _name(self, operand: Any) -> str | None:
        if not isinstance(operand, Tensor) or operand.ndim < 2:
            return None
        name = self._names.get(operand.untyped_storage().data_ptr())
        return None if name in self.found else name

    def _note(self, operand: Any, outputs: Callable[[int], Sequence[int]]) -> None:
        """The dimensions of the parameter that lie, by their strides, within the output dimensions of the operand."""
        name = self._name(operand)
        if name is None:
            return
        tensor = self._tensors[name]
        reach = [(operand.stride(d), operand.stride(d) * operand.shape[d]) for d in outputs(operand.ndim) if operand.shape[d] > 1]
        dims = tuple(d for d in range(tensor.ndim) if any(low <= tensor.stride(d) < high for low, high in reach))
        if 0 < len(dims) < tensor.ndim:
            self.found[name] = Units(tuple(tensor.shape), dims)

    def _transposed(self, weight: Any, groups: int) -> None:
        """Of a transposed convolution, ``[in, out / groups, …]``: the inputs of each group lead to its own outputs."""
        name = self._name(weight)
        if name is not None and weight.shape == self._tensors[name].shape:
            inputs, *rest = weight.shape
            self.found[name] = Units((groups, inputs // groups, *rest), (0, 2))


def output_units(model: BoundModel, batches: Batches, tensors: Mapping[str, Tensor]) -> dict[str, Units]:
    """The output units of every parameter that a pass with these `tensors` multiplies by and that does not hold them along dimension 0.

    A pass over a few rows is watched. What is not seen (weights that are made from parameters first, recurrent kernels, models
    that do not run under a dispatch mode) is left out. Call it within the model's `running`. The `tensors` have memory of their own each.
    """
    first = batches.first()
    for batch in (cut(first, FEW_ROWS)[0], first):
        products = _Products(tensors)
        seed_all(0)
        try:
            model.evaluate(tensors, batch, watch=products)
        except (StepFailedError, NotImplementedError):
            continue
        return {n: u for n, u in products.found.items() if not (u.dims == (0,) and math.prod(u.view[1:]) == u.size)}
    return {}
