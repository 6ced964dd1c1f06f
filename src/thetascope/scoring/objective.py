"""The Objective: what is scored. A model, data, a loss and metrics."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from thetascope.allocator import give_back
from thetascope.errors import ObjectiveError
from thetascope.geometry.points import PointSet, StoredStates
from thetascope.scoring.batches import Batches, is_dataset, is_pair
from thetascope.scoring.cache import Cache
from thetascope.scoring.chance import chance_of
from thetascope.scoring.descriptions import described, described_model
from thetascope.scoring.failures import StepFailedError
from thetascope.scoring.guards import MOST_EXACT, Looked, guard
from thetascope.scoring.lightning_step import LightningStep
from thetascope.scoring.memory import halving
from thetascope.scoring.metrics import FROM_STEP, Loss, Metrics, Step, SupervisedStep, chosen_metrics
from thetascope.scoring.model import BoundModel
from thetascope.scoring.model_loss import ModelLoss, Weight
from thetascope.scoring.oracle import EagerBackend
from thetascope.scoring.protocols import Buffers
from thetascope.scoring.pytrees import cut, shapes_of
from thetascope.scoring.sampling import Chosen, choose
from thetascope.scoring.scores import Keep, Kept, Reference, Sums
from thetascope.scoring.statistics import Statistics, spectral_of, statistics_of
from thetascope.scoring.undisturbed import PutBack
from thetascope.shown import shown
from thetascope.state import ParameterSpace, State

DType = torch.dtype | str | None
Grouping = Literal["any", "fixed"]

OWN_INPUTS = 2000
"""So many of the objective's own inputs at most, statistics are estimated from."""

EXACT_ROWS = 8
"""So many rows show whether a step runs in double precision."""


