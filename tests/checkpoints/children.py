"""What real libraries write: run as a process of its own, because they warn and keep global state. ``children.py KIND FOLDER``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def library(name: str) -> Any:
    """What may not be installed where types are checked."""
    return import_module(name)


def tiny_bert() -> Any:
    found = library("transformers")
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 16}
    sizes |= {"vocab_size": 50, "hidden_size": 8, "num_labels": 3}
    return found.BertForSequenceClassification(found.BertConfig(**sizes))


def sentences() -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(50, (16, 6), generator=generator)
    return [{"input_ids": row, "attention_mask": torch.ones(6, dtype=torch.long), "labels": row.sum() % 3} for row in rows]


def train_with_transformers(model: Any, folder: Path, **options: Any) -> None:
    found = library("transformers")
    told: dict[str, Any] = {"save_steps": 2, "logging_steps": 2, "max_steps": 6, "report_to": [], "use_cpu": True, "disable_tqdm": True}
    arguments = found.TrainingArguments(str(folder), per_device_train_batch_size=4, learning_rate=0.1, seed=1, **told, **options)
    found.Trainer(model, arguments, train_dataset=sentences(), eval_dataset=sentences()).train()


def transformers(folder: Path) -> None:
    """An output of Trainer, one of its checkpoints saved in shards, and all states as transformers itself loads them."""
    bert = library("transformers").BertForSequenceClassification
    train_with_transformers(tiny_bert(), folder / "out", eval_strategy="steps", eval_steps=2)
    places = sorted((folder / "out").glob("checkpoint-*"))
    loaded = [bert.from_pretrained(place) for place in places]
    loaded[-1].save_pretrained(folder / "shards", max_shard_size="2KB")
    torch.save([model.state_dict() for model in loaded], folder / "expected.pt")


def peft(folder: Path) -> None:
    """Adapters of a Trainer on a base model, and the whole models as PEFT itself loads them."""
    found, bert = library("peft"), library("transformers").BertForSequenceClassification
    tiny_bert().save_pretrained(folder / "base")
    torch.manual_seed(1)
    config = found.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"])
    model: Any = found.get_peft_model(bert.from_pretrained(folder / "base"), config)
    train_with_transformers(model, folder / "out")
    expected = []
    for place in sorted((folder / "out").glob("checkpoint-*")):
        whole = found.PeftModel.from_pretrained(bert.from_pretrained(folder / "base"), str(place))
        expected.append(whole.state_dict())
    torch.save(expected, folder / "expected.pt")


def lightning(folder: Path) -> None:
    """Checkpoints of a LightningModule with a weighted loss, with last.ckpt and metrics.csv; and the states as they were saved."""
    found, written = library("lightning.pytorch"), library("lightning.pytorch.loggers")

    class Module(found.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
            self.criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))

        def training_step(self, batch: Any, _: int) -> Tensor:
            loss: Tensor = self.criterion(self.model(batch[0]), batch[1])
            self.log("train_loss", loss, on_epoch=True, on_step=False)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(20, 3), torch.arange(20) % 2)
    run = folder / "run"
    saving = library("lightning.pytorch.callbacks").ModelCheckpoint(run / "checkpoints", save_top_k=-1, save_last=True)
    loggers = [written.CSVLogger(run, name="", version=""), written.TensorBoardLogger(run, name="tensorboard", version="")]
    trainer = found.Trainer(
        max_epochs=3, callbacks=[saving], logger=loggers, enable_progress_bar=False, accelerator="cpu", log_every_n_steps=1
    )
    module = Module()
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=5))
    torch.save({k.removeprefix("model."): v for k, v in module.state_dict().items() if "criterion" not in k}, folder / "expected.pt")


def distributed(folder: Path) -> None:
    """Two processes train under FSDP2 and save with torch.distributed.checkpoint; whole tensors beside, and each process's own file."""
    mp: Any = import_module("torch.multiprocessing")
    mp.spawn(_rank, (folder, 2), nprocs=2)


def _rank(rank: int, folder: Path, world: int) -> None:
    import torch.distributed as dist
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, get_state_dict
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dcp: Any = import_module("torch.distributed.checkpoint")
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=world)
    mesh = init_device_mesh("cpu", (world,))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 3))
    fully_shard(model[0], mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    expected = []
    for step in (10, 20):
        model(torch.randn(8, 5)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        state, optimizer_state = get_state_dict(model, optimizer)
        dcp.save({"model": state, "optimizer": optimizer_state, "step": step}, checkpoint_id=folder / "run" / f"step-{step}")
        whole: Any = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        expected.append({name: tensor.clone() for name, tensor in whole.items()})
    torch.save(get_model_state_dict(model), folder / f"rank{rank}.pt")
    if rank == 0:
        torch.save(expected, folder / "expected.pt")
    dist.barrier()
    dist.destroy_process_group()


KINDS: dict[str, Callable[[Path], None]] = {f.__name__: f for f in (transformers, peft, lightning, distributed)}

if __name__ == "__main__":
    KINDS[sys.argv[1]](Path(sys.argv[2]))
