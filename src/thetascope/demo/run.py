"""The demo: train the thesis's network, record it, examine it, draw it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import torch

from thetascope.demo.images import Images, load_digits, load_mnist
from thetascope.demo.network import LeNet
from thetascope.demo.training import DIGITS_RECIPE, MNIST_RECIPE, Recipe, train
from thetascope.errors import DataError, UsageError
from thetascope.evaluation.objective import Objective
from thetascope.experiments.interpolate import interpolate
from thetascope.progress import say
from thetascope.recording import Recorder
from thetascope.recording.run_directory import RUN_FILE
from thetascope.trajectory import Trajectory

Data = Literal["digits", "mnist"]


def load(data: Data, data_dir: Path | None) -> tuple[Images, Recipe]:
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
    seed: int = 0,
) -> list[Path]:
    """Train, record, examine and draw, all into the folder `out`; an earlier demo there is replaced.

    Returns:
        The pictures' paths.
    """
    images, recipe = load(data, data_dir)
    if quick:
        recipe = Recipe(max(2, recipe.epochs // 3), recipe.learning_rate, recipe.momentum, recipe.batch_size, recipe.decay)
    _clear(out)
    torch.manual_seed(seed)
    model = LeNet()
    with Recorder(out, model) as recorder:
        accuracy = train(model, images, recipe, recorder, seed=seed, progress=True)
    say(f"trained {recipe.epochs} epochs on {len(images.train_labels):,} images of {images.name}: held-out accuracy {accuracy:.4f}")
    objective = Objective(model, (images.test_images, images.test_labels), loss="nll")
    trajectory = Trajectory(out)
    result = interpolate(
        objective,
        trajectory,
        "linear",
        alphas=11 if quick else 41,
        out=out / "results" / "interpolate-linear",
    )
    say(repr(result))
    return _drawn(result, out / "figures", "linear-path")


def _drawn(result: object, folder: Path, name: str) -> list[Path]:
    from thetascope.results import Result

    assert isinstance(result, Result)
    folder.mkdir(parents=True, exist_ok=True)
    picture, page = folder / f"{name}.png", folder / f"{name}.html"
    result.plot().savefig(picture, dpi=150)  # type: ignore[union-attr]
    result.figure().write_html(page, include_plotlyjs=True, config={"showSendToCloud": False, "plotlyServerURL": ""})
    return [picture, page]


def _clear(out: Path) -> None:
    """Remove an earlier demo's run, and nothing else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / RUN_FILE).is_file():
        raise UsageError(f'"{out}" exists and is no run directory; choose another --out')
    shutil.rmtree(out)
