"""Models, data and losses of every odd kind: each experiment works, or says in one error what it cannot do."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import thetascope as ts
from thetascope.errors import ThetascopeError

INPUTS, TARGETS = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


def linear() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


class With(nn.Module):
    """The linear model with something done to its outputs, and buffers of any kind."""

    def __init__(self, change: Callable[[nn.Module, Tensor], Tensor] = lambda _, x: x, **buffers: Tensor | None) -> None:
        super().__init__()
        self.layers, self.change = linear(), change
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self, self.layers(x))


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(torch.complex64) @ self.weight).abs()


class Bare(nn.Module):
    """No parameters; a buffer or none."""

    def __init__(self, *, buffer: bool) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(3) if buffer else None)

    def forward(self, x: Tensor) -> Tensor:
        scale = self._buffers["scale"]
        return x[:, :3] if scale is None else x[:, :3] * scale


class Sparse(nn.Module):
    """Its embedding's gradients are sparse."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(12, 4, sparse=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.embedding((x[:, 0].abs() * 3).long().clamp(max=11)))
        return logits


def hooked() -> nn.Module:
    model = linear()
    model[0].register_forward_hook(lambda _module, _inputs, output: output * 2)
    model[2].register_forward_pre_hook(lambda _module, inputs: (inputs[0] + 1,))
    model[2].register_full_backward_hook(lambda *_: None)
    return model


def meta() -> nn.Module:
    with torch.device("meta"):
        return linear()


def compiled(model: nn.Module) -> nn.Module:
    made: Any = torch.compile(model, backend="eager")
    assert isinstance(made, nn.Module)
    return made


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: nn.Module = torch.jit.script(linear())
        return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "loss of nan": lambda: With(lambda _, x: x * float("nan")),
    "loss of inf": lambda: With(lambda _, x: x + torch.tensor([0.0, 0.0, float("inf")])),
    "loss of -inf": lambda: With(lambda _, x: x - float("inf")),
    "float16": lambda: linear().half(),
    "bfloat16": lambda: linear().bfloat16(),
    "float64": lambda: linear().double(),
    "complex buffer": lambda: With(lambda m, x: x + m.get_buffer("c").real, c=torch.randn(3, dtype=torch.complex64)),
    "integer buffers": lambda: With(i=torch.arange(3), b=torch.tensor([True]), none=None, empty=torch.empty(0)),
    "sparse buffer": lambda: With(s=torch.eye(3).to_sparse()),
    "complex parameter": Complex,
    "no parameters": lambda: Bare(buffer=True),
    "no tensors": lambda: Bare(buffer=False),
    "sparse gradients": Sparse,
    "hooks": hooked,
    "BatchNorm": lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)),
    "DataParallel": lambda: nn.DataParallel(linear()),
    "compiled": lambda: compiled(linear()),
    "compiled inside": lambda: nn.Sequential(compiled(nn.Linear(4, 5)), nn.Linear(5, 3)),
    "DataParallel of compiled": lambda: nn.DataParallel(compiled(linear())),
    "weight_norm": lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 5)), nn.Linear(5, 3)),
    "spectral_norm": lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 5)), nn.Linear(5, 3)),
    "orthogonal": lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 5)), nn.Linear(5, 3)),
    "lazy": lambda: nn.Sequential(nn.LazyLinear(3)),
    "meta": meta,
    "TorchScript": scripted,
}
REFUSED = {
    "sparse buffer": r'"s" \(torch.sparse_coo\)',
    "lazy": "is not initialised yet",
    "meta": "on the meta device",
    "TorchScript": "TorchScript model cannot be recorded",
}
EXPERIMENTS: dict[str, Callable[..., ts.Result]] = {
    "line": lambda o, t: ts.interpolate(o, t, alphas=5, progress=False),
    "layers": lambda o, t: ts.interpolate(o, t, level="layer", alphas=5, progress=False),
    "parameters": lambda o, t: ts.interpolate(o, t, level="parameter", parameters=1, alphas=5, progress=False),
    "comparison": lambda o, t: ts.compare_paths(o, t, alphas=5, progress=False),
    "roles": lambda o, t: ts.layer_roles(o, t, draws=1, progress=False),
    "rewind": lambda o, t: ts.layer_rewind(o, t, progress=False),
    "average": lambda o, t: ts.checkpoint_average(o, t, greedy=True, progress=False),
    "surface": lambda o, t: ts.surface(o, t, x=(-1, 1, 4), y=(-1, 1, 3), progress=False),
    "plane": lambda o, t: ts.trajectory_plane(o, t, x=4, y=3, progress=False),
    "test size": lambda o, t: ts.study_test_size(o, t[-1], sizes=[5, 12], repeats=2, progress=False),
}
CANNOT = {
    ("complex parameter", "parameters"): "no real parameter",
    **{
        (model, what): "has no parameters"
        for model in ("no parameters", "no tensors")
        for what in ("layers", "parameters", "roles", "rewind")
    },
    **{(model, "surface"): "moves tensors of 2 or more dimensions" for model in ("no parameters", "no tensors")},
    **{(model, "plane"): "all states are equal" for model in ("no parameters", "no tensors")},
}
WORTH = ("loss of nan", "loss of inf", "float16", "complex buffer", "complex parameter", "no tensors", "hooks", "compiled", "weight_norm")


