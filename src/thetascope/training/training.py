"""Training: a description of a training that can be run again, from the same initial state and in the same order."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from thetascope.errors import TrainingError
from thetascope.progress import LONG_SECONDS, progress_bar
from thetascope.scoring.batches import Batches
from thetascope.scoring.metrics import Loss, Metrics
from thetascope.scoring.objective import Objective
from thetascope.scoring.untouched import RandomStates, preserved_random_states, recorded, seed_all
from thetascope.training.data import checked_count, checked_indices, checked_samples, train_batches
from thetascope.training.optimization import MEAN_LOSSES, learning_rates, mean_loss, optimization

MEASURED_STEPS = 4
"""So many optimizer steps are timed before a training is announced."""


class Records(Protocol):
    """What a training records into: a `ts.Recorder`."""

    def record(self, *, step: int | None = None, epoch: float | None = None, metrics: Mapping[str, float] | None = None) -> None:
        """Take the model's present state."""
        ...


@dataclass(frozen=True)
class Epoch:
    """Where a running training is.

    Attributes:
        number: how many epochs are done; 0 before any.
        step: how many optimizer steps are done.
        model: the live model, in training mode; only to be read.
        train_loss: mean over the epoch's samples while it went; nan at 0.
    """

    number: int
    step: int
    model: nn.Module
    train_loss: float


