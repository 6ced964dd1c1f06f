"""Models as their trainers make them: what a callback costs a training, and a line and single layers against a plain loop.

The plain loop is what one would write: weights are interpolated and copied into the model, and the same batches go through. Its time a
point is measured before and after each call.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import lightning.pytorch as pl
import numpy as np
import peft
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import thetascope as ts
from _measure import Ratio, report, timed
from thetascope.demo.images import load_digits
from thetascope.demo.network import LeNet
from thetascope.integrations.lightning import RecorderCallback as LightningRecorder
from thetascope.integrations.transformers import RecorderCallback as TransformersRecorder

VOCABULARY, SEQUENCES, LENGTH, BATCH = 1000, 64, 64, 16
State = dict[str, Tensor]
SIZES: dict[str, Any] = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512}


class Module(pl.LightningModule):
    """LeNet as a LightningModule."""

    def __init__(self) -> None:
        super().__init__()
        self.net = LeNet()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        loss = F.nll_loss(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The same."""
        return F.nll_loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """What trains it."""
        return torch.optim.SGD(self.parameters(), lr=0.01)


def gpt2() -> Any:
    """A small GPT-2."""
    shape: Any = {"n_positions": LENGTH, "n_embd": 128, "n_layer": 4, "n_head": 4}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=0, **shape))


def lora() -> Any:
    """The same with an adapter."""
    return peft.get_peft_model(gpt2(), peft.LoraConfig(r=4, target_modules=["c_attn"], task_type="CAUSAL_LM"))


def bert() -> Any:
    """A small BERT that classifies."""
    make: Any = transformers.BertConfig
    return transformers.BertForSequenceClassification(make(vocab_size=VOCABULARY, num_labels=3, **SIZES))


def llama() -> Any:
    """A small Llama in bfloat16."""
    config: Any = transformers.LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=LENGTH, **SIZES)
    return transformers.LlamaForCausalLM(config).bfloat16()


def vit() -> Any:
    """A small ViT."""
    make: Any = transformers.ViTConfig
    return transformers.ViTForImageClassification(make(image_size=32, patch_size=4, num_labels=10, **SIZES))


