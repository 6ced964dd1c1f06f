"""What the tests run in processes of their own, to be killed there."""

from __future__ import annotations

import random
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from tests.processes import preload
from tests.recording.tiny import fill, filled
from thetascope.recording.recorder import Recorder
from thetascope.recording.run_directory import RunDirectory

preload("thetascope.recording.recorder")


def hold(said: Connection, run: Path) -> None:
    """Enter a recorder, say so, and wait to be killed."""
    with Recorder(run, filled(0)):
        said.send("recording")
        said.recv()


def record_on_and_on(said: Connection, run: Path, seed: int, max_states: int | None, goes_back: bool) -> None:
    """Record as fast as it goes, sometimes a step that is there already; tell each value whose record() returned.

    Every value of the model is one number that never comes twice; it stands among the metrics too.
    """
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    chance, model = random.Random(seed), filled(0)
    said.send("entering")
    with Recorder(run, model, max_states=max_states) as recorder:
        step, value = RunDirectory.open(run).read_log().last_step, 10_000 * seed
        while True:
            step = max(1, step - chance.randint(0, 3)) if goes_back and chance.random() < 0.2 else step + 1
            value += 1
            fill(model, value)
            recorder.record(step=step, metrics={"value": value})
            said.send(value)
