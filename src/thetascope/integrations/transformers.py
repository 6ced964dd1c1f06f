"""Hugging Face's Trainer: a callback that records the training."""

from __future__ import annotations

import os
from typing import Any

from thetascope.errors import missing_library
from thetascope.integrations.recording import Every, Recording

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise missing_library("transformers", error) from error


class RecorderCallback(TrainerCallback):
    """Record what a ``Trainer`` trains.

    States are recorded every epoch or so many optimizer steps, besides the first and the last one; the metrics and learning rates that the
    trainer logs are kept with them: those of an evaluation with the state that was evaluated, those of the training with the next state.
    ``trainer.train(resume_from_checkpoint=…)`` goes on in the same run. Of several processes the first one writes; models that are sharded
    by FSDP2 are put together a tensor at a time.

    Args:
        path: the run directory, made where it is missing.
        every: "epoch", or a number of optimizer steps.
        max_states: as for `thetascope.Recorder`.
        trainable_only: as for `thetascope.Recorder`; for adapters (LoRA), whose base is then written once.

    Raises:
        RecordingError: an argument is off; from ``train()``, the directory belongs to another model or training.
    """

    def __init__(
        self, path: str | os.PathLike[str], every: Every = "epoch", *, max_states: int | None = None, trainable_only: bool = False
    ) -> None:
        self._recording = Recording(path, every, max_states, trainable_only)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any) -> None:
        """Open the run."""
        self._recording.begin(model, state.global_step, state.epoch or 0)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Record where so many steps are made, and the last one, before the best model is loaded in its place."""
        self._recording.after(state.global_step, state.epoch, last=state.global_step >= state.max_steps or control.should_training_stop)

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Record the epoch's last state."""
        self._recording.after(state.global_step, state.epoch, ends_epoch=True, last=control.should_training_stop)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Keep what is told of the training."""
        told = {name: value for name, value in (logs or {}).items() if not name.startswith("eval_") and name != "epoch"}
        if "train_runtime" not in told:  # a summary of the whole training, and no metric of a state
            self._recording.log(state.global_step, told, of_way=True)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Keep what was measured of the state."""
        timing = ("_runtime", "_per_second", "_jit_compilation_time")
        told = {name: value for name, value in (metrics or {}).items() if name != "epoch" and not name.endswith(timing)}
        self._recording.log(state.global_step, told)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Finish what is pending."""
        self._recording.end()
