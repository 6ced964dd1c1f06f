"""Memory that runs out, made by a model that fails above so many rows, and by a real limit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thetascope as ts
from thetascope.errors import ObjectiveError
from thetascope.testing.models import case

ERRORS: dict[str, Callable[[], Exception]] = {
    "torch": lambda: torch.OutOfMemoryError("CUDA out of memory"),
    "python": MemoryError,
    "torch's allocator": lambda: RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    "C++": lambda: RuntimeError("std::bad_alloc"),
}
CALLS: dict[str, Callable[..., Any]] = {
    "score": lambda o, t, **_: o.score(t[-1]),
    "line": lambda o, t, **options: ts.interpolate(o, t, alphas=5, progress=False, **options),
    "layers": lambda o, t, **options: ts.interpolate(o, t, level="layer", alphas=5, progress=False, **options),
    "roles": lambda o, t, **options: ts.layer_roles(o, t, draws=1, progress=False, **options),
    "rewind": lambda o, t, **options: ts.layer_rewind(o, t, progress=False, **options),
    "average": lambda o, t, **options: ts.checkpoint_average(o, t, holdout=None, progress=False, **options),
    "surface": lambda o, t, **options: ts.surface(o, t, x=(-1, 1, 4), y=(-1, 1, 3), progress=False, **options),
    "test size": lambda o, t, **_: ts.study_test_size(o, t[-1], sizes=[5, 10], repeats=2, progress=False),
}


class Hungry(nn.Module):
    """Fails with more than so many rows."""

    def __init__(self, rows: int, error: Callable[[], Exception]) -> None:
        super().__init__()
        self.inner = case("linear").model()
        self.rows, self.error = rows, error

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        if type(logits) is Tensor and len(x) > self.rows:  # not while it is traced
            raise self.error()
        return logits


def setting(rows: int, error: Callable[[], Exception], batch_size: int = 1000) -> tuple[ts.Objective, ts.Trajectory]:
    states = [{f"inner.{name}": tensor for name, tensor in state.items()} for state in case("linear").states(3)]
    return ts.Objective(Hungry(rows, error), case("linear").data(), batch_size=batch_size), ts.Trajectory.from_states(states)


@pytest.mark.promise("memory")
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("call", CALLS)
def test_half_the_batch_until_it_fits(call: str, error: str) -> None:
    objective, trajectory = setting(3, ERRORS[error])
    whole, _ = setting(1000, ERRORS[error])
    found, expected = CALLS[call](objective, trajectory), CALLS[call](whole, trajectory)
    assert objective.batches.batch_size == 2, "1000, which is 10, then 5, then 2"
    if isinstance(found, dict):
        assert found == {name: pytest.approx(value, rel=1e-6) for name, value in expected.items()}
        return
    assert found.data.attrs["batch_size"] == 2
    for name in ("loss", "accuracy"):
        if name in found.data:
            assert found.data[name].values.ravel().tolist() == pytest.approx(expected.data[name].values.ravel().tolist(), rel=1e-6)


@pytest.mark.promise("memory")
@pytest.mark.parametrize("call", CALLS)
def test_not_even_one_sample_fits(call: str) -> None:
    objective, trajectory = setting(0, MemoryError)
    with pytest.raises(ObjectiveError, match=r"memory ran out with a batch of one sample .*Score fewer samples or a smaller dtype"):
        CALLS[call](objective, trajectory)


@pytest.mark.promise("memory")
@pytest.mark.parametrize("call", CALLS)
def test_other_errors_are_not_swallowed(call: str) -> None:
    objective, trajectory = setting(0, lambda: RuntimeError("a bug of the user's own"))
    with pytest.raises(ObjectiveError, match="a bug of the user's own"):
        CALLS[call](objective, trajectory)
    assert objective.batches.batch_size == 1000


@pytest.mark.promise("memory")
def test_going_on_with_less_memory_is_recorded(tmp_path: Path) -> None:
    objective, trajectory = setting(1000, MemoryError)
    ts.interpolate(objective, trajectory, alphas=5, out=tmp_path / "r", engine="eager", progress=False)
    model = objective.model.model
    assert isinstance(model, Hungry)
    model.rows = 3
    again = ts.interpolate(objective, trajectory, alphas=5, out=tmp_path / "r", engine="eager", progress=False)
    for result in (again, ts.load_result(tmp_path / "r")):
        assert (result.data.attrs["batch_size"], result.data.attrs["memory_ran_out"]) == (2, True)


REAL = """
import resource, torch, thetascope as ts
from torch import nn
torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(64, 20000), nn.ReLU(), nn.Linear(20000, 2))
objective = ts.Objective(model, (torch.zeros(8192, 64), torch.zeros(8192, dtype=torch.long)), batch_size=8192)
state = model.state_dict()
objective.model.bind(state)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20,) * 2)
print(objective.score(state)["samples"], objective.batches.batch_size)
"""


@pytest.mark.promise("memory")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads how much memory is in use from /proc")
def test_a_real_limit() -> None:
    """A whole batch would take 655 MB for one layer; 300 MB are there."""
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    samples, batch_size = map(int, done.stdout.split())
    assert samples == 8192
    assert batch_size in (512, 1024, 2048)
