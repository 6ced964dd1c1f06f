"""The demo: train the thesis's network, record it, run the experiments on it, draw what was found."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

from thetascope.demo.images import Images, load_digits, load_mnist
from thetascope.demo.training import DIGITS_RECIPE, MNIST_RECIPE, Hyperparameters, lenet_training
from thetascope.errors import DataError, UsageError
from thetascope.experiments.framework.catalog import chosen_entries
from thetascope.experiments.framework.examine import Finding, Subject, examine
from thetascope.progress import say
from thetascope.recording import Recorder
from thetascope.recording.run_files import RUN_FILE
from thetascope.scoring.objective import Objective
from thetascope.trajectory import Trajectory

Data = Literal["digits", "mnist"]


def load(data: Data, data_dir: Path | None) -> tuple[Images, Hyperparameters]:
    """The images and the recipe that goes with them.

    Raises:
        DataError: MNIST without a folder, or with files that are not whole.
    """
    if data == "mnist":
        if data_dir is None:
            raise DataError("--data mnist needs --data-dir DIR, the folder with its four IDX files; without it the demo uses the digits")
        return load_mnist(data_dir), MNIST_RECIPE
    return load_digits(), DIGITS_RECIPE


def run_demo(
    data: Data = "digits",
    data_dir: Path | None = None,
    out: Path = Path("thetascope-demo"),
    *,
    quick: bool = False,
    studies: bool | None = None,
    seed: int = 0,
) -> list[Finding]:
    """Train, record, examine and draw, all into the folder `out`; an earlier demo there is replaced.

    Args:
        data: "digits" or "mnist".
        data_dir: MNIST's folder.
        out: the run directory to make.
        quick: fewer epochs, points and repeats, and no atlas.
        studies: whether to run the two studies that train again; by default on the digits only, where it takes
            seconds and not a quarter of an hour.
        seed: of the initial weights and the order of the images.
    """
    images, recipe = load(data, data_dir)
    if quick:
        recipe = replace(recipe, epochs=max(2, recipe.epochs // 3))
    _clear(out)
    training = lenet_training(images, recipe, seed)
    model = training.model()
    with Recorder(out, model) as recorder:
        training.train(model, recorder=recorder)
    trajectory = Trajectory(out)
    accuracy = trajectory[-1].metrics["validation_accuracy"]
    say(f"trained {recipe.epochs} epochs on {len(images.train_labels):,} images of {images.name}: held-out accuracy {accuracy:.4f}")
    objective = Objective(model, training.validation_data, loss="nll")
    trains = data == "digits" if studies is None else studies
    subject = Subject(objective, trajectory, out, training if trains else None, demo=f"{data} quick" if quick else data)
    return examine(subject, chosen_entries([], with_training=trains, with_long=data == "digits" and not quick))


def _clear(out: Path) -> None:
    """Remove an earlier demo's run, and nothing else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / RUN_FILE).is_file():
        raise UsageError(f'"{out}" exists and is no run directory; choose another --out')
    shutil.rmtree(out)
