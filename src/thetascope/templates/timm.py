"""What thetascope scores: an image model of timm. As it stands, it is a small example that runs without a download.

``python objective.py`` trains the model once and records it; ``thetascope examine runs/first`` then looks at it.
"""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn

import thetascope as ts

CLASSES, SIZE = 4, 32


# 1. Your model, such as timm.create_model("resnet50.a1_in1k", pretrained=True). Its values do not matter here: recorded states are put in.
def model() -> nn.Module:
    """A fresh model."""
    torch.manual_seed(0)
    made: nn.Module = timm.create_model("test_resnet", num_classes=CLASSES)
    return made


# 2. Your data, as timm.data.create_transform(…, is_training=False) makes them; a DataLoader will do as well as a pair of tensors.
def held_out_data() -> tuple[Tensor, Tensor]:
    """Images and classes that the training does not see."""
    return stripes(200, seed=1)


def stripes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """The example's data: stripes in one of four directions, under noise."""
    draw = torch.Generator().manual_seed(seed)
    which = torch.randint(0, CLASSES, (count,), generator=draw)
    across = torch.arange(SIZE) / SIZE
    angle = torch.pi * which[:, None, None] / CLASSES
    place = across[None, None, :] * angle.cos() + across[None, :, None] * angle.sin()
    images = torch.sin(2 * torch.pi * 4 * (place + torch.rand(count, 1, 1, generator=draw)))
    return images[:, None].expand(-1, 3, -1, -1) + 0.5 * torch.randn(count, 3, SIZE, SIZE, generator=draw), which


# 3. Your loss and metrics; of label smoothing, say nn.CrossEntropyLoss(label_smoothing=0.1).
LOSS, METRICS = "cross_entropy", ("accuracy",)


def objective() -> ts.Objective:
    """What to score, for ``--objective objective.py:objective``."""
    return ts.Objective(model(), held_out_data(), LOSS, METRICS)


if __name__ == "__main__":
    # The same in a training loop of your own: with ts.Recorder(...) around it, recorder.record(step=…, epoch=…) in it.
    network, (images, labels) = model(), stripes(400, seed=0)
    optimizer, step = torch.optim.AdamW(network.parameters(), lr=1e-3), 0
    with ts.Recorder("runs/first", network) as recorder:
        for epoch in range(1, 6):
            for batch in torch.split(torch.randperm(len(images)), 50):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
                loss.backward()
                optimizer.step()
                step += 1
            recorder.record(step=step, epoch=epoch, metrics={"train_loss": loss.item()})
    print("recorded in runs/first; now: thetascope examine runs/first")
