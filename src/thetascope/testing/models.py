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
from thetascope.scoring.metrics import Step
from thetascope.scoring.objective import Objective


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


class ShortcutBlock(nn.Module):
    """A stage of a CIFAR ResNet: the shortcut takes every second pixel and pads channels, and is added in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv1, self.norm1 = nn.Conv2d(4, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.norm2, self.relu = nn.Conv2d(8, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        self.linear = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, 3]`` of images ``[N, 3, H, W]``."""
        x = self.relu(self.norm(self.stem(x)))
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        y += F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        logits: Tensor = self.linear(F.avg_pool2d(self.relu(y), y.shape[3]).flatten(1))
        return logits


class MaskedEncoder(nn.Module):
    """Attention over token embeddings behind a padding mask, called with keywords."""

    def __init__(self, *, causal: bool = False) -> None:
        super().__init__()
        self.causal, self.words, self.places = causal, nn.Embedding(11, 8), nn.Embedding(6, 8)
        self.qkv, self.out, self.norm = nn.Linear(8, 24), nn.Linear(8, 8), nn.LayerNorm(8)
        self.head = nn.Linear(8, 11, bias=False) if causal else nn.Linear(8, 3)
        if causal:
            self.head.weight = self.words.weight

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits of the first token ``[N, 3]``, or of every token ``[N, L, 11]`` where it is causal."""
        x = self.words(input_ids) + self.places(torch.arange(input_ids.shape[1], device=input_ids.device))
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        mask = None if attention_mask is None else attention_mask[:, None, None, :].bool()
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal)
        x = self.norm(x + self.out(attended.transpose(1, 2).flatten(2)))
        logits: Tensor = self.head(x if self.causal else x[:, 0])
        return logits


class Experts(nn.Module):
    """A mixture of experts whose balance term stays on the model, where the loss reads it."""

    aux_loss: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(4, 2), nn.ModuleList(nn.Linear(4, 3) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, 3]`` of inputs ``[N, 4]``."""
        share = self.gate(x).softmax(1)
        self.aux_loss = share.square().sum(1)
        logits: Tensor = sum(share[:, i : i + 1] * expert(x) for i, expert in enumerate(self.experts))
        return logits


class LazyGrid(nn.Module):
    """A model that makes a grid of coordinates at its first pass and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.grid: Tensor | None = None
        self.first, self.head = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, 3]`` of sequences ``[N, L, 4]``."""
        if self.grid is None or self.grid.shape[0] != x.shape[1]:
            self.grid = torch.linspace(0, 1, x.shape[1], dtype=x.dtype, device=x.device)
        x = torch.cat([x, self.grid.expand(x.shape[0], -1).unsqueeze(-1)], -1)
        logits: Tensor = self.head(torch.relu(self.first(x)).mean(1))
        return logits


class ClassToken(nn.Module):
    """A model that asks for the length of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.first, self.head = nn.Parameter(torch.randn(1, 1, 4)), nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, 3]`` of sequences ``[N, L, 4]``."""
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        logits: Tensor = self.head(torch.tanh(self.first(x)).amax(1))
        return logits


def classify_masked(model: nn.Module, batch: Any) -> Mapping[str, Any]:
    """A step over mappings of tokens, masks and classes."""
    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"])
    right = logits.argmax(1) == batch["labels"]
    return {"loss": F.cross_entropy(logits, batch["labels"], reduction="none"), "right": right}


def next_tokens(model: nn.Module, batch: Any) -> Mapping[str, Any]:
    """A causal language model's step: the mean over each sequence's positions whose label is not -100, weighted by their number."""
    logits, wanted = model(batch["input_ids"])[:, :-1], batch["labels"][:, 1:]
    counted = (wanted != -100).sum(1)
    losses = F.cross_entropy(logits.transpose(1, 2), wanted, reduction="none", ignore_index=-100)
    return {"loss": losses.sum(1) / counted.clamp(min=1), "weight": counted}


def classify_balanced(model: nn.Module, batch: Any) -> Mapping[str, Any]:
    """A step that adds what the model left on itself."""
    losses = F.cross_entropy(model(batch[0]), batch[1], reduction="none")
    return {"loss": losses + 0.1 * model.aux_loss}  # type: ignore[operator]


@dataclass(frozen=True)
class Case:
    """One kind of model: how to build it, and data that fit; `step` says how a batch is scored where a loss's name does not."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], Tensor]
    targets: Callable[[], Tensor]
    loss: str = "cross_entropy"
    step: Step | None = None
    batch: Callable[[Tensor, Tensor], Any] | None = None

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

    def batches(self, size: int = 4) -> list[Any]:
        """The data in batches of so many rows, of which the last is shorter, as the step takes them."""
        inputs, targets = self.data()
        parts = [(inputs[i : i + size], targets[i : i + size]) for i in range(0, len(inputs), size)]
        return parts if self.batch is None else [self.batch(*part) for part in parts]

    def objective(self, model: nn.Module | None = None, *, batch_size: int = 4, **options: Any) -> Objective:
        """An objective for it."""
        model = model or self.model()
        if self.step is None:
            return Objective(model, self.data(), loss=self.loss, batch_size=batch_size, **options)
        return Objective.from_step(model, self.batches(batch_size), step=self.step, **options)

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


def _tokens() -> Tensor:
    return torch.randint(1, 11, (20, 6))


def _sequences() -> Tensor:
    return torch.randn(20, 5, 4)


def _with_mask(tokens: Tensor, labels: Tensor) -> dict[str, Tensor]:
    mask = (torch.arange(tokens.shape[1]) < 3 + labels[:, None]).long()
    return {"input_ids": tokens * mask, "attention_mask": mask, "labels": labels}


def _padded(tokens: Tensor, lengths: Tensor) -> dict[str, Tensor]:
    return {"input_ids": tokens, "labels": tokens.masked_fill(torch.arange(tokens.shape[1]) >= 2 + lengths[:, None], -100)}


REAL_CASES: tuple[Case, ...] = (
    Case("CIFAR ResNet", ShortcutBlock, lambda: torch.randn(20, 3, 8, 8), _classes),
    Case("BERT-like, batches of mappings", MaskedEncoder, _tokens, _classes, step=classify_masked, batch=_with_mask),
    Case("GPT-like, tied", lambda: MaskedEncoder(causal=True), _tokens, _classes, step=next_tokens, batch=_padded),
    Case("mixture of experts", Experts, _vectors, _classes, step=classify_balanced),
    Case("lazily cached grid", LazyGrid, _sequences, _classes),
    Case("length of the batch", ClassToken, _sequences, _classes),
)
"""What people train, and how they score it: every backend passes its contract on these too."""


def case(name: str) -> Case:
    """The case of that name."""
    return next(c for c in (*CASES, *REAL_CASES) if c.name == name)


def trained_states(model: nn.Module, inputs: Tensor, targets: Tensor, steps: int) -> Iterator[dict[str, Tensor]]:
    """The state dicts of a short training, the initial one first. Changes `model`."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    yield {name: t.detach().clone() for name, t in model.state_dict().items()}
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield {name: t.detach().clone() for name, t in model.state_dict().items()}