def recorded(model: nn.Module, run: Path) -> ts.Trajectory:
    """A run of four states that lie on no line."""
    generator = torch.Generator().manual_seed(1)
    with ts.Recorder(run, model) as recorder:
        for step in (1, 2, 3):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_((0.1 * torch.randn(parameter.shape, generator=generator)).to(parameter.dtype))
            recorder.record(step=step, epoch=step)
    return ts.Trajectory(run)


def each_experiment(name: str, run: Path) -> Iterator[tuple[str, ts.Result | ThetascopeError]]:
    torch.manual_seed(0)
    model = MODELS[name]()
    trajectory = recorded(model, run)
    floating = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    objective = ts.Objective(model, (INPUTS.to(floating), TARGETS))
    before = {n: t.clone() for n, t in model.state_dict().items()}
    for what, experiment in EXPERIMENTS.items():
        try:
            yield what, experiment(objective, trajectory)
        except ThetascopeError as error:
            yield what, error
    assert all(torch.equal(t, before[n]) or bool(t.isnan().any()) for n, t in model.state_dict().items()), "the model is as it was"


def drawn(result: ts.Result) -> None:
    import matplotlib.pyplot as plt

    result.plot()
    result.figure()
    plt.close("all")


def check(name: str, run: Path, counted: Callable[[int], None], *, draws: bool) -> None:
    if name in REFUSED:
        with pytest.raises(ThetascopeError, match=REFUSED[name]):
            recorded(MODELS[name](), run)
        counted(1)
        return
    for what, found in each_experiment(name, run):
        counted(1)
        if (name, what) in CANNOT:
            assert isinstance(found, ThetascopeError), (name, what)
            assert CANNOT[name, what] in str(found)
            continue
        assert isinstance(found, ts.Result), f"{name}, {what}: {found}"
        counts = found.status_counts()
        assert counts["missing"] == 0
        if name.startswith("loss of"):
            assert counts["evaluated"] == counts["estimated"] == 0, "not finite is a result, and is said to be"
        else:
            assert counts["not finite"] == 0
        if draws:
            drawn(found)


@pytest.mark.promise("odd models")
@pytest.mark.parametrize("name", WORTH + tuple(REFUSED))
@pytest.mark.filterwarnings("ignore:.*(ComplexHalf|lazy|Lazy|Casting complex).*")
def test_each_experiment(name: str, tmp_path: Path, counted: Callable[[int], None]) -> None:
    check(name, tmp_path / "run", counted, draws=False)


@pytest.mark.faults_long
@pytest.mark.promise("odd models")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore:.*(ComplexHalf|lazy|Lazy|Casting complex|All-NaN).*")
def test_each_experiment_and_its_figures(name: str, tmp_path: Path, counted: Callable[[int], None]) -> None:
    check(name, tmp_path / "run", counted, draws=True)


@pytest.mark.promise("odd models")
def test_one_sample(tmp_path: Path) -> None:
    model = linear()
    trajectory = recorded(model, tmp_path / "run")
    result = ts.interpolate(ts.Objective(model, (INPUTS[:1], TARGETS[:1])), trajectory, alphas=5, progress=False)
    assert result.data.attrs["samples_scored"] == 1
    assert np.isfinite(result.data["loss"]).all()


@pytest.mark.promise("odd models")
@pytest.mark.parametrize("data", [(INPUTS[:0], TARGETS[:0]), [], torch.utils.data.TensorDataset(INPUTS[:0], TARGETS[:0])])
def test_no_sample(data: Any) -> None:
    with pytest.raises(ThetascopeError, match="nothing to score; pass data with at least one sample"):
        ts.Objective(linear(), data)


@pytest.mark.promise("odd models")
def test_an_empty_batch_among_others_changes_nothing() -> None:
    model = linear()
    batches = [(INPUTS[:5], TARGETS[:5]), (INPUTS[:0], TARGETS[:0]), (INPUTS[5:], TARGETS[5:])]
    whole, found = (ts.Objective(model, data).score(model.state_dict()) for data in ((INPUTS, TARGETS), batches))
    assert found == {name: pytest.approx(value, rel=1e-6) for name, value in whole.items()}


@pytest.mark.promise("odd models")
@pytest.mark.parametrize("change", ["array", "key", "bytes", "object"])
def test_data_that_are_no_tensors_are_told_apart(change: str) -> None:
    """What a step is given decides its values, so a result of other data may not be gone on with."""

    class Graph:
        def __init__(self, edges: int) -> None:
            self.edges, self.nodes = torch.tensor([edges]), 3

    kinds: dict[str, Callable[[int], Any]] = {
        "array": lambda i: {"image": INPUTS, "label": np.array([i, 1])},
        "key": lambda i: {"image": INPUTS, f"label{i}": TARGETS},
        "bytes": lambda i: {"image": INPUTS, "raw": bytes([i])},
        "object": lambda i: {"image": INPUTS, "graph": Graph(i)},
    }
    model = linear()
    objectives = [ts.Objective.from_step(model, [kinds[change](i)], lambda m, b: {"loss": m(b["image"]).mean(1)}) for i in (0, 0, 1)]
    same, again, other = (objective.fingerprint()["data"] for objective in objectives)
    assert same == again != other
