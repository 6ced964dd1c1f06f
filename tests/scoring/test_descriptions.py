from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thetascope.scoring.descriptions import described, described_model
from thetascope.testing.models import CASES, case


class Shrinking(nn.Module):
    """A loss of one's own, with an option."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets) / self.by


class Scaled:
    """One that is called without being a module."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.factor * F.cross_entropy(outputs, targets)


def scaled(factor: Any) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda outputs, targets: factor * F.cross_entropy(outputs, targets, reduction="none")


def defaulted(factor: float) -> Callable[..., Tensor]:
    def loss(outputs: Tensor, targets: Tensor, by: float = factor) -> Tensor:
        return by * F.cross_entropy(outputs, targets)

    return loss


PAIRS: dict[str, Callable[[float], Any]] = {
    "option of a partial": lambda v: functools.partial(F.cross_entropy, label_smoothing=v),
    "function of a partial": lambda v: functools.partial(F.cross_entropy if v < 0.5 else F.multi_margin_loss, reduction="none"),
    "option of a module": lambda v: nn.CrossEntropyLoss(label_smoothing=v),
    "tensor of a module": lambda v: nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, v])),
    "option of a module of one's own": Shrinking,
    "option of an object": Scaled,
    "value in a closure": scaled,
    "tensor in a closure": lambda v: scaled(torch.tensor(v)),
    "list in a closure": lambda v: scaled([1, v]),
    "default": defaulted,
    "constant": lambda v: eval(f"lambda x, y: {v} * (x.sum(1) - y)"),
}


@pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)
def test_losses_that_differ_are_told_apart_and_equal_ones_are_not(make: Callable[[float], Any]) -> None:
    assert described(make(0.25)) == described(make(0.25))
    assert described(make(0.25)) != described(make(0.75))


def test_a_name_stands_for_itself() -> None:
    assert described("cross_entropy") == "cross_entropy"


def test_people_read_which_function_it_is() -> None:
    assert described(F.cross_entropy).startswith("torch.nn.functional.cross_entropy (")
    assert described(functools.partial(F.cross_entropy, label_smoothing=0.1)).startswith("torch.nn.functional.cross_entropy (")
    assert described(nn.CrossEntropyLoss()).startswith("torch.nn.modules.loss.CrossEntropyLoss (")


def test_a_captured_model_counts_by_its_architecture_whatever_it_has_learnt() -> None:
    models = [case("LeNet").model(seed) for seed in range(2)]
    assert described(scaled(models[0])) == described(scaled(models[1])) != described(scaled(case("linear").model()))


def test_another_process_gives_the_same_names() -> None:
    code = (
        "import tests.scoring.test_descriptions as t\n"
        "print([t.described(make(0.25)) for name, make in t.PAIRS.items()] + [t.described_model(c.model()) for c in t.CASES])"
    )
    here = [described(make(0.25)) for make in PAIRS.values()] + [described_model(c.model()) for c in CASES]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(here)


def test_models_of_one_class_differ_by_their_layers() -> None:
    layers = [(nn.Linear(4, 3),), (nn.Linear(4, 5), nn.Linear(5, 3)), (nn.Linear(4, 3), nn.ReLU()), (nn.Linear(4, 3), nn.Tanh())]
    assert len({described_model(nn.Sequential(*kind)) for kind in layers}) == len(layers)


def test_models_that_print_alike_differ_by_their_classes() -> None:
    here = type("Linear", (nn.Linear,), {})
    assert described_model(here(4, 3)) != described_model(nn.Linear(4, 3))
