"""The thesis's network on MNIST's test images, and a training of it to look at."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import thetascope as ts
from thetascope.demo.network import LeNet
from thetascope.demo.run import load
from thetascope.demo.training import lenet_training

BATCH = 1000


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks on MNIST have."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--data-dir", type=Path, default=os.environ.get("THETASCOPE_MNIST"), help="MNIST's folder")
    made.add_argument("--run", type=Path, help="a recorded training of the thesis's network (default: two epochs, trained here)")
    made.add_argument("--images", type=int, default=10_000, help="so many of the test images")
    return made


@contextmanager
def subject(arguments: argparse.Namespace) -> Iterator[tuple[Any, Any, Path]]:
    """The test images and labels, as many as asked for, and a run directory."""
    if arguments.data_dir is None:
        sys.exit("these benchmarks are on MNIST: name its folder with --data-dir or THETASCOPE_MNIST")
    images, recipe = load("mnist", Path(arguments.data_dir))
    inputs, labels = images.test_images[: arguments.images], images.test_labels[: arguments.images]
    if arguments.run is not None:
        yield inputs, labels, arguments.run
        return
    with tempfile.TemporaryDirectory() as folder:
        training = lenet_training(images, replace(recipe, epochs=2), 0)
        model = training.model()
        with ts.Recorder(Path(folder) / "run", model) as recorder:
            training.train(model, recorder=recorder)
        yield inputs, labels, Path(folder) / "run"


def objective(inputs: Any, labels: Any, **options: Any) -> ts.Objective:
    """A new objective, which remembers nothing."""
    return ts.Objective(LeNet(), (inputs, labels), "nll", batch_size=BATCH, **options)
