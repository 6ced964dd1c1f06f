"""Lightning: a callback that records the training."""

from __future__ import annotations

import os
import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from thetascope.errors import RecordingError, missing_library
from thetascope.integrations.recording import Every, Recording

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    try:  # the package has two names, with a class Callback each
        if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
            from pytorch_lightning import Callback
        else:
            from lightning.pytorch import Callback
    except ImportError as error:
        try:
            from pytorch_lightning import Callback
        except ImportError:
            raise missing_library("lightning", error) from error


class RecorderCallback(Callback):
    """Record what a ``Trainer`` trains.

    States are recorded every epoch or so many optimizer steps, besides the first and the last one; what the module logs and the
    learning rates are kept with them: the metrics of a validation with the state that was validated. ``trainer.fit(ckpt_path=…)``
    goes on in the same run. Of several processes the first one writes; models that are sharded by FSDP2 are put together a tensor at
    a time.

    Args:
        path: the run directory, made where it is missing.
        every: "epoch", or a number of optimizer steps (of all optimizers, as ``trainer.global_step``).
        max_states: as for `thetascope.Recorder`.
        trainable_only: as for `thetascope.Recorder`.
        module: record only this part of the LightningModule, such as "net", under the names that it has by itself.

    Raises:
        RecordingError: an argument is off; from ``fit()``, the directory belongs to another model or training.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        every: Every = "epoch",
        *,
        max_states: int | None = None,
        trainable_only: bool = False,
        module: str | None = None,
    ) -> None:
        self._recording = Recording(path, every, max_states, trainable_only)
        self._module = module
        self._of_validation: set[str] = set()
        self._of_epochs: set[str] = set()
        """Metrics of a validation or a whole epoch: at other times what stands there is of an earlier state."""
        self._of_steps: set[str] = set()
        self._before: set[str] = set()
        self._rates: dict[str, float] = {}
        self._epoch = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the run, once a checkpoint's state is in its place."""
        part: Any = pl_module
        if self._module is not None:
            try:
                part = pl_module.get_submodule(self._module)
            except AttributeError as error:
                names = ", ".join(name for name, _ in pl_module.named_children())
                raise RecordingError(f'the LightningModule has no part "{self._module}"; there are: {names}') from error
        self._rates, self._epoch = _rates_of(trainer), float(trainer.current_epoch)
        self._recording.begin(part, trainer.global_step, self._epoch)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Keep the rates that the step is made with."""
        self._rates = _rates_of(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Record where so many steps are made."""
        total = trainer.num_training_batches
        if trainer.is_last_batch:
            self._of_steps |= set(trainer.callback_metrics) - self._of_validation - self._of_epochs
        self._epoch = trainer.current_epoch + ((batch_idx + 1) / total if isinstance(total, int) else 0.0)
        self._recording.after(trainer.global_step, self._epoch, partial(self._logged, trainer, but=self._of_validation | self._of_epochs))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See what there is before."""
        self._before = set(trainer.callback_metrics)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what was measured of the state."""
        self._of_validation |= set(trainer.callback_metrics) - self._before - self._of_steps - self._of_epochs
        if not trainer.sanity_checking:
            measured = trainer.callback_metrics
            self._recording.log(trainer.global_step, {name: measured[name] for name in self._of_validation & measured.keys()})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the epoch's last state, or add what is told of the epoch."""
        ended = self._epoch if isinstance(trainer.num_training_batches, int) else trainer.current_epoch + 1.0
        self._epoch = ended
        self._recording.after(trainer.global_step, ended, partial(self._logged, trainer, but=self._of_validation), ends_epoch=True)
        self._told_of_epoch(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add what the module logged at the end of the epoch before."""
        self._told_of_epoch(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the last state, and finish what is pending."""
        self._told_of_epoch(trainer)
        self._recording.after(trainer.global_step, self._epoch, partial(self._logged, trainer, but=self._of_validation), last=True)
        self._recording.end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Finish what is pending."""
        self._recording.end()

    def _told_of_epoch(self, trainer: Trainer) -> None:
        logged = trainer.callback_metrics
        # rates that a monitor logged by now are those of the next epoch
        self._of_epochs |= logged.keys() - self._of_validation - self._of_steps - self._rates.keys()
        self._recording.log(trainer.global_step, {name: logged[name] for name in self._of_epochs & logged.keys()})

    def _logged(self, trainer: Trainer, but: set[str]) -> dict[str, Any]:
        """What was logged and is of this state, with the rates of the step that led to it."""
        return {name: value for name, value in trainer.callback_metrics.items() if name not in but} | self._rates


def _rates_of(trainer: Trainer) -> dict[str, float]:
    """The learning rates, called as Lightning's LearningRateMonitor calls them."""
    found: dict[str, float] = {}
    seen: Counter[str] = Counter()
    for optimizer in trainer.optimizers:
        kind = type(optimizer).__name__
        name = f"lr-{kind}-{seen[kind]}" if seen[kind] else f"lr-{kind}"
        seen[kind] += 1
        groups = optimizer.param_groups
        found |= {f"{name}/pg{i}" if len(groups) > 1 else name: float(group["lr"]) for i, group in enumerate(groups, 1)}
    return found
