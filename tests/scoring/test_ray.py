"""Workers of Ray, in a network of their own that nothing else can reach."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import thetascope as ts

pytest.importorskip("ray")

RECHECKS = 2
"""So many stored points are scored again by a call that goes on."""

LOOPBACK = """
import fcntl, os, socket, struct, sys
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, struct.pack("16sH14x", b"lo", 0x49))
os.execv(sys.executable, [sys.executable, "-W", "error::UserWarning", *sys.argv[1:]])
"""
"""Brings the loopback of a new network up, then does what it is told."""


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_TMPDIR": "/tmp"}


def inside(*arguments: str) -> list[str]:
    """A command that runs Python in a network that has the loopback only; nothing of Ray's is left running."""
    return ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-c", LOOPBACK, *arguments]


def alone(*arguments: str, folder: Path) -> str:
    """What such a Python prints."""
    done = subprocess.run(inside(*arguments), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=280)
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

def gone():
    until = time.monotonic() + 20
    while workers() and time.monotonic() < until:
        time.sleep(0.1)
    return not workers()
"""

BITS = (
    SAME
    + """
with ts.cluster("local", workers=2):
    for name, call in calls.items():
        found = call().data
        same(name, found)
        assert 1 <= len(found.attrs["workers"]) <= 2
assert gone()
print("same")
"""
)

MORE = (
    SAME
    + """
from torch.utils.data import DataLoader, TensorDataset

plain = case("linear")
training = ts.Training(plain.build, plain.data(20), plain.data(20), lambda p: torch.optim.SGD(p, lr=0.1), epochs=2, batch_size=5)
inputs, targets = chosen.data()
data = {"tensors": (inputs, targets), "loader": DataLoader(TensorDataset(inputs, targets), batch_size=7)}
how = {"engine": "graph:rows=10", "progress": False}
calls = {}
for kind, given in data.items():
    made = lambda given=given: ts.Objective(chosen.model(), given, chosen.loss)
    calls |= {
        f"surface, {kind}": lambda made=made: ts.surface(made(), trajectory, x=(-1, 1, 21), y=(-1, 1, 21), **how),
        f"estimated, {kind}": lambda made=made: ts.surface(made(), trajectory, x=(-1, 1, 21), y=(-1, 1, 21), tolerance=0.05, **how),
        f"layers, {kind}": lambda made=made: ts.interpolate(made(), trajectory, level="layer", **how),
        f"rewinding, {kind}": lambda made=made: ts.layer_rewind(made(), trajectory, **how),
        f"atlas, {kind}": lambda made=made: ts.parameter_atlas(made(), trajectory, alphas=5, **how),
    }
calls["study"] = lambda: ts.study_train_size(training, sizes=[5, 10, 20], repeats=2, progress=False)
alone = {name: call().data for name, call in calls.items()}
with ts.cluster("local", workers=2):
    for name, call in calls.items():
        found = call().data
        same(name, found)
        assert 1 <= len(found.attrs["workers"]) <= 2, name
assert gone()
print("same")
"""
)

KILLED = (
    SAME
    + """
import random

killed, pauses = [], random.Random(0)
def kill():
    until = time.monotonic() + 150
    while len(killed) < 10 and time.monotonic() < until:
        time.sleep(pauses.uniform(2, 7))
        for process in pauses.sample(workers(), 1) if workers() else ():
            os.kill(process, signal.SIGKILL)
            killed.append(process)

with ts.cluster("local", workers=2):
    same("surface", calls["surface"]().data)
    thread = threading.Thread(target=kill)
    thread.start()
    while thread.is_alive():
        same("surface", calls["surface"]().data)
    thread.join()
assert len(killed) == 10, killed
print("same")
"""
)

REMOVED = (
    SAME
    + """
import ray
from ray.cluster_utils import Cluster

nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "node_ip_address": "127.0.0.1", "include_dashboard": False})
three = [nodes.add_node(num_cpus=1, node_ip_address="127.0.0.1") for _ in range(3)]
ray.init(address=nodes.address, log_to_driver=False)
try:
    with ts.cluster("auto", workers=2):
        same("surface", calls["surface"]().data)
        before, removed = set(workers()), []
        def remove():
            time.sleep(0.5)
            for node in three:
                nodes.remove_node(node)
                removed.append(node)
                if set(workers()) != before:
                    return
        thread = threading.Thread(target=remove)
        thread.start()
        while thread.is_alive():
            same("surface", calls["surface"]().data)
        thread.join()
        assert removed and set(workers()) != before
        same("surface", calls["surface"]().data)
finally:
    ray.shutdown()
    nodes.shutdown()
print("same")
"""
)

DRIVEN = (
    SAME
    + """
class Noted:
    def __call__(self, outputs, targets):
        with open("scored", "a") as file:
            file.write("1")
        time.sleep(0.05)
        return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")

def noted(out):
    made = ts.Objective(chosen.model(), chosen.data(), Noted())
    return ts.surface(made, trajectory, x=(-1, 1, 7), y=(-1, 1, 7), engine="eager", progress=False, out=out)

with ts.cluster("local", workers=2):
    found = noted("stored").data
same("surface", found)
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


@pytest.mark.slow
def test_bits_of_more_are_those_of_one_process(tmp_path: Path) -> None:
    assert alone("-c", MORE, folder=tmp_path).strip() == "same"


@pytest.mark.slow
def test_a_node_that_is_removed_is_done_without(tmp_path: Path) -> None:
    assert alone("-c", REMOVED, folder=tmp_path).split()[-1] == "same"


@pytest.mark.slow
def test_a_driver_that_is_killed_goes_on_when_it_is_run_again(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    assert alone("-c", DRIVEN, folder=whole).strip() == "same"
    passes = (whole / "scored").stat().st_size
    with subprocess.Popen(inside("-c", DRIVEN), cwd=stopped, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as driver:
        until = time.monotonic() + 120
        while _passes(stopped) < passes // 2 and time.monotonic() < until and driver.poll() is None:
            time.sleep(0.01)
        driver.kill()
    stored = ts.load_result(stopped / "stored").status_counts()["evaluated"]
    assert 0 < stored < 49
    (stopped / "scored").unlink()
    assert alone("-c", DRIVEN, folder=stopped).strip() == "same"
    assert _passes(stopped) <= passes - stored + RECHECKS


def _passes(folder: Path) -> int:
    """How often the loss was called: once a point, since all samples are one batch."""
    return (folder / "scored").stat().st_size if (folder / "scored").exists() else 0


@pytest.mark.slow
def test_workers_that_are_killed_are_replaced(tmp_path: Path) -> None:
    assert alone("-c", KILLED, folder=tmp_path).split()[-1] == "same"  # behind what Ray says of those that ended


@pytest.mark.slow
def test_points_that_end_every_worker_are_named(tmp_path: Path) -> None:
    said = alone("-c", ENDS, folder=tmp_path)
    assert "ClusterError 3 workers of Ray ended while they scored point" in said
    assert "of 49 (y, x); the last: " in said


@pytest.mark.slow
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
