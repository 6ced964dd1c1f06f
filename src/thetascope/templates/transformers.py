"""What thetascope scores: a language model of transformers. As it stands, it is a tiny example that runs without a download.

``python objective.py`` trains the model once and records it; ``thetascope examine runs/first`` then looks at it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

import thetascope as ts
from thetascope.integrations.transformers import RecorderCallback


# 1. Your model, such as AutoModelForCausalLM.from_pretrained(…). Its values do not matter here: recorded states are put in.
def model() -> Any:
    """A fresh model."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=0, **sizes))


# 2. Your data, tokenised, and the collator that your Trainer has. Held-out ones are what is scored.
VOCABULARY = 20


def texts(count: int, seed: int) -> list[dict[str, Any]]:
    """The example's data: each token follows the one before it, in a circle, but for a few at random."""
    draw, rows = torch.Generator().manual_seed(seed), []
    for _ in range(count):
        length, first = (int(torch.randint(low, high, (1,), generator=draw)) for low, high in ((6, 20), (0, VOCABULARY)))
        ids = (first + torch.arange(length)) % VOCABULARY
        noise = torch.rand(length, generator=draw) < 0.1
        ids[noise] = torch.randint(0, VOCABULARY, (int(noise.sum()),), generator=draw)
        rows.append({"input_ids": ids, "labels": ids})
    return rows


def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows as a batch, padded on the right; labels of -100 do not count."""
    ids = [row["input_ids"] for row in rows]
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    return {"input_ids": padded, "attention_mask": mask, "labels": torch.where(mask == 1, padded, -100)}


# 3. How it is scored: causal_lm, token_classification or sequence_classification; or ts.Objective(model, data, loss="model").
STEP = ts.steps.causal_lm


def objective() -> ts.Objective:
    """What to score, for ``--objective objective.py:objective``."""
    held_out: Any = texts(100, seed=1)
    return ts.Objective.from_step(model(), DataLoader(held_out, batch_size=25, collate_fn=collate), step=STEP)


if __name__ == "__main__":
    # The same in a training of your own: one more callback.
    arguments = TrainingArguments("runs/checkpoints", num_train_epochs=10, per_device_train_batch_size=20, learning_rate=3e-3, report_to=[])
    rows: Any = texts(200, seed=0)
    trainer = Trainer(
        model(),
        arguments,
        train_dataset=rows,
        data_collator=collate,
        callbacks=[RecorderCallback("runs/first", every="epoch")],
    )
    trainer.train()
    print("recorded in runs/first; now: thetascope examine runs/first")
