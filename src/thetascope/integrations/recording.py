"""What the callbacks of all trainers share: when a state is recorded, and which of the metrics that were logged belong to it."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Literal
from weakref import WeakSet

from torch import Tensor, nn

from thetascope.errors import RecordingError
from thetascope.recording import Recorder
from thetascope.recording.arguments import checked_limit

Every = Literal["epoch"] | int


class Recording:
    """A Recorder that a trainer's callback drives.

    Args:
        path: the run directory.
        every: "epoch", or a number of optimizer steps.
        max_states: as for `Recorder`.
        trainable_only: as for `Recorder`.
    """

    _open: ClassVar[WeakSet[Recorder]] = WeakSet()
    """Those at work in this process: not every trainer says that a training failed, and a pending write outlives its callback."""

    def __init__(self, path: str | os.PathLike[str], every: Every, max_states: int | None, trainable_only: bool) -> None:
        if every != "epoch" and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise RecordingError(f'every must be "epoch" or a number of optimizer steps of at least 1. Got {every!r} instead.')
        self.path, self._every, self._options = Path(path), every, (checked_limit(max_states), trainable_only)
        self._recorder: Recorder | None = None

    def begin(self, model: nn.Module, step: int, epoch: float | None) -> None:
        """Open the run: a new one begins with the state that the model has after `step` steps; an old one goes on after them."""
        for other in [each for each in self._open if each.path.absolute() == self.path.absolute()]:
            other.close()  # the training that it recorded ended with an error
        resumed_at = step if epoch is None else (step, epoch)
        self._recorder = Recorder(self.path, model, *self._options, resumed_at=resumed_at).__enter__()
        self._open.add(self._recorder)
        self._recorded, self._seen = step, step
        self._of_way: dict[str, float] = {}
        self._of_state: tuple[int, dict[str, float]] = (step, {})

    def after(
        self,
        step: int,
        epoch: float | None,
        metrics: Callable[[], Mapping[str, Any]] = dict,
        *,
        ends_epoch: bool = False,
        last: bool = False,
    ) -> None:
        """The model has made `step` steps: record it where it is time to; only then is it asked for the metrics."""
        crossed = self._every != "epoch" and step // self._every > self._seen // self._every
        self._seen = step
        if self._recorder is None or step == self._recorded or not (crossed or last or (ends_epoch and self._every == "epoch")):
            return
        at, of_state = self._of_state
        held = self._of_way | _numbers(metrics()) | (of_state if at == step else {})
        self._recorder.record(step=step, epoch=epoch, metrics=held)
        self._recorded, self._of_way = step, {}

    def log(self, step: int, metrics: Mapping[str, Any], *, of_way: bool = False) -> None:
        """Keep what was logged after `step` steps: with the state of that step where it is recorded, before or after this.

        Args:
            step: after which.
            metrics: by name; what is no number is left out.
            of_way: whether they tell of the steps before (a training loss, a learning rate), so that the next state may have them.
        """
        numbers = _numbers(metrics)
        if self._recorder is None or not numbers:
            return
        if step == self._recorded:
            self._recorder.amend(numbers)
        elif of_way:
            self._of_way |= numbers
        else:
            at, held = self._of_state
            self._of_state = (step, (held if at == step else {}) | numbers)

    def end(self) -> None:
        """Finish what is pending, and free the run."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            self._open.discard(recorder)
            recorder.close()

    def __getstate__(self) -> dict[str, Any]:
        """A process that is started for the training opens the run itself."""
        return {name: value for name, value in vars(self).items() if name in ("path", "_every", "_options")} | {"_recorder": None}


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Those that are numbers, or tensors of one."""

    def is_number(value: Any) -> bool:
        one = isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex()
        return one or (isinstance(value, int | float) and not isinstance(value, bool))

    return {str(name): float(value) for name, value in metrics.items() if is_number(value)}


@atexit.register
def _close_all() -> None:
    for recorder in list(Recording._open):
        with suppress(Exception):
            recorder.close()
