"""Models to test with: some whose loss is known in closed form, and a table of awkward architectures."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm as parametrized_weight_norm

from thetascope.demo.network import LeNet


class QuadraticBowl(nn.Module):
    """``loss(θ) = ½ Σ_i curvature_i (θ_i − bottom_i)²``: a model whose loss anywhere is a formula.

    The data do not matter: a batch ``[N, …]`` gives N times the same loss.
    """

    def __init__(self, curvature: Sequence[float], bottom: Sequence[float], position: Sequence[float] | None = None) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.tensor(bottom if position is None else position, dtype=torch.float64))
        self.register_buffer("curvature", torch.tensor(curvature, dtype=torch.float64), persistent=False)
        self.register_buffer("bottom", torch.tensor(bottom, dtype=torch.float64), persistent=False)

    def forward(self, batch: Tensor) -> Tensor:
        """The loss at the present position, once a sample."""
        value = 0.5 * (self.get_buffer("curvature") * (self.position - self.get_buffer("bottom")) ** 2).sum()
        return value.expand(len(batch))

    @staticmethod
    def step(model: nn.Module, batch: Any) -> Mapping[str, Any]:
        """For ``Objective.from_step``."""
        return {"loss": model(batch[0])}

    @staticmethod
    def data(samples: int = 3) -> list[tuple[Tensor, Tensor]]:
        """One batch of whatever."""
        return [(torch.zeros(samples, 1), torch.zeros(samples))]


class ResNetBlock(nn.Module):
    """A convolution, then a residual block with BatchNorm, then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.conv1, self.norm1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, 3]`` of images ``[N, 1, H, W]``."""
        x = F.relu(self.stem(x))
        y = F.relu(self.norm1(self.conv1(x)))
        x = F.relu(x + self.norm2(self.conv2(y)))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class TiedEmbedding(nn.Module):
    """A token model with attention, dropout, and an output layer tied to the embedding."""

    def __init__(self, tokens: int = 11, width: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.attention = nn.MultiheadAttention(width, 2, dropout=0.5, batch_first=True)
        self.dropout = nn.Dropout(0.5)
        self.output = nn.Linear(width, tokens, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``[N, tokens, L]`` of token indices ``[N, L]``."""
        x = self.embedding(tokens)
        x = x + self.dropout(self.attention(x, x, x, need_weights=False)[0])
        logits: Tensor = self.output(x)
        return logits.transpose(1, 2)


class Recurrent(nn.Module):
    """An LSTM and a linear layer on its last output."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, 3]`` of sequences ``[N, L, 4]``."""
        logits: Tensor = self.head(self.lstm(x)[0][:, -1])
        return logits


class Untraceable(nn.Module):
    """A model whose way through its layers depends on the values, so that no tracer follows it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, 3]`` of inputs ``[N, 4]``."""
        x = self.first(x) if float(x.sum()) > 0 else self.second(x)
        logits: Tensor = self.head(torch.relu(x))
        return logits


@dataclass(frozen=True)
class Case:
    """One kind of model: how to build it, and data that fit."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], Tensor]
    targets: Callable[[], Tensor]
    loss: str = "cross_entropy"

    def model(self, seed: int = 0) -> nn.Module:
        """The model with weights drawn from `seed`; the global random state is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build()

    def data(self, samples: int = 10) -> tuple[Tensor, Tensor]:
        """Inputs and targets, the same each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1234)
            return self.inputs()[:samples], self.targets()[:samples]

    def states(self, count: int = 3) -> list[dict[str, Tensor]]:
        """As many state dicts, each of other weights; running variances stay positive."""
        return [{name: t.detach().clone() for name, t in self.model(seed).state_dict().items()} for seed in range(count)]


def _linear() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def _frozen() -> nn.Module:
    model = _linear()
    for parameter in model[0].parameters():  # type: ignore[index]
        parameter.requires_grad_(False)
    return model


def _old_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 5)), nn.ReLU(), nn.Linear(5, 3))


def _varied_norms() -> nn.Module:
    block = ResNetBlock()
    for norm in (block.norm1, block.norm2):
        nn.init.normal_(norm.get_buffer("running_mean"))
        nn.init.uniform_(norm.get_buffer("running_var"), 0.5, 2.0)
    return block


def _vectors() -> Tensor:
    return torch.randn(20, 4)


def _classes() -> Tensor:
    return torch.randint(3, (20,))


CASES: tuple[Case, ...] = (
    Case("linear", _linear, _vectors, _classes),
    Case("LeNet", LeNet, lambda: torch.randn(20, 1, 32, 32), lambda: torch.randint(10, (20,)), "nll"),
    Case("BatchNorm ResNet block", _varied_norms, lambda: torch.randn(20, 1, 6, 6), _classes),
    Case("tied attention", TiedEmbedding, lambda: torch.randint(11, (20, 5)), lambda: torch.randint(11, (20, 5))),
    Case("frozen", _frozen, _vectors, _classes),
    Case("LSTM", Recurrent, lambda: torch.randn(20, 7, 4), _classes),
    Case("old weight_norm", _old_weight_norm, _vectors, _classes),
    Case(
        "parametrised weight_norm",
        lambda: nn.Sequential(parametrized_weight_norm(nn.Linear(4, 5)), nn.ReLU(), nn.Linear(5, 3)),
        _vectors,
        _classes,
    ),
    Case("DataParallel", lambda: nn.DataParallel(_linear()), _vectors, _classes),
    Case("untraceable", Untraceable, _vectors, _classes),
)
"""Every backend passes its contract on each of these."""


def case(name: str) -> Case:
    """The case of that name."""
    return next(c for c in CASES if c.name == name)


def trained_states(model: nn.Module, inputs: Tensor, targets: Tensor, steps: int) -> Iterator[dict[str, Tensor]]:
    """The state dicts of a short training, the initial one first. Changes `model`."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    yield {name: t.detach().clone() for name, t in model.state_dict().items()}
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield {name: t.detach().clone() for name, t in model.state_dict().items()}
