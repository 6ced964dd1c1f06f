"""Ready steps for `Objective.from_step`, for models and batches as those of transformers: a batch is a mapping of the model's arguments.

Each gives a value for every sample, weighted by the labels that count (those that are not −100), so that the loss is the mean over all
labels of the data, whatever batches they come in and however they are padded.

Example:
    >>> class Tagger(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.embed, self.out = torch.nn.Embedding(9, 8), torch.nn.Linear(8, 3)
    ...     def forward(self, input_ids):
    ...         return {"logits": self.out(self.embed(input_ids))}
    >>> batches = [{"input_ids": torch.tensor([[1, 2, 0]]), "labels": torch.tensor([[0, 2, -100]])}]
    >>> tagging = ts.Objective.from_step(Tagger(), batches, step=ts.steps.token_classification)
    >>> sorted(tagging.score(Tagger().state_dict()))
    ['accuracy', 'loss', 'samples']
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thetascope.errors import ObjectiveError
from thetascope.scoring.calling import called, decodes, labels_of, logits_of
from thetascope.scoring.metrics import IGNORED

__all__ = ["causal_lm", "sequence_classification", "token_classification"]


def causal_lm(model: nn.Module, batch: Any) -> dict[str, Tensor]:
    """Score a model that predicts each next token, such as GPT-2 or Llama.

    Args:
        model: gives logits ``[N, T, V]``.
        batch: a mapping with "input_ids" ``[N, T]`` and, as a rule, "attention_mask" and "labels" ``[N, T]``, not shifted. Without
            labels they are the input's tokens. What is masked does not count, nor does the first token behind padding on the left.

    Returns:
        Of each sequence ``[N]``: "loss", the mean cross-entropy of its tokens (exp of it is the perplexity); "accuracy", the share of
        tokens that were the most probable; "weight", how many tokens count.
    """
    logits = logits_of(called(model, batch, without=("labels",)))
    labels, mask = batch.get("labels"), batch.get("attention_mask")
    labels = labels_of({"labels": batch.get("input_ids") if labels is None else labels})[:, 1:]
    if mask is not None and mask.ndim == 2:  # a token that follows padding is predicted from nothing
        labels = torch.where((mask[:, 1:] == 0) | (mask[:, :-1] == 0), IGNORED, labels)
    return _by_sequence(logits[:, :-1], labels)


def token_classification(model: nn.Module, batch: Any) -> dict[str, Tensor]:
    """Score a model that gives each position a class: taggers, masked language models such as BERT, sequence-to-sequence models.

    Args:
        model: gives logits ``[N, T, C]``.
        batch: a mapping with "labels" ``[N, T]``, those that do not count −100. Models with an encoder and a decoder are given them
            too, because they make the decoder's input of them.

    Returns:
        As `causal_lm`.
    """
    return _by_sequence(logits_of(called(model, batch, without=() if decodes(model) else ("labels",))), labels_of(batch))


def sequence_classification(model: nn.Module, batch: Any) -> dict[str, Tensor]:
    """Score a model that gives each sample one answer: a text's or an image's class, several labels, or a number.

    Args:
        model: gives logits ``[N, C]``.
        batch: a mapping with "labels": classes ``[N]``, zeros and ones ``[N, C]`` (labels that may hold together), or numbers, where
            the model has one output.

    Returns:
        Of each sample ``[N]``: "loss" (cross-entropy, binary cross-entropy averaged over the labels, or squared error), "weight" (0
        where a class is −100), and "accuracy" where there are classes.
    """
    labels = labels_of(batch)
    logits = _wide(logits_of(called(model, batch, without=("labels", "label"))))
    if logits.shape[-1] == 1 or labels.is_floating_point():
        wanted = labels.to(logits.dtype).reshape(len(labels), -1)
        if wanted.shape != logits.shape:
            raise ObjectiveError(f"numbers as labels need an output each. Got outputs {list(logits.shape)}, labels {list(labels.shape)}.")
        measure = F.mse_loss if logits.shape[-1] == 1 else F.binary_cross_entropy_with_logits
        values = measure(logits, wanted, reduction="none").mean(1)
        return {"loss": values, "weight": torch.ones_like(values)}
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ObjectiveError(f"classes need outputs [N, C] and labels [N]. Got {list(logits.shape)} and {list(labels.shape)} instead.")
    return {
        "loss": F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none"),
        "accuracy": (logits.argmax(-1) == labels).to(logits.dtype),
        "weight": (labels != IGNORED).to(logits.dtype),
    }


def _by_sequence(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Means over each sequence's labels that count, and how many these are."""
    if logits.ndim != 3 or labels.shape != logits.shape[:2]:
        raise ObjectiveError(f"tokens need outputs [N, T, C] and labels [N, T]. Got {list(logits.shape)} and {list(labels.shape)} instead.")
    logits = _wide(logits)
    counted = (labels != IGNORED).double()
    count = counted.sum(1)
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none").view_as(labels).double()
    right = (logits.argmax(-1) == labels).double()
    return {
        "loss": (losses * counted).sum(1) / count.clamp(min=1),
        "accuracy": (right * counted).sum(1) / count.clamp(min=1),
        "weight": count,
    }


def _wide(logits: Tensor) -> Tensor:
    """At least single precision, as transformers computes its losses."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
