"""Networks of several kinds to measure on, with data and a plain way to score them: what people train, not one LeNet."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import thetascope as ts

State = dict[str, Tensor]


@dataclass(frozen=True)
class Network:
    """One row of the table.

    Attributes:
        make: a new model with weights of its own.
        data: the tensors of all samples, by name; the whole-model walk uses `samples` of them.
        step: a function of (model, batch as a mapping) that gives the loss of each sample ``[N]``.
        supervised: the loss's name where the model maps inputs to outputs; None where only the step says how it is scored.
    """

    make: Callable[[], nn.Module]
    data: Callable[[int], dict[str, Tensor]]
    step: Callable[[nn.Module, Mapping[str, Tensor]], Tensor]
    samples: int
    supervised: bool = True

    def objective(self, data: Mapping[str, Tensor], **options: Any) -> ts.Objective:
        """As its user would make it."""
        if self.supervised:
            return ts.Objective(self.make(), (data["inputs"], data["labels"]), metrics=(), **options)
        size = options.pop("batch_size", 1000)
        rows = len(data["labels"])
        batches = [{name: value[i : i + size] for name, value in data.items()} for i in range(0, rows, size)]
        return ts.Objective.from_step(self.make(), batches, step=lambda model, batch: {"loss": self.step(model, batch)}, **options)


class BasicBlock(nn.Module):
    """He et al. 2016, for CIFAR: the shortcut takes every second pixel and pads channels with zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.pad = (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]``."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.pad:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x)


class CifarResNet(nn.Module):
    """ResNet-20, 32, 44, 56 with the names of Y. Idelbayev's checkpoints."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(*(BasicBlock(before if not i else width, width, 2 if not i and width > 16 else 1) for i in range(blocks)))
            for before, width in ((16, 16), (16, 32), (32, 64))
        )
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images ``[N, 3, 32, 32]``."""
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        logits: Tensor = self.linear(F.avg_pool2d(x, x.shape[3]).flatten(1))
        return logits


class ResNet18(nn.Module):
    """The shape of ResNet-18."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        self.layers = nn.Sequential(
            *(self.Block(before, width, stride) for before, width, stride in
              ((64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)))
        )  # fmt: skip
        self.fc = nn.Linear(512, 10)

    class Block(nn.Module):
        """With a convolution as shortcut where the shape changes."""

        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
            self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
            self.relu = nn.ReLU(inplace=True)
            self.down = (
                nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
                if stride > 1 or inputs != outputs else nn.Identity()
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            """``[N, C, H, W]``."""
            y = self.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            y += self.down(x)
            out: Tensor = self.relu(y)
            return out

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images."""
        logits: Tensor = self.fc(self.layers(self.stem(x)).mean((2, 3)))
        return logits


