"""Real kinds of models through every experiment, from checkpoints and loaders as their trainers make them; values by a plain loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import thetascope as ts
from tests.integrations import language

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
Make = Callable[[], Any]


def images() -> list[dict[str, Tensor]]:
    pixels, labels = torch.randn(11, 3, 8, 8, generator=torch.Generator().manual_seed(3)), torch.arange(11) % language.CLASSES
    return [{"pixel_values": pixels[i : i + 4], "labels": labels[i : i + 4]} for i in (0, 4, 8)]


def tokens() -> list[dict[str, Tensor]]:
    return language.in_batches(4, language.of_tokens)


def texts() -> list[dict[str, Tensor]]:
    return language.in_batches(4, language.of_texts)


def lora() -> Any:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    return peft.get_peft_model(language.gpt2(), peft.LoraConfig(r=2, target_modules=["c_attn"], task_type="CAUSAL_LM"))


KINDS: dict[str, tuple[Make, Make, str]] = {
    "gpt2": (language.gpt2, tokens, "causal_lm"),
    "bert": (language.bert, texts, "sequence_classification"),
    "llama-bf16": (language.llama, tokens, "causal_lm"),
    "vit": (language.vit, images, "sequence_classification"),
    "lora": (lora, tokens, "causal_lm"),
}


def plain_loss(model: nn.Module, state: dict[str, Tensor], batches: list[dict[str, Tensor]]) -> float:
    """The mean over all labels that count, in one plain loop."""
    model.load_state_dict(state, strict=False)
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            logits, labels = model(**{k: v for k, v in batch.items() if k != "labels"}).logits.float(), batch["labels"]
            if labels.ndim == 2:
                logits, labels = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
            total += float(F.cross_entropy(logits, labels, ignore_index=-100, reduction="none").double().sum())
            count += int((labels != -100).sum())
    return total / count


def mixed(states: list[dict[str, Tensor]], weights: list[float], names: set[str] | None = None) -> dict[str, Tensor]:
    """The point that a path passes through, as plain torch makes it: summed in float32, rounded to the model's dtype once."""
    found = dict(states[-1])
    for name in found if names is None else names:
        if found[name].is_floating_point():
            found[name] = sum(w * s[name].float() for w, s in zip(weights, states, strict=True)).to(found[name].dtype)  # type: ignore[union-attr]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_experiment(kind: str, tmp_path: Path) -> None:
    make, batches, step = KINDS[kind]
    trained = make()
    optimizer = torch.optim.SGD([p for p in trained.parameters() if p.requires_grad], lr=0.5)
    with ts.Recorder(tmp_path / "run", trained, trainable_only=kind == "lora") as recorder:
        for epoch in range(1, 5):
            for batch in batches():
                optimizer.zero_grad()
                trained(**batch).loss.backward()
                optimizer.step()
            recorder.record(step=3 * epoch, epoch=epoch)

    # what a user writes
    trajectory = ts.Trajectory(tmp_path / "run")
    objective = ts.Objective.from_step(make(), batches(), step=getattr(ts.steps, step))
    line = ts.interpolate(objective, trajectory, alphas=3, out="run", progress=False)
    layers = ts.interpolate(objective, trajectory, level="layer", alphas=3, out="run", progress=False)

    roles = ts.layer_roles(objective, trajectory, draws=1, out="run", progress=False)
    rewound = ts.layer_rewind(objective, trajectory, states=3, barriers=False, out="run", progress=False)
    surface = ts.surface(objective, trajectory, x=(-0.5, 0.5, 3), y=(-0.5, 0.5, 3), out="run", progress=False)
    plane = ts.trajectory_plane(objective, trajectory, x=3, y=3, out="run", progress=False)
    geometry = ts.trajectory_geometry(trajectory, out="run", progress=False)
    assert ts.write_report(tmp_path / "run").stat().st_size > 100_000

    states = [state.tensors() for state in trajectory]
    close = 1e-3 if kind == "llama-bf16" else 2e-6
    ends = [states[0], states[-1]]
    for i, alpha in enumerate(line.data["alpha"].values):
        want = plain_loss(make(), mixed(ends, [1 - alpha, alpha]), batches())
        assert float(line.data["loss"][i]) == pytest.approx(want, rel=close)
    moved = [str(layer) for layer in layers.data["layer"].values]
    owned = {layer.name: set(layer.parameters) | set(layer.buffers) for layer in objective.space.layers}
    for layer in moved[:2] + moved[-1:]:
        want = plain_loss(make(), mixed(ends, [0.5, 0.5], owned[layer]), batches())
        assert float(layers.data["loss"].sel(layer=layer, alpha=0.5)) == pytest.approx(want, rel=close)
        want = plain_loss(make(), mixed(ends, [1.0, 0.0], owned[layer]), batches())
        assert float(roles.data["reinit_loss"].sel(layer=layer)) == pytest.approx(want, rel=close)
        assert float(rewound.data["loss"].sel(layer=layer)[0]) == pytest.approx(want, rel=close)
    final = plain_loss(make(), states[-1], batches())
    assert float(surface.data["loss"].sel(x=0.0, y=0.0)) == pytest.approx(final, rel=close)
    assert plane.data["path_loss"].values == pytest.approx([plain_loss(make(), state, batches()) for state in states], rel=close)
    flat = np.stack([torch.cat([t.double().flatten() for n, t in state.items() if n in objective.space.parameters]) for state in states])
    assert geometry.data["from_start"].values == pytest.approx(np.linalg.norm(flat - flat[0], axis=1), rel=1e-6, abs=1e-12)
