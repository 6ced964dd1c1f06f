"""The Recorder: copies a model's states out of a running training."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from numbers import Real
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor, nn

from thetascope.errors import RecordingError
from thetascope.files import PARTIAL, Lock
from thetascope.recording.log import Log
from thetascope.recording.run_directory import RunDirectory
from thetascope.recording.run_files import FROZEN_FILE, LOG_FILE, RUN_FILE, STATES_FOLDER
from thetascope.recording.safetensors_files import SafetensorsSource, write_safetensors
from thetascope.recording.thinning import is_kept
from thetascope.state import ParameterSpace, digest_of, named_tensors, unwrapped

_WRITE_SHARE = 0.02
"""Between the states that stay, the newest is written only where that takes at most this share of the time."""


class Recorder:
    """Record the states that a training passes through.

    Used as a context manager around the training loop. On entering a new run directory the model's present,
    initial state is written as step 0; entering one that exists goes on after what is there.

    Args:
        path: the run directory, made where it is missing.
        model: the model in training. Wrappers (DataParallel, torch.compile) are looked through. It is only read.
        max_states: keep at most this many states, at least 2, evenly spread over the records; the first and the
            last are always among them. Every record's metrics are kept. None keeps all states.
        trainable_only: write what does not require a gradient only once, and each time what does, or what was changed
            in place since. A frozen tensor that is changed through ``.data`` or replaced is not noticed.

    Raises:
        RecordingError: the directory belongs to another model or format, or another process records into it.

    Example:
        >>> model = Net()
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with ts.Recorder("runs/example", model) as recorder:
        ...     for step in range(1, 4):
        ...         optimizer.zero_grad()
        ...         loss = torch.nn.functional.cross_entropy(model(train_images), train_labels)
        ...         loss.backward()
        ...         optimizer.step()
        ...         recorder.record(step=step, metrics={"train_loss": loss.item()})
        >>> ts.Trajectory("runs/example").steps
        [0, 1, 2, 3]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        model: nn.Module,
        max_states: int | None = None,
        trainable_only: bool = False,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise RecordingError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        if max_states is not None and max_states < 2:
            raise RecordingError(f"max_states must be at least 2 (the first and the last state). Got {max_states} instead.")
        self.path = Path(path)
        self._model = unwrapped(model)
        self._limit, self._trainable_only = max_states, trainable_only
        self._guard = threading.RLock()
        self._open = False

    def __enter__(self) -> Recorder:
        space = ParameterSpace.of_model(self._model)
        self.path.mkdir(parents=True, exist_ok=True)
        lock = Lock(self.path)
        if not lock.acquire():
            raise RecordingError(f'another process is recording into "{self.path}"; use another directory, or end that process')
        self._lock = lock
        try:
            self._enter(space)
        except BaseException:
            self._open = False
            self._lock.release()
            raise
        return self

    def _enter(self, space: ParameterSpace) -> None:
        self._process = os.getpid()
        self._held: tuple[int, int, dict[str, Tensor]] | None = None
        self._pending: Future[None] | None = None
        self._write_seconds, self._written_at = 0.0, time.monotonic()
        is_new = not (self.path / RUN_FILE).exists() and not (self.path / LOG_FILE).exists()
        self._run = self._create(space) if is_new else self._reopen(space)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="thetascope-recorder")
        self._adopt(self._run.read_log())
        self._open = True
        self._wrote_initial = not self._stored
        if self._wrote_initial:
            self._rewind(-1)
            self.record(step=0, epoch=0)
            self._wait()

    def _adopt(self, log: Log) -> None:
        """Go on after `log`. Only what is stored is kept in mind: a million records may not fill the memory."""
        self._stored = {record.ordinal: record.step for record in log.stored}
        self._next_ordinal = log.next_ordinal
        self._last_step = log.last_step
        named = {self._run.state_path(ordinal) for ordinal in self._stored}
        # not deeper: results that another process is writing may lie in this folder too
        for file in [*self.path.glob(f"*{PARTIAL}"), *(self.path / STATES_FOLDER).glob("*")]:
            if file.is_file() and file not in named:
                file.unlink()

    def _create(self, space: ParameterSpace) -> RunDirectory:
        states = self.path / STATES_FOLDER
        if states.exists() and any(states.iterdir()):
            raise RecordingError(f'"{states}" holds files that no Recorder wrote, or whose run was deleted; use another directory')
        if self._trainable_only:
            frozen = {n: p for n, p in self._tensors().items() if not p.requires_grad and n in space.parameters}
            self._versions = {name: tensor._version for name, tensor in frozen.items()}
            write_safetensors(self.path / FROZEN_FILE, _copied(frozen))
        return RunDirectory.create(self.path, space, frozen=self._trainable_only)

    def _reopen(self, space: ParameterSpace) -> RunDirectory:
        run = RunDirectory.open(self.path)
        difference = run.space.compare(space.tensors)
        untied = ", ".join(f'"{name}"' for name in run.space.ties if name in space.tensors and run.space.ties[name] in space.tensors)
        if difference or untied:
            what = difference.describe() if difference else f"does not tie {untied}"
            raise RecordingError(f'"{self.path}" records another model: this one {what}. Record into a new directory')
        if run.frozen != self._trainable_only:
            raise RecordingError(
                f'"{self.path}" was recorded with trainable_only={run.frozen}; go on with the same setting, or record into a new directory'
            )
        if run.frozen:
            self._compare_frozen(run)
        run.mend_log()
        return run

    def _compare_frozen(self, run: RunDirectory) -> None:
        """What was written once must still be so, or a state would mix two models."""
        written, tensors = SafetensorsSource(run.path / FROZEN_FILE), self._tensors()
        newest = [SafetensorsSource(run.state_path(record.ordinal)) for record in run.read_log().stored[-1:]]
        self._versions = {}
        for name in written.specs:
            if tensors[name].requires_grad:
                continue
            if digest_of(written.read([name])) == digest_of({name: tensors[name]}):
                self._versions[name] = tensors[name]._version
            elif not any(name in state.specs for state in newest):  # else it was trained meanwhile
                raise RecordingError(
                    f'the frozen "{name}" differs from the one "{run.path}" holds; load the same frozen values before '
                    "recording on, or record into a new directory"
                )

    def record(
        self,
        *,
        step: int | None = None,
        epoch: float | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Copy the model's present state and write it in the background.

        Returns once the copy is made. One write may be pending; the next call waits for it. Where states at
        `step` or later are there already (a training resumed from an earlier checkpoint), they are dropped first,
        with a warning.

        Args:
            step: how many steps the training has made, at least 0; by default one more than the last record's.
            epoch: how many epochs, whole or not.
            metrics: numbers to keep with the state, such as ``{"train_loss": 0.3}``; not finite ones too.

        Raises:
            RecordingError: the recorder is not entered, was forked into another process, or an argument is off.
            OSError: the previous state could not be written (a full disk, say).
        """
        with self._guard:
            self._check_usable()
            step, numbers = self._checked(step, epoch, metrics)
            self._wait()
            self._make_room(step)
            self._held = None
            copy = _copied(self._wanted())
            ordinal = self._next_ordinal
            event = {
                "event": "record",
                "ordinal": ordinal,
                "step": step,
                "epoch": None if epoch is None else float(epoch),
                "metrics": numbers,
            }
            self._run.append(event, durable=False)
            self._next_ordinal, self._last_step = ordinal + 1, step
            if self._writes_now(ordinal):
                self._pending = self._writer.submit(self._write, ordinal, step, copy)
            else:
                self._held = (ordinal, step, copy)

    def _check_usable(self) -> None:
        if not self._open:
            raise RecordingError("the recorder is not open: write  with ts.Recorder(path, model) as recorder:  around the training loop")
        if os.getpid() != self._process:
            raise RecordingError(
                "this recorder belongs to the process that opened it, not to a worker forked from it; call record() in the main process"
            )

    def _checked(self, step: int | None, epoch: float | None, metrics: Mapping[str, float] | None) -> tuple[int, dict[str, float]]:
        if step is None:
            step = self._last_step + 1
        if isinstance(step, bool) or not _is_whole(step) or step < 0:
            raise RecordingError(f"step must be a whole number of at least 0. Got {step!r} instead.")
        if epoch is not None and (not _is_number(epoch)):
            raise RecordingError(f"epoch must be a number or None. Got {epoch!r} instead.")
        return int(step), {str(name): _number(name, value) for name, value in (metrics or {}).items()}

    def _make_room(self, step: int) -> None:
        """Drop what was recorded at `step` or later."""
        if step > self._last_step:
            return
        if self._wrote_initial and step == 0:
            self._check_replaces_initial()
        if self._last_step > 0 or not self._wrote_initial:
            warnings.warn(
                f"step {step} comes after step {self._last_step}: what was recorded from step {step} on is dropped",
                stacklevel=3,
            )
        self._rewind(step)

    def _check_replaces_initial(self) -> None:
        """The initial state may be recorded again to add metrics, not be replaced by a trained one."""
        present = self._wanted()
        if digest_of(self._run.states()[0].tensors(present)) != digest_of(present):
            raise RecordingError(
                "record(step=0) would replace the initial state, which is step 0, by a trained one. Count the steps "
                "that were made: record(step=1) after the first"
            )

    def _rewind(self, step: int) -> None:
        self._held = None
        if self._next_ordinal > 0:
            self._run.append({"event": "rewind", "step": step}, durable=True)
        self._adopt(self._run.read_log())

    def _wanted(self) -> dict[str, Tensor]:
        """What a state's file holds: everything, or what is or ever was trainable, and all buffers."""
        tensors = {name: tensor for name, tensor in self._tensors().items() if name in self._run.space.tensors}
        if not self._trainable_only:
            return tensors
        for name in list(self._versions):
            if tensors[name].requires_grad or tensors[name]._version != self._versions[name]:
                del self._versions[name]
        return {name: tensor for name, tensor in tensors.items() if name not in self._versions}

    def _tensors(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor, _ in named_tensors(self._model)}

    def _writes_now(self, ordinal: int) -> bool:
        if is_kept(ordinal, ordinal + 1, self._limit):
            return True
        waited = time.monotonic() - self._written_at
        return self._write_seconds <= _WRITE_SHARE * waited

    def _write(self, ordinal: int, step: int, tensors: dict[str, Tensor]) -> None:
        """Write one state, then say so in the log, then drop what it makes superfluous."""
        start = time.monotonic()
        file = self._run.state_path(ordinal)
        write_safetensors(file, tensors)
        event = {
            "event": "state",
            "ordinal": ordinal,
            "file": file.name,
            "bytes": file.stat().st_size,
            "digest": digest_of(tensors),
        }
        self._run.append(event, durable=True)
        self._stored[ordinal] = step
        thinned = [other for other in self._stored if not is_kept(other, ordinal, self._limit)]
        if thinned:
            self._run.append({"event": "drop", "ordinals": thinned}, durable=True)
            for other in thinned:
                self._run.state_path(other).unlink(missing_ok=True)
                del self._stored[other]
        self._written_at = time.monotonic()
        self._write_seconds = self._written_at - start

    def _wait(self) -> None:
        """Wait for the pending write, and raise what it raised."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Finish the pending write, write the newest state if it is not yet on disk, and free the directory."""
        with self._guard:
            if not self._open or os.getpid() != self._process:
                return
            self._open = False
            try:
                self._wait()
                if self._held is not None:
                    held, self._held = self._held, None
                    self._write(*held)
            finally:
                self._writer.shutdown()
                self._lock.release()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU that the training cannot change any more."""
    with torch.no_grad():
        return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def _number(name: str, value: object) -> float:
    if isinstance(value, Tensor) and value.numel() == 1:
        return float(value.item())
    if _is_number(value):
        return float(value)  # type: ignore[arg-type]
    raise RecordingError(f'metric "{name}" must be one number. Got {value!r} instead.')


def _is_whole(value: object) -> bool:
    """Whether `value` equals an int: numpy's and torch's numbers may."""
    try:
        return bool(int(value) == value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):  # no number, nan, infinity
        return False


def _is_number(value: object) -> bool:
    """Python's and numpy's real numbers; bool is none."""
    return isinstance(value, Real) and not isinstance(value, bool)
