"""The peers: `nnvis` 1.1.4 and `loss-landscapes` 3.0.6, installed without their dependencies into a folder of the benchmarks' own.

nnvis imports torchvision, h5py and tqdm for what the benchmarks do not use (data, files, bars), so empty modules stand in for them.
Both peers are called as their users call them: a state is loaded into the model, and the model is run over batches in memory.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PEERS = ("nnvis==1.1.4", "loss-landscapes==3.0.6")
UNUSED = {"torchvision": ("datasets", "transforms"), "h5py": (), "tqdm": ("tqdm",)}
"""Modules that nnvis imports, and what it imports from them."""

FOLDER = Path(__file__).parent / ".peers"


class Loader:
    """What nnvis's `net.test` walks over: batches of tensors, and the number of samples."""

    def __init__(self, inputs: Tensor, targets: Tensor, batch_size: int) -> None:
        self._batches = list(zip(torch.split(inputs, batch_size), torch.split(targets, batch_size), strict=True))
        self.dataset = range(len(inputs))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self._batches)


def installed() -> None:
    """Install the peers where they are not, and make them importable."""
    if not (FOLDER / "nnvis").is_dir() or not (FOLDER / "loss_landscapes").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(FOLDER), *PEERS]
        subprocess.run(command, check=True)
    sys.path.append(str(FOLDER))
    for name, parts in UNUSED.items():
        module = types.ModuleType(name)
        for part in parts:
            setattr(module, part, types.ModuleType(part))
        sys.modules.setdefault(name, module)


def nnvis_scorer(inputs: Tensor, targets: Tensor, batch_size: int) -> Callable[[Mapping[str, Tensor]], float]:
    """nnvis's way to score a state: load it, `net.test`."""
    installed()
    logging.disable(logging.CRITICAL)
    from nnvis import net

    model, loader = net.SimpleCNN(), Loader(inputs, targets, batch_size)

    def score(state: Mapping[str, Tensor]) -> float:
        model.load_state_dict(dict(state))
        return float(net.test(model, loader, torch.device("cpu"))[0])

    return score


def plain_scorer(inputs: Tensor, targets: Tensor, batch_size: int, model: torch.nn.Module) -> Callable[[Mapping[str, Tensor]], float]:
    """The loop that one writes oneself: load a state, full passes without gradients, the mean loss."""
    loader = Loader(inputs, targets, batch_size)

    def score(state: Mapping[str, Tensor]) -> float:
        model.load_state_dict(dict(state))
        model.eval()
        with torch.inference_mode():
            total = sum(float(torch.nn.functional.nll_loss(model(x), y, reduction="sum")) for x, y in loader)
        return total / len(inputs)

    return score


def loss_landscapes_plane(model: torch.nn.Module, inputs: Tensor, targets: Tensor, batch_size: int, steps: int) -> Any:
    """loss-landscapes's random plane, filter-normalised, ``[steps, steps]``."""
    installed()
    import loss_landscapes
    from loss_landscapes.metrics.metric import Metric

    loader = Loader(inputs, targets, batch_size)

    class Loss(Metric):  # type: ignore[misc]
        def __call__(self, model_wrapper: Any) -> float:
            with torch.inference_mode():
                found = [float(torch.nn.functional.nll_loss(model_wrapper.forward(x), y, reduction="sum")) for x, y in loader]
            return sum(found) / len(inputs)

    return loss_landscapes.random_plane(model, Loss(), distance=1, steps=steps, normalization="filter", deepcopy_model=True)