def texts() -> list[dict[str, Tensor]]:
    """Ragged sequences, padded by batches; labels are the tokens."""
    draw = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(SEQUENCES // BATCH):
        lengths = torch.randint(LENGTH // 2, LENGTH + 1, (BATCH,), generator=draw)
        mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
        ids = torch.randint(1, VOCABULARY, mask.shape, generator=draw) * mask
        batches.append({"input_ids": ids, "attention_mask": mask, "labels": torch.where(mask == 1, ids, -100)})
    return batches


def classes() -> list[dict[str, Tensor]]:
    """The same with a class each."""
    return [{**batch, "labels": batch["input_ids"].sum(1) % 3} for batch in texts()]


def images() -> list[dict[str, Tensor]]:
    """Noise of ten classes."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randn(SEQUENCES // BATCH, BATCH, 3, 32, 32, generator=draw)
    return [{"pixel_values": part, "labels": torch.arange(BATCH) % 10} for part in pixels]


def digits() -> list[tuple[Tensor, Tensor]]:
    """Test images of the demo."""
    found = load_digits()
    return list(zip(torch.split(found.test_images, 100), torch.split(found.test_labels, 100), strict=True))


def by_step(step: str) -> Callable[[nn.Module, Sequence[Any]], ts.Objective]:
    """An objective with a ready step."""
    return lambda model, batches: ts.Objective.from_step(model, batches, step=getattr(ts.steps, step))


def of_labels(model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[float, float]:
    """Sum and count of a batch's losses, as one would write it."""
    labels = batch["labels"]
    logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits.float()
    if labels.ndim == 2:
        logits, labels = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return float(F.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")), float((labels != -100).sum())


def of_digits(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """The same of a LightningModule's network."""
    return float(F.nll_loss(model.net(batch[0]), batch[1], reduction="sum")), float(len(batch[1]))  # type: ignore[operator]


KINDS: dict[str, tuple[Callable[[], Any], Callable[[], Any], Any, Any]] = {
    "GPT-2": (gpt2, texts, by_step("causal_lm"), of_labels),
    "GPT-2 with LoRA": (lora, texts, by_step("causal_lm"), of_labels),
    "BERT": (bert, classes, by_step("sequence_classification"), of_labels),
    "Llama, bfloat16": (llama, texts, by_step("causal_lm"), of_labels),
    "ViT": (vit, images, by_step("sequence_classification"), of_labels),
    "LightningModule": (Module, digits, ts.Objective.from_lightning, of_digits),
}


def states_of(make: Callable[[], Any]) -> list[State]:
    """Two states; where others are frozen, only what requires a gradient differs."""
    torch.manual_seed(0)
    model = make()
    first = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape).to(parameter))
    return [first, {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}]


def plain_seconds(model: nn.Module, states: Sequence[State], batches: Sequence[Any], score: Any, alpha: float) -> float:
    """A point's: weights interpolated and copied, all batches scored."""

    def point() -> None:
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                tensor.copy_(torch.lerp(states[0][name].float(), states[1][name].float(), alpha) if tensor.is_floating_point() else tensor)
            for batch in batches:
                score(model, batch)

    return min(timed(point)[0] for _ in range(3))


def measured(name: str, rounds: int) -> dict[str, Any]:
    """A line of 21 points and all layers at 5, against as many plain points."""
    make, data, objective, score = KINDS[name]
    states, batches, model = states_of(make), data(), make().eval()
    found: dict[str, Any] = {"parameters": sum(p.numel() for p in model.parameters())}
    for kind, options in (("line", {"alphas": 21}), ("layers", {"level": "layer", "alphas": 5})):
        ratios = []
        for _ in range(rounds):
            trajectory, scored = ts.Trajectory.from_states(states), objective(make(), batches)
            before = plain_seconds(model, states, batches, score, 0.3)
            seconds, result = timed(ts.interpolate, scored, trajectory, progress=False, **options)
            after = plain_seconds(model, states, batches, score, 0.6)
            points = int(np.isfinite(result.data["loss"].values).sum())
            ratios.append(points * min(before, after) / seconds)
            found[f"{kind}_points"], found[f"{kind}_engine"] = points, result.data.attrs["engine"]["name"]
        found[kind] = Ratio(tuple(ratios))
    return found


def hooks_timed(callback: Any) -> list[float]:
    """Seconds that the hooks of a callback take, as they are called."""
    spent: list[float] = []

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent.append(time.perf_counter() - start)

        return call

    for name in [name for name in vars(type(callback)) if name.startswith("on_")]:
        setattr(callback, name, watched(getattr(callback, name)))
    return spent


def share_of_lightning(folder: Path) -> float:
    """Of a LeNet's training on 10,000 images an epoch, recorded every epoch."""
    found = load_digits()
    copies = -(-10_000 // len(found.train_labels))
    data: Any = TensorDataset(found.train_images.repeat(copies, 1, 1, 1)[:10_000], found.train_labels.repeat(copies)[:10_000])
    callback = LightningRecorder(folder / "run")
    spent = hooks_timed(callback)
    quiet: Any = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = pl.Trainer(accelerator="cpu", max_epochs=3, callbacks=[callback], **quiet)
    seconds, _ = timed(trainer.fit, Module(), DataLoader(data, batch_size=64, shuffle=True))
    return sum(spent) / seconds


def share_of_transformers(folder: Path) -> float:
    """Of a small GPT-2's training, recorded every epoch."""
    rows: Any = [{"input_ids": torch.randint(1, VOCABULARY, (LENGTH,))} for _ in range(1600)]
    for row in rows:
        row["labels"] = row["input_ids"]
    callback = TransformersRecorder(folder / "run")
    spent = hooks_timed(callback)
    arguments: Any = {"num_train_epochs": 3, "per_device_train_batch_size": BATCH, "report_to": [], "save_strategy": "no", "use_cpu": True}
    settings = transformers.TrainingArguments(str(folder / "out"), disable_tqdm=True, **arguments)
    trainer = transformers.Trainer(gpt2(), settings, train_dataset=rows, callbacks=[callback])
    seconds, _ = timed(trainer.train)
    return sum(spent) / seconds


def main() -> None:
    """Print all as a table and as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=list(KINDS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    shares = {}
    for name, share in (("Lightning, LeNet", share_of_lightning), ("transformers, GPT-2", share_of_transformers)):
        found = []
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as folder:
                found.append(share(Path(folder)))
        shares[name] = {"median": median(found), "worst": max(found)}
        print(f"{name}, recorded every epoch: {median(found):.2%} of the training's time (worst {max(found):.2%})")
    print("\nagainst a plain loop:")
    models = {}
    for name in arguments.only:
        models[name] = found_here = measured(name, arguments.rounds)
        for kind in ("line", "layers"):
            told = f"{found_here[f'{kind}_points']} points by {found_here[f'{kind}_engine']}: {found_here[kind]}"
            print(f"{name} ({found_here['parameters']:,} parameters), {kind}, {told}")
            found_here[kind] = found_here[kind].median
    report("trainers", {"callbacks": shares, "models": models})


if __name__ == "__main__":
    main()
