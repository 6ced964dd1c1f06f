"""Tiny models of transformers and ragged batches for them; what they score is summed up here in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

transformers: Any = pytest.importorskip("transformers")

VOCABULARY, CLASSES = 40, 3
LENGTHS = (9, 4, 12, 7, 3, 12, 5, 8, 11, 6, 2)


def gpt2() -> Any:
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=VOCABULARY, n_positions=16, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    )


def llama() -> Any:
    torch.manual_seed(0)
    sizes: Any = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=16, **sizes)).bfloat16()


def bert(kind: str = "BertForSequenceClassification") -> Any:
    torch.manual_seed(0)
    sizes: Any = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config: Any = transformers.BertConfig(vocab_size=VOCABULARY, max_position_embeddings=16, num_labels=CLASSES, **sizes)
    return getattr(transformers, kind)(config)


def vit() -> Any:
    torch.manual_seed(0)
    sizes: Any = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return transformers.ViTForImageClassification(transformers.ViTConfig(image_size=8, patch_size=4, num_labels=CLASSES, **sizes))


def t5() -> Any:
    torch.manual_seed(0)
    sizes: Any = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=VOCABULARY, decoder_start_token_id=0, pad_token_id=0, **sizes)
    )


def texts() -> list[Tensor]:
    draw = torch.Generator().manual_seed(1)
    return [torch.randint(1, VOCABULARY, (length,), generator=draw) for length in LENGTHS]


def padded(rows: list[Tensor], labels: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
    """A batch as a collator makes it: as wide as its longest row."""
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels(ids, mask)}


def of_tokens(ids: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask == 1, ids, -100)


def of_some_tokens(ids: Tensor, mask: Tensor) -> Tensor:
    """As of a masked language model: every third token, where there is one."""
    return torch.where((mask == 1) & (ids % 3 == 0), ids, -100)


def of_texts(ids: Tensor, mask: Tensor) -> Tensor:
    return (ids * mask).sum(1) % CLASSES


def in_batches(size: int, labels: Callable[[Tensor, Tensor], Tensor]) -> list[dict[str, Tensor]]:
    rows = texts()
    return [padded(rows[start : start + size], labels) for start in range(0, len(rows), size)]


def over_all_tokens(
    model: nn.Module, state: Mapping[str, Tensor], batches: Iterable[Mapping[str, Tensor]], *, shift: bool
) -> tuple[float, float]:
    """Cross-entropy and accuracy over all tokens at once."""
    model.load_state_dict(state, strict=False)  # a recorded state has tied tensors once
    model.eval()
    logits, labels = [], []
    with torch.no_grad():
        for batch in batches:
            found = model(**batch).logits.double()
            for row, wanted in zip(found, batch["labels"], strict=True):
                row, wanted = (row[:-1], wanted[1:]) if shift else (row, wanted)  # noqa: PLW2901
                logits.append(row[wanted != -100])
                labels.append(wanted[wanted != -100])
    every, wanted = torch.cat(logits), torch.cat(labels)
    return float(F.cross_entropy(every, wanted)), float((every.argmax(-1) == wanted).double().mean())
