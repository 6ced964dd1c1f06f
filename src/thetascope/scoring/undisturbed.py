"""What scoring leaves as it found it, wherever in it an interrupt comes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence, Sized
from typing import Any

import torch
from torch import nn
from torch.overrides import _get_current_function_mode_stack as functions
from torch.overrides import _pop_mode as pop_function
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack as dispatches
from torch.utils._python_dispatch import _pop_mode as pop_dispatch

from thetascope.scoring.restoring import Restoring
from thetascope.scoring.untouched import ModelState, RandomStates

MODES: list[tuple[Callable[[], Sized], Callable[[], Any]]] = [(functions, pop_function), (dispatches, pop_dispatch)]
"""Of torch: what stands on a stack of them, and what takes the last one away."""

HOOKS: list[dict[Any, Any]] = [
    table for name, table in vars(nn.modules.module).items() if name.startswith("_global_") and isinstance(table, dict)
]
"""Of torch: what is called for all modules."""


class PutBack(Restoring):
    """Puts back, at the end, the models, the random states, and the modes of torch and warnings; takes hooks on all modules away.

    Each is put back where it is changed. But what Python calls at the end of a ``with`` may be interrupted before its first line, and
    then nothing is. So it is done again here, and this twice: write ``with state, state:``.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self._models = [ModelState(model) for model in models]
        self._random, self._threads, self._gradients = RandomStates.capture(), torch.get_num_threads(), torch.is_grad_enabled()
        self._warnings = (warnings.filters, warnings.showwarning)
        self._modes = [(modes, len(modes()), pop) for modes, pop in MODES]
        self._hooks = [(table, set(table)) for table in HOOKS]
        self._levels = torch._C._functorch.get_dynamic_layer_stack_depth()

    def put_back(self) -> None:
        """All of it."""
        torch._C._functorch.pop_dynamic_layer_stack_and_undo_to_depth(self._levels)
        for modes, count, pop in self._modes:
            while len(modes()) > count:
                pop()
        for table, before in self._hooks:
            for key in [key for key in table if key not in before]:
                del table[key]
        torch.set_grad_enabled(self._gradients)
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        for model in self._models:
            model.put_back()
        self._random.restore()
        if warnings.filters is not self._warnings[0]:
            warnings.filters, warnings.showwarning = self._warnings
            with warnings.catch_warnings():  # has Python notice that there are others
                pass