@dataclass(frozen=True, eq=False)
class Training:
    """A training that can be run again: the same description gives the same bits on the same machine and threads.

    Nothing outside is changed by running it: all random states are put back. Within it they start from `seed`, and
    the order of the samples comes from a generator of its own, started from `seed` too.

    Args:
        model_factory: called without arguments, returns the model in its initial state. It is called with the random
            states seeded, so that a fresh model has the same initial values each time.
        train_data: (inputs, targets) tensors, or a map-style Dataset of (input, target) pairs.
        validation_data: what trained models are scored on; as the data of an `Objective`.
        optimizer_factory: called with the model's parameters, returns the optimizer.
        epochs: how many passes over the training data, at least 1.
        batch_size: samples an optimizer step, at least 1; the last batch of an epoch may be smaller.
        loss: as an `Objective`'s. The training lowers its mean over a batch in the model's own precision; scoring
            is in float64.
        metrics: as an `Objective`'s.
        scheduler_factory: called with the optimizer, returns a scheduler of learning rates, stepped after each epoch.
            A training of fewer epochs follows the same schedule up to there.
        seed: of the initial values, the order of the samples and whatever the model draws; at least 0.

    The model is trained and scored on the device on which the factory puts it.

    Raises:
        TrainingError: an argument is off; the message says what to pass.

    Example:
        >>> training = ts.Training(
        ...     Net, (train_images, train_labels), (test_images, test_labels), lambda parameters: torch.optim.SGD(parameters, lr=0.05),
        ...     epochs=2, batch_size=100,
        ... )
        >>> [(epoch.number, epoch.step) for epoch in training.run()]
        [(0, 0), (1, 14), (2, 28)]
    """  # fmt: skip

    model_factory: Callable[[], nn.Module]
    train_data: Any = field(repr=False)
    validation_data: Any = field(repr=False)
    optimizer_factory: Callable[[Any], Optimizer]
    epochs: int
    batch_size: int
    _: KW_ONLY
    loss: Loss = "cross_entropy"
    metrics: Metrics = ("accuracy",)
    scheduler_factory: Callable[[Any], Any] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("model_factory", "optimizer_factory"):
            if not callable(getattr(self, name)):
                raise TrainingError(f"{name} must be a function. Got {type(getattr(self, name)).__name__} instead.")
        if isinstance(self.model_factory, nn.Module):
            raise TrainingError(
                "model_factory must be a function that returns a fresh model, because a study trains several. Got a model itself: "
                "pass its class, or a function that builds it"
            )
        if self.scheduler_factory is not None and not callable(self.scheduler_factory):
            raise TrainingError(f"scheduler_factory must be a function or None. Got {type(self.scheduler_factory).__name__} instead.")
        checked_count("epochs", self.epochs)
        checked_count("batch_size", self.batch_size)
        checked_count("seed", self.seed, least=0)
        checked_samples(self.train_data)
        if isinstance(self.loss, str) and self.loss not in MEAN_LOSSES:
            raise TrainingError(
                f'unknown loss "{self.loss}"; there are {", ".join(MEAN_LOSSES)}, or pass a function of (outputs, targets) that returns '
                "[N] per-sample values or their mean"
            )
        if not (isinstance(self.loss, str) or callable(self.loss)):
            raise TrainingError(f"loss must be a name or a function of (outputs, targets). Got {type(self.loss).__name__} instead.")

    @property
    def samples(self) -> int:
        """How many training samples there are."""
        return checked_samples(self.train_data)

    def steps(self, samples: int | None = None, epochs: int | None = None) -> int:
        """How many optimizer steps a training on so many samples makes."""
        return -(-(self.samples if samples is None else samples) // self.batch_size) * (self.epochs if epochs is None else epochs)

    def model(self) -> nn.Module:
        """A fresh model in the initial state, which is the same each time.

        Raises:
            TrainingError: the factory returns something else, or a model without parameters to train.
        """
        with preserved_random_states():
            seed_all(self.seed)
            model = self.model_factory()
        if not isinstance(model, nn.Module):
            raise TrainingError(f"model_factory must return a torch.nn.Module. It returned {type(model).__name__} instead.")
        if not any(p.requires_grad for p in model.parameters()):
            raise TrainingError(
                f"the model ({type(model).__name__}) has no parameter that requires a gradient, so there is nothing to train"
            )
        return model

    def objective(self, model: nn.Module) -> Objective:
        """What scores `model` on the validation data, on the model's own device."""
        return Objective(model, self.validation_data, self.loss, self.metrics, device=_device_of(model))

    def run(
        self,
        model: nn.Module | None = None,
        *,
        epochs: int | None = None,
        indices: Sequence[int] | Tensor | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> Iterator[Epoch]:
        """Train, and stop to say so before the first epoch and after each one. No scoring, no progress.

        Args:
            model: trained in place from where it is; default: a fresh one.
            epochs: how many; default: the description's.
            indices: train on these samples only ``[n]``; their order counts, for it is what is shuffled.
            on_step: called with the number of optimizer steps after each of them.

        Raises:
            TrainingError: an argument is off, or a factory returns something else than it should.
        """
        total = self.epochs if epochs is None else checked_count("epochs", epochs)
        chosen = checked_indices(indices, self.samples)
        return self._epochs(model, total, chosen, on_step or (lambda step: None))

    def train(
        self,
        model: nn.Module | None = None,
        *,
        recorder: Records | None = None,
        epochs: int | None = None,
        indices: Sequence[int] | Tensor | None = None,
        progress: bool = True,
    ) -> nn.Module:
        """Train, score after each epoch, and show loss, metrics and the time left.

        Args:
            model: as for `run`; with a recorder it must be the one that it records.
            recorder: takes the state after each epoch, and at the exact half of all steps, with ``train_loss``,
                ``validation_loss`` and each metric likewise.
            epochs: as for `run`.
            indices: as for `run`.
            progress: show a bar.

        Returns:
            The trained model.

        Example:
            >>> model = training.model()
            >>> with ts.Recorder("runs/lenet", model) as recorder:
            ...     trained = training.train(model, recorder=recorder)
        """
        if recorder is not None and model is None:
            raise TrainingError("a recorder records one model: pass it too, model = training.model(); training.train(model, recorder=…)")
        model = self.model() if model is None else model
        objective = self.objective(model)
        chosen = checked_indices(indices, self.samples)
        per_epoch = self.steps(len(chosen), 1)
        total = per_epoch * (self.epochs if epochs is None else epochs)
        shown = progress and self.step_seconds(total) * total > LONG_SECONDS
        with progress_bar("training", total, shown=shown) as advance:

            def on_step(step: int) -> None:
                advance(1)
                if recorder is not None and step == total // 2 and step % per_epoch:
                    recorder.record(step=step, epoch=step / per_epoch)

            for epoch in self.run(model, epochs=epochs, indices=chosen, on_step=on_step):
                score = scores(objective, model.state_dict())
                advance(0, shown_scores(score))
                if recorder is not None:
                    known = {} if epoch.number == 0 else {"train_loss": epoch.train_loss}
                    found = {f"validation_{name}": value for name, value in score.items()}
                    recorder.record(step=epoch.step, epoch=epoch.number, metrics=known | found)
        return model

    def step_seconds(self, steps: int) -> float:
        """How long an optimizer step takes, measured on a few of a training that is thrown away."""
        measured = torch.arange(min(self.samples, max(1, min(steps, MEASURED_STEPS)) * self.batch_size))
        times: list[float] = []
        for _ in self.run(epochs=1, indices=measured, on_step=lambda step: times.append(time.perf_counter())):
            pass
        return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0

    def fingerprint(self, epochs: int | None = None) -> dict[str, Any]:
        """What a stored study must agree with to be gone on with: all but the model and what scores it."""
        model = self.model()
        cpu = torch.device("cpu")
        data = Batches(self.train_data, device=cpu, inputs_dtype=None, batch_size=1000, samples=None, seed=self.seed)
        with preserved_random_states():
            seed_all(self.seed)
            optimizer, scheduler = optimization(model, self.optimizer_factory, self.scheduler_factory)
            described = " ".join(repr(optimizer).split())
            schedule = None if scheduler is None else type(scheduler).__qualname__
            rates = learning_rates(optimizer, scheduler, self.epochs if epochs is None else epochs)
        return {
            "train_data": data.survey.fingerprint,
            "optimizer": described,
            "scheduler": schedule,
            "learning_rates": rates,
            "batch_size": self.batch_size,
            "seed": self.seed,
        }

    def _epochs(self, model: nn.Module | None, total: int, chosen: Tensor, on_step: Callable[[int], None]) -> Iterator[Epoch]:
        order = torch.Generator().manual_seed(self.seed)
        model = self.model() if model is None else model
        with preserved_random_states():
            seed_all(self.seed)
            optimizer, scheduler = optimization(model, self.optimizer_factory, self.scheduler_factory)
            own = RandomStates.capture()
        yield Epoch(0, 0, model, math.nan)
        step = 0
        for number in range(1, total + 1):
            # while the caller has the turn, the random states are the caller's
            with preserved_random_states(), recorded():
                own.restore()
                shuffled = chosen[torch.randperm(len(chosen), generator=order)]
                model.train()
                sums: list[Tensor] = []
                for inputs, targets in train_batches(self.train_data, shuffled, self.batch_size, _device_of(model)):
                    loss = mean_loss(self.loss, model(inputs), targets)
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    sums.append(loss.detach().double() * len(targets))
                    step += 1
                    on_step(step)
                if scheduler is not None:
                    scheduler.step()
                own = RandomStates.capture()
            yield Epoch(number, step, model, float(torch.stack(sums).sum()) / len(chosen))


def scores(objective: Objective, state: Mapping[str, Tensor]) -> dict[str, float]:
    """The loss and each metric of `state`."""
    return {name: float(value) for name, value in objective.score(state).items() if name != "samples"}


def shown_scores(score: Mapping[str, float]) -> str:
    """For the line of a progress bar."""
    return ", ".join(f"{name} {value:.4f}" for name, value in score.items())


def _device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