class UNet(nn.Module):
    """A small U-Net that classifies pixels."""

    def __init__(self, width: int = 24, classes: int = 5) -> None:
        super().__init__()

        def double(inputs: int, outputs: int) -> nn.Module:
            parts = [(inputs, outputs), (outputs, outputs)]
            return nn.Sequential(
                *(p for i, o in parts for p in (nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(True)))
            )

        self.down1, self.down2, self.middle = double(3, width), double(width, 2 * width), double(2 * width, 4 * width)
        self.up2, self.up1 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.dec2, self.dec1, self.head = double(4 * width, 2 * width), double(2 * width, width), nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, classes, H, W]``."""
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.middle(F.max_pool2d(b, 2))
        b = self.dec2(torch.cat([self.up2(c), b], 1))
        logits: Tensor = self.head(self.dec1(torch.cat([self.up1(b), a], 1)))
        return logits


class Attention(nn.Module):
    """A transformer block with attention written out; causal where asked."""

    def __init__(self, width: int, heads: int, *, causal: bool = False, norm_first: bool = True) -> None:
        super().__init__()
        self.norm1, self.norm2, self.heads, self.causal, self.first = nn.LayerNorm(width), nn.LayerNorm(width), heads, causal, norm_first
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """``[N, L, width]``."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal)
        attended: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return attended

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``[N, L, width]``."""
        if self.first:
            x = x + self.attend(self.norm1(x), mask)
            found: Tensor = x + self.mlp(self.norm2(x))
            return found
        x = self.norm1(x + self.attend(x, mask))
        normed: Tensor = self.norm2(x + self.mlp(x))
        return normed


class ViT(nn.Module):
    """ViT-tiny's shape on small images."""

    def __init__(self, width: int = 192, depth: int = 12, heads: int = 3, patch: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, (32 // patch) ** 2 + 1, width))
        self.blocks, self.norm, self.head = (
            nn.Sequential(*(Attention(width, heads) for _ in range(depth))),
            nn.LayerNorm(width),
            nn.Linear(width, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images ``[N, 3, 32, 32]``."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        logits: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return logits


class BertLike(nn.Module):
    """An encoder with a padding mask and a classifier on the first token."""

    def __init__(self, tokens: int = 1000, width: int = 128, depth: int = 6, length: int = 64) -> None:
        super().__init__()
        self.words, self.places, self.norm = nn.Embedding(tokens, width), nn.Embedding(length, width), nn.LayerNorm(width)
        self.blocks, self.head = nn.ModuleList(Attention(width, 4, norm_first=False) for _ in range(depth)), nn.Linear(width, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits ``[N, 3]``."""
        x = self.norm(self.words(input_ids) + self.places(torch.arange(input_ids.shape[1], device=input_ids.device)))
        mask = attention_mask[:, None, None, :].bool()
        for block in self.blocks:
            x = block(x, mask)
        logits: Tensor = self.head(x[:, 0])
        return logits


class GptLike(nn.Module):
    """A causal language model with tied embeddings; positions of label -100 do not count."""

    def __init__(self, tokens: int = 1000, width: int = 128, depth: int = 6, length: int = 64) -> None:
        super().__init__()
        self.words, self.places, self.norm = nn.Embedding(tokens, width), nn.Embedding(length, width), nn.LayerNorm(width)
        self.blocks, self.head = nn.ModuleList(Attention(width, 4, causal=True) for _ in range(depth)), nn.Linear(width, tokens, bias=False)
        self.head.weight = self.words.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        """Logits ``[N, L, tokens]``."""
        x = self.words(input_ids) * 0.05 + self.places(torch.arange(input_ids.shape[1], device=input_ids.device))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


class LSTM(nn.Module):
    """Two LSTM layers over sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.LSTM(16, 96, batch_first=True), nn.LSTM(96, 96, batch_first=True), nn.Linear(96, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of ``[N, L, 16]``."""
        logits: Tensor = self.head(self.second(self.first(x)[0])[0][:, -1])
        return logits


class Experts(nn.Module):
    """A dense mixture of experts between linear layers; its balance term stays on the model, as many write it."""

    aux_loss: Tensor

    def __init__(self, width: int = 192, experts: int = 4, depth: int = 3) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(64, width), nn.Linear(width, 10)
        self.gates = nn.ModuleList(nn.Linear(width, experts) for _ in range(depth))
        self.experts = nn.ModuleList(
            nn.ModuleList(nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in range(experts))
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, 10]`` of features ``[N, 64]``."""
        x, balance = F.gelu(self.stem(x)), x.new_zeros(())
        gate: nn.Module
        experts: Any
        for gate, experts in zip(self.gates, self.experts, strict=True):
            share = gate(x).softmax(-1)
            balance = balance + (share * share).sum(-1)
            x = x + sum(share[:, i : i + 1] * expert(x) for i, expert in enumerate(experts))
        self.aux_loss = balance
        logits: Tensor = self.head(x)
        return logits


def classified(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Cross-entropy of each sample."""
    return F.cross_entropy(model(batch["inputs"]), batch["labels"], reduction="none")


def pixels(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Mean cross-entropy over each sample's pixels."""
    return F.cross_entropy(model(batch["inputs"]), batch["labels"], reduction="none").mean((1, 2))


def masked(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Of a model that takes a mask and returns logits, or an object that holds them."""
    out = model(batch["input_ids"], attention_mask=batch["attention_mask"])
    return F.cross_entropy(getattr(out, "logits", out), batch["labels"], reduction="none")


def causal(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Mean over the positions of each sample whose label is not -100."""
    out = model(batch["input_ids"])
    logits = getattr(out, "logits", out)[:, :-1].transpose(1, 2)
    wanted = batch["labels"][:, 1:]
    losses = F.cross_entropy(logits, wanted, reduction="none", ignore_index=-100)
    return losses.sum(1) / (wanted != -100).sum(1).clamp(min=1)


def balanced(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Cross-entropy and what the model left on itself."""
    losses = F.cross_entropy(model(batch["inputs"]), batch["labels"], reduction="none")
    return losses + 0.01 * model.aux_loss  # type: ignore[operator]


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def images(size: int, dense: bool = False) -> Callable[[int], dict[str, Tensor]]:
    """Synthetic images; labels per pixel where `dense`."""

    def data(count: int) -> dict[str, Tensor]:
        shape = (count, size, size) if dense else (count,)
        inputs = torch.randn(count, 3, size, size, generator=_generator())
        return {"inputs": inputs, "labels": torch.randint(5 if dense else 10, shape, generator=_generator())}

    return data


def cifar(count: int) -> dict[str, Tensor]:
    """CIFAR-10's test images where the environment names their folder, normalised; synthetic ones otherwise."""
    folder = os.environ.get("THETASCOPE_CIFAR10")
    if not folder:
        return images(32)(count)
    with np.load(Path(folder) / "cifar10_test.npz") as held:
        pictures, labels = torch.from_numpy(held["images"][:count]), torch.from_numpy(held["labels"][:count]).long()
    mean, deviation = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    return {"inputs": ((pictures / 255 - mean) / deviation).permute(0, 3, 1, 2).contiguous(), "labels": labels}


def tokens(count: int, length: int = 64, vocabulary: int = 1000) -> dict[str, Tensor]:
    """Token sequences of several lengths, with masks and classes."""
    ids = torch.randint(1, vocabulary, (count, length), generator=_generator())
    lengths = torch.randint(length // 2, length + 1, (count, 1), generator=_generator())
    mask = (torch.arange(length) < lengths).long()
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": torch.randint(3, (count,), generator=_generator())}


def text(count: int, length: int = 64) -> dict[str, Tensor]:
    """The same as language modelling: padding is labelled -100."""
    held = tokens(count, length)
    return {"input_ids": held["input_ids"], "labels": held["input_ids"].masked_fill(held["attention_mask"] == 0, -100)}


def features(*shape: int, classes: int = 10) -> Callable[[int], dict[str, Tensor]]:
    """Vectors or sequences."""

    def data(count: int) -> dict[str, Tensor]:
        return {
            "inputs": torch.randn(count, *shape, generator=_generator()),
            "labels": torch.randint(classes, (count,), generator=_generator()),
        }

    return data


def hugging_bert() -> nn.Module:
    """Hugging Face's BERT, tiny."""
    transformers: Any = import_module("transformers")
    shape = {"vocab_size": 1000, "hidden_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 512}
    model: nn.Module = transformers.BertForSequenceClassification(transformers.BertConfig(**shape, num_labels=3))
    return model.eval()


def hugging_gpt2() -> nn.Module:
    """Hugging Face's GPT-2, tiny."""
    transformers: Any = import_module("transformers")
    shape = {"vocab_size": 1000, "n_positions": 64, "n_embd": 128, "n_layer": 6, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0}
    model: nn.Module = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape))
    return model.eval()


NETWORKS: dict[str, Network] = {
    "ResNet-20": Network(lambda: CifarResNet(3), cifar, classified, 500),
    "ResNet-56": Network(lambda: CifarResNet(9), cifar, classified, 500),
    "ResNet-18, 64 px": Network(ResNet18, images(64), classified, 100),
    "U-Net": Network(UNet, images(48, dense=True), pixels, 60),
    "ViT-tiny": Network(ViT, images(32), classified, 100),
    "BERT-like": Network(BertLike, tokens, masked, 250, supervised=False),
    "GPT-2-like": Network(GptLike, text, causal, 250, supervised=False),
    "LSTM": Network(LSTM, features(48, 16, classes=5), classified, 1000),
    "experts": Network(Experts, features(64), balanced, 4000, supervised=False),
    "Hugging Face BERT": Network(hugging_bert, tokens, masked, 250, supervised=False),
    "Hugging Face GPT-2": Network(hugging_gpt2, text, causal, 250, supervised=False),
}
"""The table. Hugging Face's models want the package transformers."""


def states_of(network: Network, count: int = 2) -> list[State]:
    """State dicts of weights drawn anew; running statistics as after a little training."""
    found = []
    for seed in range(count):
        torch.manual_seed(seed)
        model = network.make()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, 0.0, 0.1)  # type: ignore[arg-type]
                nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
        found.append({name: value.detach().clone() for name, value in model.state_dict().items()})
    return found