class Objective:
    """A model, the data it is scored on, a loss and metrics.

    The model is never written to: after every call its parameters, buffers, modes, gradients, hooks and all random
    states are as before.

    Args:
        model: any torch.nn.Module; its present values do not matter. Wrappers such as DataParallel are looked through.
        data: (inputs, targets) tensors, or any iterable of (inputs, targets) batches that can be walked again, such
            as a DataLoader. For other batches see `from_step`.
        loss: "cross_entropy" (logits), "nll" (log-probabilities), "mse", one of torch's loss modules (class weights and ignore_index
            are then counted as torch counts them over all data at once), or a function of (outputs, targets) that returns ``[N]``
            per-sample values or their mean. "model": batches are mappings of the model's keyword arguments, and the loss is the one
            that the model computes of them, as models of transformers do.
        metrics: names ("accuracy", in [0, 1]) or ``{name: function}`` like `loss`, or ``{name: object}`` with update(outputs,
            targets), compute() and reset(), such as a torchmetrics.Metric: over all data, whatever the batches. The default accuracy is
            by threshold for a binary loss of one column, and left out where classes do not exclude one another.
        device: "auto" is CUDA where there is one, else where the model is.
        dtype: evaluate in another one: "float64" for an exact look, "float32" for a bfloat16 model.
        batch_size: rows a batch where the data are tensors; a DataLoader's batches are kept.
        samples: score on that many samples, drawn once with `seed`; more of them hold all that fewer did. "auto" draws as many as the
            first experiment needs (or the first state that is scored): a pilot on few finds how many bring the paired standard
            errors of differences from the final state under `precision`. The number is kept beside stored results, and used again.
        precision: what a paired standard error may be at most with samples="auto", as a share of the larger of what the training
            gained and the point's own loss.
        seed: of the drawing and of whatever is random in walking the data.
        buffers: where floating buffers such as BatchNorm's statistics come from at the points of an experiment: "path" takes them
            from the straight pieces through the knots, "final" from the last state, "recalibrate" estimates running statistics at
            each point from `calibration_data`. "auto": without running statistics "path"; with them "recalibrate" for paths, layers,
            roles, planes and averages, and "final" for surfaces, single parameters and the atlas. `score` takes a state as it is.
        calibration_data: for "recalibrate"; default: at most 2,000 of the objective's own inputs, which results then say.
        calibration_batch: rows a batch of those, each normalised by its own statistics; a last part is left out, fewer rows are one
            batch, and an iterable of batches keeps its own. It decides the statistics, so it is never made smaller.
        gradients: whether forward, the loss or the step takes gradients (residuals of differential equations, forces, the norm of a
            gradient). Each point is then scored by the plain call; nothing of it reaches the model or the data.
        batches: "fixed" where a value belongs to a whole batch and is no mean over its samples (a contrastive loss, say): then
            a batch is the sample, and nothing regroups rows.
        weight: with loss="model", a function of a batch that says how much its loss weighs. Without it that is how many labels the
            loss is the mean over (those that are not -100, with or without the first of each row, or the rows), which is found on two rows.

    Raises:
        ObjectiveError: an argument is off; the message says what to pass.

    Example:
        >>> objective = ts.Objective(Net(), (test_images, test_labels), loss="cross_entropy")
        >>> sorted(objective.score(trajectory[-1]))
        ['accuracy', 'loss', 'samples']
    """

    compared: State | None = None
    """The state that points are compared with, sample by sample."""
    _keep: Keep = ""
    specification: str | None = None
    """How a command line named it, such as ``objective.py:objective``. Results keep it: a report says how they are made again."""

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        loss: Loss = "cross_entropy",
        metrics: Metrics = ("accuracy",),
        *,
        device: str | torch.device = "auto",
        dtype: DType = None,
        batch_size: int = 1000,
        samples: int | Literal["auto"] | None = None,
        precision: float = 0.05,
        seed: int = 0,
        buffers: Buffers = "auto",
        calibration_data: Any = None,
        calibration_batch: int = 250,
        gradients: bool = False,
        batches: Grouping = "any",
        weight: Weight | None = None,
    ) -> None:
        options = _Options(
            device, dtype, batch_size, samples, precision, seed, buffers, calibration_data, calibration_batch, gradients, batches
        )
        self._set(model, data, options)
        if weight is not None and loss != "model":
            raise ObjectiveError('weight= is for loss="model", where the model computes a mean. Give a loss of your own values [N] instead')
        first = self.batches.first()
        step: SupervisedStep | ModelLoss
        if loss == "model":
            step = ModelLoss.of(weight, metrics, first)
            self.loss = "model" if weight is None else f"model, weighted by {described(weight)}"
        else:
            targets = _checked_pair(first)[1]
            step = SupervisedStep(loss, chosen_metrics(metrics, loss, data[1] if is_pair(data) else targets))
            self.loss = described(loss)
        self.model = BoundModel(model, step, self.device, self.dtype, gradients=gradients)
        self.metrics = {name: described(metric) for name, metric in step.given.items()}

    @classmethod
    def from_step(
        cls,
        model: nn.Module,
        data: Any,
        step: Step,
        *,
        device: str | torch.device = "auto",
        dtype: DType = None,
        batch_size: int = 1000,
        samples: int | Literal["auto"] | None = None,
        precision: float = 0.05,
        seed: int = 0,
        buffers: Buffers = "auto",
        calibration_data: Any = None,
        calibration_batch: int = 250,
        gradients: bool = False,
        batches: Grouping = "any",
    ) -> Objective:
        """An objective for batches and outputs of any kind.

        Args:
            model: as for `Objective`.
            data: any iterable of batches that can be walked again.
            step: a function of (model, batch) that returns ``{"loss": …, "accuracy": …}`` of ``[N]`` per-sample
                values, or means and ``"weight"``: how many samples they stand for.
            device: as for `Objective`, like the rest.
            dtype: also casts the floating tensors of the batches.
            batch_size: rows a batch where the data are tensors.
            samples: needs per-sample losses.
            precision: as for `Objective`.
            seed: as for `Objective`.
            buffers: as for `Objective`.
            calibration_data: as for `Objective`.
            calibration_batch: as for `Objective`.
            gradients: as for `Objective`.
            batches: as for `Objective`.

        Example:
            >>> def step(model, batch):
            ...     logits = model(batch["image"])
            ...     return {"loss": torch.nn.functional.cross_entropy(logits, batch["label"], reduction="none")}
            >>> batches = [{"image": test_images, "label": test_labels}]
            >>> objective = ts.Objective.from_step(Net(), batches, step=step)
            >>> objective.score(trajectory[-1])["samples"]
            397
        """
        if not callable(step):
            raise ObjectiveError(f"step must be a function of (model, batch). Got {type(step).__name__} instead.")
        self = cls.__new__(cls)
        options = _Options(
            device, dtype, batch_size, samples, precision, seed, buffers, calibration_data, calibration_batch, gradients, batches
        )
        self._set(model, data, options)
        self.batches.first()
        self.model = BoundModel(model, step, self.device, self.dtype, gradients=gradients)
        self.loss, self.metrics = described(step), {}
        return self

    @classmethod
    def from_lightning(
        cls,
        module: nn.Module,
        dataloader: Any,
        step: str = "validation_step",
        *,
        loss: str | None = None,
        weight: Weight | None = None,
        **options: Any,
    ) -> Objective:
        """An objective that scores as a LightningModule does: by its own step, without a Trainer.

        Args:
            module: a LightningModule (of ``lightning`` or ``pytorch_lightning``).
            dataloader: what the Trainer would be given, such as ``datamodule.val_dataloader()``. The module's hooks around the transfer
                of a batch are called.
            step: the method's name: "validation_step", "test_step" or "training_step".
            loss: the name of a logged value that is the loss. Without it that is what the step returns (a tensor, or a mapping's "loss"),
                else the one logged value whose name holds "loss".
            weight: a function of a batch that says how much its values weigh; without it that is the ``batch_size`` that was given to
                ``self.log``, else the number of rows. Where the loss is a mean over tokens, count these.
            options: as for `from_step`.

        Returns:
            The objective; each other number that the step logs is a metric. An object of torchmetrics that is logged is computed over all
            data.

        Raises:
            ObjectiveError: the module has no such step, or the step gives no loss; the message lists what it logged.

        Example:
            >>> objective = ts.Objective.from_lightning(module, val_loader)            # doctest: +SKIP
        """
        scored = LightningStep(module, step, loss, weight)
        return cls.from_step(module, dataloader, step=scored, **options)

    def _set(self, model: nn.Module, data: Any, options: _Options) -> None:
        if not isinstance(model, nn.Module):
            raise ObjectiveError(f"model must be a torch.nn.Module. Got {type(model).__name__} instead.")
        if options.buffers not in get_args(Buffers):
            raise ObjectiveError(f'buffers must be one of {", ".join(get_args(Buffers))}. Got "{options.buffers}" instead.')
        self.device, self.dtype = _device(options.device, model), _dtype(options.dtype)
        if options.batches not in get_args(Grouping):
            raise ObjectiveError(f"batches must be one of {', '.join(get_args(Grouping))}. Got {options.batches!r} instead.")
        self.declared_fixed = options.batches == "fixed"
        self.seed, self.samples, self.buffers = options.seed, options.samples, options.buffers
        if isinstance(options.samples, str) and options.samples != "auto":
            raise ObjectiveError(f'samples must be a number, "auto" or None. Got "{options.samples}" instead.')
        if not 0 < options.precision < 1:
            raise ObjectiveError(f"precision must be a share between 0 and 1, such as 0.05. Got {options.precision!r} instead.")
        self.chosen = Chosen(options.precision) if options.samples == "auto" else None
        self.batches = self._batches(data, options.batch_size, None if options.samples == "auto" else options.samples)
        self.calibration_is_own = options.calibration_data is None
        self.calibration = self._calibration(data, options)
        self._layers_known = False
        self.cache = Cache()

    def _batches(self, data: Any, batch_size: int, samples: int | None) -> Batches:
        return Batches(data, device=self.device, inputs_dtype=self.dtype, batch_size=batch_size, samples=samples, seed=self.seed)

    def _calibration(self, data: Any, options: _Options) -> Batches:
        """Whole batches of the data that statistics are estimated from."""
        own, size = self.calibration_is_own, options.calibration_batch
        if isinstance(size, bool) or not isinstance(size, int) or size < 2:
            raise ObjectiveError(f"calibration_batch must be at least 2, so that a batch has a variance. Got {size!r} instead.")
        given = data if own else options.calibration_data
        samples = min(OWN_INPUTS, options.samples) if isinstance(options.samples, int) else None
        if own and (is_pair(given) or is_dataset(given)):
            samples = samples or OWN_INPUTS
        return Batches(
            given,
            device=self.device,
            inputs_dtype=self.dtype,
            batch_size=size,
            samples=samples if own else None,
            seed=self.seed,
            whole=True,
            most=OWN_INPUTS if own and samples is None else None,
        )

    @property
    def statistics(self) -> Statistics:
        """The model's running statistics, found at the first look."""
        if self.cache.statistics is None:
            before = self._undisturbed()
            with before, before, self.model.running():
                self.cache.statistics = statistics_of(self.model, self.batches.first())
        return self.cache.statistics

    def under(self, default: Buffers) -> Objective:
        """The same objective under the policy for buffers that an experiment has by default, where none was asked for.

        Args:
            default: "recalibrate" or "final", for models that keep running statistics.
        """
        if self.buffers != "auto":
            return self
        other = copy.copy(self)
        other.buffers = default if self.statistics else "path"
        return other

    @property
    def replaces_buffers(self) -> bool:
        """Whether recorded states are scored with other buffers than their own."""
        if self.cache.spectral is None:
            self.cache.spectral = bool(spectral_of(self.model))
        if self.cache.spectral or self.calibrates:
            return self.cache.spectral or bool(self.statistics)
        return self.buffers == "final" and any(self.model.space.tensors[name].floating for name in self.model.space.buffers)

    @property
    def space(self) -> ParameterSpace:
        """The model's parameter space, layers in the order of the first forward pass."""
        if not self._layers_known:
            before = self._undisturbed()
            with before, before:
                halving(self, lambda: self.model.watch_calls(self.batches.first()))
            self._layers_known = True
        return self.model.space

    @property
    def calibrates(self) -> bool:
        """Whether buffers are estimated at each point."""
        return self.buffers == "recalibrate"

    def evaluated_in(self, dtype: DType) -> Objective:
        """The same objective, evaluated in another dtype."""
        other = copy.copy(self)
        other.dtype = _dtype(dtype)
        other.batches = self.batches.cast(other.dtype)
        other.calibration = self.calibration.cast(other.dtype)
        other.model = self.model.evaluated_in(other.dtype)
        other._layers_known, other.cache = False, Cache()
        return other

    def exact(self, state: Mapping[str, Tensor]) -> Objective:
        """The same objective in double precision, or in the dtype that it has where model or step insist on that (casts, constants)."""
        other = self.evaluated_in("float64")
        try:
            with other.model.running():
                other.model.evaluate(other.model.tensors_of(other.bind(state)), cut(other.batches.first(), EXACT_ROWS)[0])
        except StepFailedError:
            return self.evaluated_in(self.dtype)
        return other

    def bind(self, state: Mapping[str, Tensor]) -> State:
        """`state` under the model's own names.

        Raises:
            StateError: it does not fit; every difference is listed.
        """
        return self.model.bind(state)

    def score(self, state: Mapping[str, Tensor]) -> dict[str, float | int]:
        """Score one state as it stands, with its own buffers.

        Returns:
            The mean loss, each metric's mean, ``"samples"``: how many they were taken over; with
            ``"loss_standard_error"`` where the objective draws samples.

        Raises:
            StateError: the state does not fit the model.
            ObjectiveError: the step failed or returned something else than values.
        """
        bound, before = self.bind(state), self._undisturbed()
        with before, before, self.model.running():
            points = StoredStates((bound,))
            self.guard((bound,))
            if self.chosen is not None and self.chosen.count is None:
                near = State.of(_perturbed(self.model.tensors_of(bound)), label="a perturbation")
                homes = [] if bound.run is None else [bound.run]
                choose(self.against(bound), [(StoredStates((bound, near)), True)], homes, None)
            (sums,) = halving(self, lambda: EagerBackend(self, points, as_recorded=True).evaluate([0]))
        return {**sums.means(), "samples": sums.samples}

    def _undisturbed(self) -> PutBack:
        return PutBack([self.model.model])

    def guard(self, states: Sequence[State]) -> None:
        """See once whether states arrive in the model, and values are what they are taken for; see `thetascope.scoring.guards`.

        Args:
            states: bound to the model; others are looked at as long as a loss is not finite, or 0, which tells nothing.
        """
        for state in states if not self.cache.guarded else ():
            seen = halving(self, partial(self._looked, state))
            self.cache.guarded, self.cache.uncut = seen.telling, self.cache.uncut or not seen.alone
            if seen.telling:
                break

    def _looked(self, state: State) -> Looked:

        def make() -> dict[str, Tensor]:
            give_back(self.model.bytes)
            return self.model.tensors_of(state)

        if isinstance(self.model.step, ModelLoss) and self.model.step.weight is None:
            wide = self if self.model.space.parameter_count > MOST_EXACT else self.exact(state)
            coarsest = max((torch.finfo(wide.model.target_dtype(name)).eps for name in self.model.space.floating_parameters), default=0.0)
            tensors = wide.model.tensors_of(wide.bind(state))
            self.model.step.find_weight(wide.batches.first(), partial(wide.model.evaluate, tensors), coarsest)
        return guard(self.model, self.batches, make, fixed=self.fixed)

    @property
    def fixed(self) -> bool:
        """Whether a batch is the sample, so that nothing regroups rows."""
        return self.declared_fixed or self.cache.uncut

    def new_sums(self) -> Sums:
        """What a backend sums a point's values up in."""
        drawn = isinstance(self.samples, int)
        return Sums(spread=drawn or self._keep == "all", reference=self.reference, keep=self._keep, drawn=drawn)

    def pilot(self, samples: int) -> Objective:
        """The same objective on so many of its samples; it remembers nothing."""
        other = copy.copy(self)
        other.cache, other.batches = Cache(), self.batches.resampled(samples)
        other.cache.statistics = self.cache.statistics
        return other

    def parted(self, share: float) -> tuple[Objective, Objective] | None:
        """The same objective on a share of its samples, drawn once with its seed, and on the rest of them.

        Whole batches are parted where a batch is the sample, or where its rows are not known; None where there is only one of these.
        Statistics that are estimated from the objective's own data are, by both, from that share.
        """
        survey = self.batches.survey
        by_batches = self.fixed or survey.rows is None
        if (survey.count if by_batches else survey.rows or 0) < 2:
            return None
        parts = copy.copy(self), copy.copy(self)
        calibration, number = self.calibration, self.samples if isinstance(self.samples, int) else None
        if self.calibration_is_own:
            calibration = calibration.part(0.0, share, calibration.samples, by_batches=by_batches)
        first = None if number is None else round(number * share)
        counts = (first, None if number is None or first is None else number - first)
        for part, ends, count in zip(parts, ((0.0, share), (share, 1.0)), counts, strict=True):
            part.batches, part.calibration, part.cache = self.batches.part(*ends, count, by_batches=by_batches), calibration, Cache()
            part.cache.statistics, part.cache.spectral = self.cache.statistics, self.cache.spectral
            part.samples = count if number is not None else self.samples
            part.chosen = None if self.chosen is None else Chosen(self.chosen.precision)
        return parts

    def kept_at(self, points: PointSet, rows: Sequence[int], *, as_recorded: bool = False) -> list[Reference]:
        """What every sample scores at some points, by the oracle under the policy for buffers. Call it within the model's `running`."""
        keeping = copy.copy(self)
        keeping._keep = "all"
        found = halving(self, lambda: EagerBackend(keeping, points, as_recorded=as_recorded).evaluate(list(rows)))
        return [sums.kept() for sums in found]

    def sampling_identity(self) -> str:
        """What a chosen number of samples is kept by: data, loss, seed and precision."""
        assert self.chosen is not None
        told = (self.batches.resampled_fingerprint, self.loss, self.seed, self.chosen.precision)
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]

    def against(self, state: State | None) -> Objective:
        """The same objective, whose points are compared with this state, sample by sample (``excess`` and its standard error), or none."""
        other = copy.copy(self)
        other.compared = state
        return other

    @property
    def reference(self) -> Reference | None:
        """The losses of the state that points are compared with, under the policy for buffers; found at the first look."""
        state = self.compared
        if state is None or self._keep == "all":
            return None
        key = (state.digest(), self.buffers, self.batches.batch_size if self.fixed else None)
        if key not in self.cache.references:
            points = self.stored((state,))
            (found,) = self.kept_at(points, [0])
            self.cache.references[key] = found
            self._keep_losses(points, 0, found.columns["loss"])
        return self.cache.references[key]

    def keeping_losses(self) -> Objective:
        """The same objective, which keeps the loss of every sample at the points that are scored, as long as there is room."""
        other = copy.copy(self)
        other._keep = "loss"
        return other

    def scored(self, points: PointSet, row: int, sums: Sums, *, as_recorded: bool = False) -> dict[str, float]:
        """What a point scored; its losses are kept where that was asked for."""
        if self._keep == "loss" and not (as_recorded and self.replaces_buffers):
            self._keep_losses(points, row, sums.losses())
        return sums.means()

    def _keep_losses(self, points: PointSet, row: int, losses: Kept) -> None:
        key = self._losses_key(points, row)
        if key is not None:
            self.cache.keep_losses(key, losses)

    def _losses_key(self, points: PointSet, row: int) -> Hashable | None:
        identity = self.identity(points, row)
        return None if identity is None else (identity, self.buffers, self.batches.batch_size)

    def identity(self, points: PointSet, row: int, *, as_recorded: bool = False) -> Hashable | None:
        """What makes a point, with the buffers that it is scored with; None where it cannot be told from others."""
        held = self.buffers == "final" and not as_recorded
        return (points.holding_buffers() if held else points).identity(row)

    def losses_at(self, points: PointSet, rows: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """The loss of every sample at some points under the policy for buffers: what was kept of it, the rest by the oracle. Call it
        within the model's `running`.

        Args:
            points: over states that are bound to the objective's model.
            rows: which of them.

        Returns:
            Values ``[K, N]`` in the order of `rows`, and weights ``[N]``, in float64 on the CPU; None where the losses are not those of
            samples, or weigh otherwise at another point.
        """
        kept = {k: self.cache.losses.get(self._losses_key(points, k)) for k in rows}
        left = [k for k, losses in kept.items() if losses is None]
        kept |= zip(left, (each.columns["loss"] for each in self.kept_at(points, left)), strict=True)
        values, weights, per_sample = zip(*(kept[k] or () for k in rows), strict=True)
        if not all(per_sample) or not all(torch.equal(own, weights[0]) for own in weights):
            return None
        return torch.stack(values).cpu(), weights[0].cpu()

    @property
    def chance(self) -> Mapping[str, float]:
        """What a model would score that knows how often each target comes only: the loss's and "accuracy", where there is such a value."""
        if self.cache.chance is None:
            self.cache.chance = chance_of(self.model.step, self.batches)
        return self.cache.chance

    def stored(self, states: Sequence[State], anchor: int = -1) -> StoredStates:
        """Recorded states as points; the policy "final" gives all of them the floating buffers of ``states[anchor]``."""
        return StoredStates(tuple(states), frozenset(self.model.space.floating_buffers), anchor)

    def fingerprint(self) -> dict[str, Any]:
        """What a stored result must agree with to be gone on with: everything but the states and the points."""
        found = {
            "model": described_model(self.model.model),
            "data": self.batches.survey.fingerprint,
            "loss": self.loss,
            "metrics": self.metrics,
            "samples": self.samples if self.chosen is None else self.chosen.count,
            "seed": self.seed,
            "dtype": None if self.dtype is None else str(self.dtype),
            "buffers": self.buffers,
        }
        if self.declared_fixed:
            found["batch_size"] = self.batches.batch_size
        if self.calibrates:
            found |= {"calibration_data": self.calibration.survey.fingerprint, "calibration_batch": self.calibration.batch_size}
        return found

    def __repr__(self) -> str:
        metrics = ", ".join(self.metrics) or "none"
        model = f"{type(self.model.model).__name__}, {self.model.space.parameter_count:,} parameters"
        return shown(f"Objective({model}, loss={self.loss}, metrics={metrics}, device={self.device})")


@dataclass(frozen=True)
class _Options:
    """The keyword arguments that both ways to make an objective share."""

    device: str | torch.device
    dtype: DType
    batch_size: int
    samples: int | Literal["auto"] | None
    precision: float
    seed: int
    buffers: Buffers
    calibration_data: Any
    calibration_batch: int
    gradients: bool
    batches: Grouping


def _perturbed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each floating tensor moved by a tenth of its size."""
    generator = torch.Generator().manual_seed(0)
    noise = {name: torch.randn(t.shape, generator=generator).to(t) for name, t in tensors.items() if t.is_floating_point()}
    return {name: t + 0.1 * noise[name] * t.abs() if name in noise else t for name, t in tensors.items()}


def _checked_pair(batch: Any) -> tuple[Tensor, Tensor]:
    if isinstance(batch, tuple | list) and len(batch) == 2 and not isinstance(batch[0], Mapping | tuple | list):
        if isinstance(batch[1], int | float) or (isinstance(batch[1], Tensor) and not batch[1].ndim):
            raise ObjectiveError(
                f"the data give single samples {shapes_of(batch)}, not batches of them: wrap them in a "
                "torch.utils.data.DataLoader(data, batch_size=100)"
            )
        return batch[0], batch[1]
    if isinstance(batch, np.ndarray):
        raise ObjectiveError("data must be torch tensors. Got NumPy arrays instead: wrap each in torch.from_numpy(…)")
    what = f"mappings with {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else f"a {type(batch).__name__}"
    if isinstance(batch, tuple | list):
        what = f"a {type(batch).__name__} of {', '.join(type(part).__name__ for part in batch)}"
    raise ObjectiveError(
        f"batches must be (inputs, targets). Got {what} instead. Say how a batch is scored with a step of your own:\n{FROM_STEP}"
    )


def _device(device: str | torch.device, model: nn.Module) -> torch.device:
    if device != "auto":
        try:
            found = torch.device(device)
            torch.empty(0, device=found)
        except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
            raise ObjectiveError(
                f'device must be "auto" or one that torch has here, such as "cpu" or "cuda:0". Got "{device}" instead ({error}).'
            ) from error
        return found
    home = next((p.device for p in model.parameters()), torch.device("cpu"))
    if home.type in ("cpu", "meta"):
        return torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
    return home


def _dtype(dtype: DType) -> torch.dtype | None:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype is not None and not (isinstance(found, torch.dtype) and found.is_floating_point):
        raise ObjectiveError(f'dtype must be a floating one such as "float64". Got {dtype!r} instead.')
    return found
