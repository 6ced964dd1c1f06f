"""Preliminary studies: how many epochs, how many training samples, how many test samples (Němcová 2021, section 6.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thetascope.errors import TrainingError
from thetascope.evaluation.objective import Objective
from thetascope.evaluation.per_sample import per_sample_columns
from thetascope.experiments import dry_run
from thetascope.experiments.examination import OutPath
from thetascope.experiments.recommendations import (
    EPOCHS_TOLERANCE,
    TRAIN_SIZE_TOLERANCE,
    checked_tolerance,
    median_of_rows,
    recommended_epochs,
    recommended_test_size,
    recommended_train_size,
    spread_of_rows,
)
from thetascope.experiments.stored_study import Grid, Study
from thetascope.experiments.subsets import Sizes, checked_sizes, drawn_subset, from_to, ladder, subset_mean, tenths
from thetascope.experiments.training import Training, scores, shown_scores
from thetascope.experiments.training_data import checked_count
from thetascope.progress import LONG_SECONDS, duration, progress_bar, say
from thetascope.results.result import Result
from thetascope.results.store import Store
from thetascope.state import State


def study_epochs(
    training: Training,
    epochs: int | None = None,
    *,
    tolerance: float = EPOCHS_TOLERANCE,
    out: OutPath = None,
    progress: bool = True,
) -> Result:
    """Score a training before it starts and after each epoch.

    One training is enough: with the same initial state, the same order of the samples and the same schedule, a
    training of n epochs is the beginning of every longer one, bit for bit. A schedule that is made for a number of
    epochs (cosine annealing, say) is cut off after n, not shrunk to them.

    Args:
        training: what is run.
        epochs: up to how many; default: those of `training`.
        tolerance: recommended are the fewest epochs whose loss is at most ``best + tolerance · |best|``, the best
            over all epochs.
        out: store the result there, epoch by epoch. The same call goes on with what is missing; it trains from the
            start again, for states are not stored, and checks the last stored epoch on the way.
        progress: say how long it takes, and show loss, metrics and the time left.

    Returns:
        ``loss``, the metrics and ``status`` over ``epochs`` 0 … n; ``attrs["recommendation"]`` and ``attrs["rule"]``.

    Raises:
        TrainingError: an argument is off.
        ResultError: what lies at `out` is of another call, or does not come out again.

    Example:
        >>> result = ts.study_epochs(training, epochs=2)  # as in the example of Training
        >>> result.data["loss"].sizes["epochs"], result.data.attrs["recommendation"] in (0, 1, 2)
        (3, True)
    """
    training, tolerance = _checked_training(training), checked_tolerance(tolerance)
    total = training.epochs if epochs is None else checked_count("epochs", epochs)
    grid = Grid(("epochs",), {"epochs": range(total + 1)})
    study = _study_of(training, "study_epochs", f"performance after 0 to {total} epochs", {"epochs": total}, grid, _trained_on(training))
    if dry_run.asked():
        left = study.left(out)
        steps = training.steps(epochs=max(left)) if left else 0
        dry_run.stop(dry_run.plan_of_training(study, training, steps, len(left), total + 1 - len(left)))
    with study.opened(out) as store:
        missing = np.flatnonzero(~store.done(""))
        if len(missing):
            _train_through(study, training, int(missing[-1]), store, progress)
        store.add({}, {**recommended_epochs(store.data["loss"].values, tolerance).attrs(), "tolerance": tolerance})
    return study.result


def _train_through(study: Study, training: Training, last: int, store: Store, progress: bool) -> None:
    """Train up to epoch `last`, and store the scores that are missing."""
    done = store.done("")
    checked = int(np.flatnonzero(done)[-1]) if done.any() else -1
    steps = training.steps(epochs=last)
    what = f"{last} epochs on {training.samples:,} samples"
    with _announced(study, training, what, steps, int((~done).sum()), progress) as advance:
        for epoch in training.run(epochs=max(last, 1), on_step=lambda step: advance(1)):
            if epoch.number == checked or not done[epoch.number]:
                found = scores(study.objective, epoch.model.state_dict())
                advance(0, f"epoch {epoch.number}: {shown_scores(found)}")
                if epoch.number == checked:
                    study.check_again(store.values("", checked), found)
                else:
                    store.write("", epoch.number, {name: [found[name]] for name in study.names})
            if epoch.number == last:
                break


def study_train_size(
    training: Training,
    sizes: Sizes = None,
    repeats: int = 3,
    *,
    tolerance: float = TRAIN_SIZE_TOLERANCE,
    out: OutPath = None,
    progress: bool = True,
) -> Result:
    """Train on random subsets of each size, each time from the same initial state, and score on all validation data.

    Subsets are drawn without replacement, each from a seed made of the training's, the size and the repeat; they
    stay in the order drawn. At the full size the repeats therefore differ in the order of the samples alone.

    Args:
        training: what is run, for its number of epochs each time.
        sizes: how many samples; default: 1, 2, 5, 10, 20, … from about a hundredth of all samples on, and all.
        repeats: how many subsets of each size.
        tolerance: recommended is the smallest size whose median loss over the repeats is at most ``full + tolerance ·
            (initial loss − full)``: it keeps ``1 − tolerance`` of what training on the largest size gains.
        out: store the result there, training by training; the same call goes on with the trainings that are missing.
        progress: say how long it takes, and show loss, metrics and the time left.

    Returns:
        ``loss``, the metrics and ``status`` over (``size``, ``repeat``); ``loss_median`` and the metrics likewise over
        ``size``; ``initial_loss`` and the metrics likewise; ``attrs["recommendation"]`` and ``attrs["rule"]``.

    Raises:
        TrainingError: an argument is off.
        ResultError: what lies at `out` is of another call.

    Example:
        >>> result = ts.study_train_size(training, sizes=[100, 400], repeats=2)  # as in the example of Training
        >>> result.data["loss"].dims, result.data["loss"].shape
        (('size', 'repeat'), (2, 2))
    """
    training, tolerance = _checked_training(training), checked_tolerance(tolerance)
    chosen = checked_sizes(sizes, training.samples, "training", ladder(training.samples))
    checked_count("repeats", repeats)
    settings = {"sizes": chosen, "repeats": repeats, "epochs": training.epochs}
    grid = Grid(("size", "repeat"), {"size": chosen, "repeat": range(repeats)})
    study = _study_of(training, "study_train_size", f"training on {from_to(chosen)} samples", settings, grid, _trained_on(training))
    if dry_run.asked():
        left = study.left(out)
        steps = sum(training.steps(chosen[at // repeats]) for at in left)
        dry_run.stop(dry_run.plan_of_training(study, training, steps, len(left), len(chosen) * repeats - len(left)))
    with study.opened(out) as store:
        _train_missing(study, training, chosen, repeats, store, progress)
        medians = {f"{name}_median": (("size",), median_of_rows(store.data[name].values)) for name in study.names}
        initial = float(store.data["initial_loss"])
        found = recommended_train_size(chosen, store.data["loss"].values, initial, tolerance)
        store.add(medians, {**found.attrs(), "tolerance": tolerance})
    return study.result


def _train_missing(study: Study, training: Training, sizes: Sequence[int], repeats: int, store: Store, progress: bool) -> None:
    plan = [(size, repeat) for size in sizes for repeat in range(repeats)]
    missing = np.flatnonzero(~store.done("")).tolist()
    if not missing:
        return
    steps = sum(training.steps(plan[at][0]) for at in missing)
    there = f" ({len(plan) - len(missing)} of {len(plan)} are stored already)" if len(missing) < len(plan) else ""
    what = f"{len(missing)} trainings{there} of {training.epochs} epochs on {from_to(sizes)} samples"
    with _announced(study, training, what, steps, len(missing), progress) as advance:
        for at in missing:
            size, repeat = plan[at]
            indices = drawn_subset(training.samples, size, (training.seed, size, repeat))
            for epoch in training.run(indices=torch.from_numpy(indices), on_step=lambda step: advance(1)):
                trained = epoch.model
            found = scores(study.objective, trained.state_dict())
            store.write("", at, {name: [found[name]] for name in study.names})
            advance(0, f"{size:,} samples, {repeat + 1}/{repeats}: {shown_scores(found)}")


def study_test_size(
    objective: Objective,
    state: Mapping[str, Tensor],
    sizes: Sizes = None,
    repeats: int = 100,
    seed: int = 0,
    *,
    tolerance: float | None = None,
    out: OutPath = None,
    progress: bool = True,
) -> Result:
    """Score one trained model on random subsets of each size of the objective's data.

    The value of each sample is computed once and the subsets are drawn from these values without replacement, each
    from a seed made of `seed`, the size and the repeat. Without replacement the spread falls to 0 at the full size by
    construction: it says how far a subset is from these data, not how far these data are from new ones.

    Args:
        objective: what to score; its loss and metrics must give per-sample values.
        state: of the trained model.
        sizes: how many samples; default: each tenth of all samples, and 1 %, 2 %, 5 % where these are at least 30.
        repeats: how many subsets of each size, at least 2.
        seed: of the drawing, at least 0.
        tolerance: recommended is the smallest size at which the loss's standard deviation over the repeats is at
            most this, in units of the loss; default: 5 % of the loss on all samples.
        out: store the result there; the same call checks it and goes on.
        progress: show how far it is.

    Returns:
        ``loss``, the metrics and ``status`` over (``size``, ``repeat``); ``loss_spread`` (standard deviation) and the
        metrics likewise over ``size``; ``full_loss`` and the metrics likewise: on all samples;
        ``attrs["recommendation"]`` and ``attrs["rule"]``.

    Raises:
        TrainingError: an argument is off.
        ObjectiveError: the loss or a metric gives means only.
        StateError: the state does not fit the model.
        ResultError: what lies at `out` is of another call.

    Example:
        >>> result = ts.study_test_size(objective, trajectory[-1], sizes=[50, 100, 397], repeats=20)
        >>> float(result.data["loss_spread"][-1])  # on all samples: 0 by construction
        0.0
    """
    if not isinstance(objective, Objective):
        raise TrainingError(f"expected a ts.Objective, got {type(objective).__name__}")
    tolerance = None if tolerance is None else checked_tolerance(tolerance)
    checked_count("repeats", repeats, least=2)
    checked_count("seed", seed, least=0)
    if dry_run.asked():
        dry_run.stop(dry_run.plan_of_scoring("one model on random subsets of the test samples", objective, state))
    columns = per_sample_columns(objective, state)
    total = len(columns["loss"].values)
    chosen = checked_sizes(sizes, total, "test", tenths(total))
    full = {name: subset_mean(column, slice(None)) for name, column in columns.items()}
    identity = {"settings": {"sizes": chosen, "repeats": repeats, "seed": seed}}
    grid = Grid(("size", "repeat"), {"size": chosen, "repeat": range(repeats)}, unit=repeats)
    title = f"one model on {from_to(chosen)} test samples"
    study = Study("study_test_size", title, objective, objective.bind(state), full, "full", identity, grid, {"test_samples": total})
    with study.opened(out) as store:
        missing = [at for at in range(len(chosen)) if not store.done("")[at * repeats : (at + 1) * repeats].all()]
        if 0 < len(missing) < len(chosen):  # an earlier call stored some, with a batch size that may be another
            columns = per_sample_columns(objective, state)
        draws = sum(chosen[at] for at in missing) * repeats
        with progress_bar("study_test_size", len(missing), shown=progress and draws > 5e7) as advance:
            for at in missing:
                subsets = [drawn_subset(total, chosen[at], (seed, chosen[at], repeat)) for repeat in range(repeats)]
                # sorted, so that equal subsets have equal sums: all of them at the full size
                values = {n: [subset_mean(c, np.sort(subset)) for subset in subsets] for n, c in columns.items()}
                store.write("", at * repeats, values)
                advance(1)
        spreads = {f"{name}_spread": (("size",), spread_of_rows(store.data[name].values)) for name in study.names}
        found = recommended_test_size(chosen, store.data["loss"].values, full["loss"], total, tolerance)
        store.add(spreads, {**found.attrs(), "tolerance": found.limit})
    return study.result


def _trained_on(training: Training) -> dict[str, Any]:
    return {"training_samples": training.samples, "training_epochs": training.epochs, "seed": training.seed}


def _study_of(training: Training, name: str, title: str, settings: Mapping[str, Any], grid: Grid, attrs: Mapping[str, Any]) -> Study:
    """A study that runs `training` from its initial state."""
    model = training.model()
    objective = training.objective(model)
    state = objective.bind(State.of(model.state_dict(), label="initial state", step=0, epoch=0))
    identity = {"training": training.fingerprint(settings["epochs"]), "settings": settings}
    return Study(name, title, objective, state, scores(objective, state), "initial", identity, grid, attrs)


@contextmanager
def _announced(study: Study, training: Training, what: str, steps: int, scorings: int, progress: bool) -> Iterator[Callable[..., None]]:
    """Say what will be trained and how long it takes, and show how far it is."""
    a_step = training.step_seconds(steps) if progress else 0.0
    seconds = steps * a_step + scorings * study.seconds
    shown = progress and seconds > LONG_SECONDS
    say(
        f"{study.title}: {what}, {steps:,} optimizer steps on {study.objective.device}, about {duration(seconds)} "
        f"({duration(a_step) if a_step >= 1e-3 else 'under 1 ms'} a step, measured on a few)",
        shown=shown,
    )
    with progress_bar("training", steps, shown=shown) as advance:
        yield advance


def _checked_training(training: object) -> Training:
    if isinstance(training, Training):
        return training
    raise TrainingError(f"expected a ts.Training, got {type(training).__name__}; make one with ts.Training(model_factory, …)")
