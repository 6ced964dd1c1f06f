"""Workers of Ray, in a network of their own that nothing else can reach."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

LOOPBACK = """
import fcntl, os, socket, struct, sys
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, struct.pack("16sH14x", b"lo", 0x49))
os.execv(sys.executable, [sys.executable, "-W", "error::UserWarning", *sys.argv[1:]])
"""
"""Brings the loopback of a new network up, then does what it is told."""


def alone(*arguments: str, folder: Path) -> str:
    """What a Python of its own prints, in a network that has the loopback only; nothing of Ray's is left running."""
    command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-c", LOOPBACK, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_TMPDIR": "/tmp"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(autouse=True)
def _has_namespaces() -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a network namespace needs rights that this process has not")


SAME = """
import os, signal, sys, threading, time
import torch, thetascope as ts
from thetascope.testing.models import case

chosen = case("BatchNorm ResNet block")
trajectory = ts.Trajectory.from_states(chosen.states(4))
torch.set_num_threads(1)

class Slow:
    def __call__(self, outputs, targets):
        time.sleep(0.02)
        return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")

def objective():
    return ts.Objective(chosen.model(), chosen.data(), Slow())

calls = {
    "surface": lambda: ts.surface(objective(), trajectory, x=(-1, 1, 7), y=(-1, 1, 7), engine="eager", progress=False),
    "layers": lambda: ts.interpolate(objective(), trajectory, level="layer", alphas=5, engine="graph", progress=False),
    "roles": lambda: ts.layer_roles(objective(), trajectory, 2, engine="graph", progress=False),
}
alone = {name: call().data for name, call in calls.items()}

def same(name, found):
    for variable in alone[name].variables:
        assert found[variable].values.tobytes() == alone[name][variable].values.tobytes(), (name, variable)

def workers():
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            title = open(f"/proc/{process}/cmdline").read()
        except OSError:
            continue
        if title.startswith("ray::Actor"):
            found.append(int(process))
    return found
"""

BITS = (
    SAME
    + """
with ts.cluster("local", workers=2):
    for name, call in calls.items():
        found = call().data
        same(name, found)
        assert 1 <= len(found.attrs["workers"]) <= 2
assert not workers()
print("same")
"""
)

KILLED = (
    SAME
    + """
killed = []
def kill():
    until = time.monotonic() + 60
    while len(killed) < 4 and time.monotonic() < until:
        time.sleep(2)
        for process in workers()[-1:]:
            os.kill(process, signal.SIGKILL)
            killed.append(process)

with ts.cluster("local", workers=2):
    same("surface", calls["surface"]().data)
    thread = threading.Thread(target=kill)
    thread.start()
    while thread.is_alive():
        same("surface", calls["surface"]().data)
    thread.join()
assert len(killed) == 4, killed
print("same")
"""
)

ENDS = (
    SAME
    + """
class Ends:
    def __call__(self, outputs, targets):
        if os.getpid() != here:
            os._exit(7)
        return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")

here, start = os.getpid(), time.monotonic()
try:
    with ts.cluster("local", workers=2):
        ts.surface(ts.Objective(chosen.model(), chosen.data(), Ends()), trajectory, x=(-1, 1, 7), y=(-1, 1, 7), progress=False)
except ts.ThetascopeError as error:
    print(type(error).__name__, error)
assert time.monotonic() - start < 60
"""
)


def test_bits_are_those_of_one_process(tmp_path: Path) -> None:
    assert alone("-c", BITS, folder=tmp_path).strip() == "same"


def test_workers_that_are_killed_are_replaced(tmp_path: Path) -> None:
    assert alone("-c", KILLED, folder=tmp_path).split()[-1] == "same"  # behind what Ray says of those that ended


def test_points_that_end_every_worker_are_named(tmp_path: Path) -> None:
    said = alone("-c", ENDS, folder=tmp_path)
    assert "ClusterError 3 workers of Ray ended while they scored point" in said
    assert "of 49 (y, x); the last: " in said


def test_a_command_scores_on_workers(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "thetascope.cli", "init", "mine"], cwd=tmp_path, check=True, capture_output=True)
    folder = tmp_path / "mine"
    subprocess.run([sys.executable, "objective.py"], cwd=folder, check=True, capture_output=True)
    call = ["interpolate", "runs/first", "--objective", "objective.py:objective", "--level", "layer", "--alphas", "5", "--engine", "graph"]
    alone("-m", "thetascope.cli", *call, "--ray", "local", "--workers", "2", "--out", "away", folder=folder)
    alone("-m", "thetascope.cli", *call, "--out", "here", folder=folder)
    code = """
import thetascope as ts, json
away, here = (ts.load_result(name).data for name in ("away", "here"))
print(json.dumps([away["loss"].values.tobytes() == here["loss"].values.tobytes(), len(away.attrs["workers"]), "workers" in here.attrs]))
"""
    same, workers, told = json.loads(alone("-c", code, folder=folder))
    assert same
    assert workers in (1, 2)
    assert not told
