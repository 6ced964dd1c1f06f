"""Adapters of peft: the base is kept once, is not read where it tells nothing, and what moves by default is the adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import thetascope as ts
from tests.integrations import language
from thetascope.experiments.shared.plane_view import principal_view
from thetascope.state import State

peft: Any = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")
ADAPTED = ("c_attn", "c_proj")


def model() -> Any:
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=list(ADAPTED), task_type="CAUSAL_LM", lora_dropout=0.0)
    return peft.get_peft_model(language.gpt2(), config)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lora") / "run"
    trained = model()
    optimizer = torch.optim.Adam([p for p in trained.parameters() if p.requires_grad], lr=3e-2)
    with ts.Recorder(path, trained, trainable_only=True) as recorder:
        for step in range(1, 7):
            for batch in language.in_batches(4, language.of_tokens):
                optimizer.zero_grad()
                trained(**batch).loss.backward()
                optimizer.step()
            trained.save_pretrained(path.parent / f"checkpoint-{step}")
            recorder.record(step=step, epoch=step)
    language.gpt2().save_pretrained(path.parent / "base")
    return path


def objective() -> ts.Objective:
    return ts.Objective.from_step(model(), language.in_batches(4, language.of_tokens), step=ts.steps.causal_lm)


def adapters(state: State) -> dict[str, torch.Tensor]:
    return {name: state[name] for name in state if "lora_" in name}


def test_the_base_is_kept_once(run: Path) -> None:
    own = sum(tensor.nbytes for tensor in adapters(ts.Trajectory(run)[0]).values())
    files = [file.stat().st_size for file in (run / "states").iterdir()]
    assert max(files) < own + 4000
    assert (run / "frozen.safetensors").stat().st_size > 4 * own


def test_scores_are_those_of_the_model_with_its_adapter(run: Path) -> None:
    for state in (ts.Trajectory(run)[0], ts.Trajectory(run)[-1]):
        want, _ = language.over_all_tokens(model(), state.tensors(), language.in_batches(11, language.of_tokens), shift=True)
        assert objective().score(state)["loss"] == pytest.approx(want, rel=1e-6)


def test_layers_are_those_of_the_adapter(run: Path) -> None:
    trajectory, scored = ts.Trajectory(run), objective()
    results = [
        ts.interpolate(scored, trajectory, level="layer", alphas=3, progress=False),
        ts.layer_roles(scored, trajectory, draws=1, progress=False),
        ts.layer_rewind(scored, trajectory, states=3, barriers=False, progress=False),
        ts.trajectory_geometry(trajectory, level="layer", progress=False),
    ]
    for result in results:
        layers = result.data["layer"].values.tolist()
        assert len(layers) == 12
        assert all(".lora_" in layer for layer in layers)
    every = ts.interpolate(scored, trajectory, level="layer", alphas=2, layers=["*"], progress=False)
    assert every.data.sizes["layer"] > 12


def test_surface_and_plane_move_the_adapter_alone(run: Path) -> None:
    trajectory, scored = ts.Trajectory(run), objective()
    surface = ts.surface(scored, trajectory, x=(-1, 1, 3), y=(-1, 1, 3), progress=False)
    assert "frozen tensors kept" in surface.data.attrs["subtitle"]
    plane = ts.trajectory_plane(scored, trajectory, x=3, y=3, progress=False)
    flat = np.stack([torch.cat([t.double().flatten() for t in adapters(state).values()]).numpy() for state in trajectory])
    lengths = np.linalg.norm(flat - flat[-1], axis=1)
    assert plane.data["distance"].values == pytest.approx(lengths, rel=1e-6)
    _, values, _ = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    assert plane.data["explained_variance_ratio"].values[:2] == pytest.approx((values**2 / (values**2).sum())[:2], rel=1e-6)


@pytest.mark.parametrize("kind", ["recorded", "adapters"])
def test_the_base_is_not_read_where_nothing_moves_in_it(run: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()

    def noting(method: Any) -> Any:
        def noted(self: Any, names: Any, *rest: Any) -> Any:
            seen.update([names] if isinstance(names, str) else names)
            return method(self, names, *rest)

        return noted

    for name in ("tensors", "piece"):  # not what digests are made of
        monkeypatch.setattr(State, name, noting(getattr(State, name)))
    trajectory = ts.Trajectory(run)
    if kind == "adapters":
        folders = [run.parent / f"checkpoint-{step}" for step in range(1, 7)]
        trajectory = ts.Trajectory.from_files(folders, base=run.parent / "base")
    ts.trajectory_geometry(trajectory, progress=False)
    ts.trajectory_geometry(trajectory, level="layer", progress=False)
    assert seen
    assert [name for name in seen if "lora_" not in name] == []
    scored = objective()
    assert scored.space.layers  # found by a pass of the model's own
    seen.clear()
    principal_view(scored, trajectory, scored.model.space.floating_parameters)
    assert [name for name in seen if "lora_" not in name] == []


def test_adapters_from_files_score_as_recorded(run: Path) -> None:
    folders = [run.parent / f"checkpoint-{step}" for step in range(1, 7)]
    loaded, recorded = ts.Trajectory.from_files(folders, base=run.parent / "base"), ts.Trajectory(run)
    for own, there in zip(loaded, list(recorded)[1:], strict=True):
        assert objective().score(own)["loss"] == objective().score(there)["loss"]


def test_layers_that_were_trained_and_then_frozen_are_not_left_out() -> None:
    """requires_grad tells nothing where the states say otherwise."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    states = [{n: t + step * torch.randn_like(t) for n, t in net.state_dict().items()} for step in range(3)]
    net[0].requires_grad_(False)
    scored = ts.Objective(net, (torch.randn(6, 3), torch.arange(6) % 2))
    result = ts.interpolate(scored, ts.Trajectory.from_states(states), level="layer", alphas=2, progress=False)
    assert result.data["layer"].values.tolist() == ["0", "1"]
    still = [{n: t if "0." in n else t + step for n, t in states[0].items()} for step in range(3)]
    result = ts.interpolate(scored, ts.Trajectory.from_states(still), level="layer", alphas=2, progress=False)
    assert result.data["layer"].values.tolist() == ["1"]
