"""The Recorder: copies a model's states out of a running training."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from thetascope.errors import RecordingError
from thetascope.files import Lock
from thetascope.recording.arguments import check_tensors, checked_epoch, checked_limit, checked_metrics, checked_model, checked_step
from thetascope.recording.frozen import FrozenTensors
from thetascope.recording.log import Log
from thetascope.recording.ranks import Ranks
from thetascope.recording.run_directory import RunDirectory
from thetascope.recording.run_files import LOG_FILE, RUN_FILE, STATES_FOLDER
from thetascope.recording.thinning import is_kept
from thetascope.shown import warn
from thetascope.state import ParameterSpace, digest_of, named_tensors
from thetascope.state.written import write_safetensors
from thetascope.uninterrupted import Thread

_WRITE_SHARE = 0.02
"""Between the states that stay, the newest is written only where that takes at most this share of the time."""


class Recorder:
    """Record the states that a training passes through.

    Used as a context manager around the training loop. On entering a new run directory the model's present,
    initial state is written as step 0; entering one that exists goes on after what is there. Where a training runs in several
    processes (DDP), all of them may enter and record: the first one writes. Under FSDP2 (``fully_shard``) all of them must, because each
    holds a part of each tensor: these are put together one at a time, in the first process.

    Args:
        path: the run directory, made where it is missing.
        model: the model in training. Wrappers (DataParallel, torch.compile) are looked through. It is only read.
        max_states: keep at most this many states, at least 2, evenly spread over the records; the first and the
            last are always among them. Every record's metrics are kept. None keeps all states.
        trainable_only: write what does not require a gradient only once, and each time what does, or what was changed
            in place since. A frozen tensor that is changed through ``.data`` or replaced is not noticed.
        resumed_at: how many steps, or (steps, epochs), the model has made already, where a training goes on from a checkpoint: those of the
            first state in a new directory; in one that exists what was recorded after it is dropped, and the model is taken for that
            training's.

    Raises:
        RecordingError: the directory belongs to another model or format, or another process records into it; or tensors are in parts that
            cannot be put together (FSDP1, DeepSpeed's ZeRO-3).

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

    _process = 0
    _newest: dict[str, Any] | None = None
    """The event of the record that was made last."""
    _pending: Thread[None] | None = None
    """The write whose error, if there is one, was not raised yet."""
    _writing: Thread[None] | None = None
    """The write that was begun last."""

    _watching: subprocess.Popen[bytes] | None = None
    """Who keeps the live page."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        model: nn.Module,
        max_states: int | None = None,
        trainable_only: bool = False,
        *,
        resumed_at: int | tuple[int, float] | None = None,
    ) -> None:
        self._model = checked_model(model)
        self.path = Path(path)
        self._limit, self._trainable_only = checked_limit(max_states), trainable_only
        step, epoch = resumed_at if isinstance(resumed_at, tuple) else (resumed_at, None)
        self._resumed_at = checked_step(step, 0)
        self._resumed_epoch = checked_epoch(epoch) if self._resumed_at else 0
        self._guard = threading.RLock()
        self._open = False

    def __enter__(self) -> Recorder:
        check_tensors(self._model)
        self._ranks = Ranks(self._model)
        self._ranks.reshard()
        space = ParameterSpace.of_model(self._model)
        if self._ranks.writes:
            with self._ranks.leading():
                self._begin(space)
        else:
            self._ranks.follow(self._tensors())
            self._process, self._open = os.getpid(), True
        return self

    def _begin(self, space: ParameterSpace) -> None:
        """Take the directory, and write the initial state where it is new."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = Lock(self.path)
        try:
            if not lock.acquire():
                raise RecordingError(f'another process is recording into "{self.path}"; use another directory, or end that process')
            self._lock = lock
            self._enter(space)
        except BaseException:
            if vars(self).get("_lock") is lock:  # else it is at work already, with a lock of its own
                self._stop()
            lock.release()
            raise

    def _enter(self, space: ParameterSpace) -> None:
        self._process = os.getpid()
        self._held: tuple[int, int, dict[str, Tensor]] | None = None
        self._newest = None
        self._write_seconds, self._written_at = 0.0, time.monotonic()
        is_new = not (self.path / RUN_FILE).exists() and not (self.path / LOG_FILE).exists()
        self._run = self._create(space) if is_new else self._reopen(space)
        log = self._run.read_log()
        self._adopt(log)
        self._open = True
        self._wrote_initial = not self._stored
        if self._wrote_initial:
            self._rewind(-1)
            self.record(step=self._resumed_at, epoch=self._resumed_epoch)
            self._wait()
        elif 0 < self._resumed_at < self._last_step:
            self._drop_from(self._resumed_at + 1, f"the training goes on from step {self._resumed_at}")
        # as another training does: its model is none of the run's states
        self._begins_elsewhere = not (
            self._wrote_initial
            or self._resumed_at
            or digest_of(self._ranks.whole(self._wanted())) in {record.digest for record in log.stored}
        )

    def _adopt(self, log: Log) -> None:
        """Go on after `log`. Only what is stored is kept in mind: a million records may not fill the memory."""
        self._stored = {record.ordinal: record.step for record in log.stored}
        self._next_ordinal = log.next_ordinal
        self._last_step = log.last_step
        self._run.sweep(log)

    def _create(self, space: ParameterSpace) -> RunDirectory:
        states = self.path / STATES_FOLDER
        if states.exists() and any(states.iterdir()):
            raise RecordingError(f'"{states}" holds files that no Recorder wrote, or whose run was deleted; use another directory')
        if not self._trainable_only:
            return RunDirectory.create(self.path, space, frozen=False)
        self._frozen, digest = FrozenTensors.write(self.path, self._tensors(), space, self._ranks)
        return RunDirectory.create(self.path, space, frozen=True, frozen_digest=digest)

    def _reopen(self, space: ParameterSpace) -> RunDirectory:
        for name in (LOG_FILE, STATES_FOLDER):
            if (self.path / name).is_symlink():
                raise RecordingError(
                    f'"{self.path / name}" is a symbolic link, so what is recorded would land elsewhere; move what it points to here'
                )
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
            self._frozen = FrozenTensors.compared(run, self._tensors(), self._ranks)
        run.mend_log()
        return run

    def record(self, *, step: int | None = None, epoch: float | None = None, metrics: Mapping[str, float] | None = None) -> None:
        """Copy the model's present state and write it in the background.

        Returns once the copy is made. One write may be pending; the next call waits for it. Where states at
        `step` or later are there already (a training resumed from an earlier checkpoint), they are dropped first,
        with a warning.

        Args:
            step: how many steps the training has made, at least 0; by default one more than the last record's.
            epoch: how many epochs, whole or not.
            metrics: numbers to keep with the state, such as ``{"train_loss": 0.3}``; not finite ones too.

        Raises:
            RecordingError: the recorder is not entered, was forked into another process, or an argument is off; or the run
                holds another training, whose initial state would be the only one left.
            OSError: the previous state could not be written (a full disk, say).
        """
        self._check_usable()  # before the guard, which a thread may have held when this process was forked
        with self._guard:
            self._check_usable()
            epoch, numbers = checked_epoch(epoch), checked_metrics(metrics)
            step = None if step is None else checked_step(step, 0)
            self._ranks.reshard()
            if self._ranks.writes:
                with self._ranks.leading():
                    self._record(self._last_step + 1 if step is None else step, epoch, numbers)
            else:
                self._ranks.follow(self._tensors())

    def _record(self, step: int, epoch: float | None, metrics: dict[str, float]) -> None:
        self._wait()
        if step == self._resumed_at and self._wrote_initial and self._stored:
            self._amend_initial(epoch, metrics)
            return
        self._make_room(step)
        self._held = None
        copy = self._ranks.copied(self._wanted())
        ordinal = self._next_ordinal
        event = {"event": "record", "ordinal": ordinal, "step": step, "epoch": epoch, "metrics": metrics}
        self._run.append(event, durable=False)
        self._next_ordinal, self._last_step, self._newest = ordinal + 1, step, event
        if self._writes_now(ordinal):
            self._write_behind(ordinal, step, copy)
        else:
            self._held = (ordinal, step, copy)

    def _write_behind(self, ordinal: int, step: int, tensors: dict[str, Tensor]) -> None:
        """Write a state in a thread; where an interrupt comes before that begins, it is held."""
        writing = Thread(partial(self._write, ordinal, step, tensors), "thetascope-recorder", daemon=False)
        self._held = (ordinal, step, tensors)
        try:
            writing.start()
            self._pending = self._writing = writing
            self._held = None
        except BaseException:
            begun = writing.give_up()
            self._pending = self._writing = writing if begun else None
            self._held = None if begun else (ordinal, step, tensors)
            raise

    def amend(self, metrics: Mapping[str, float]) -> None:
        """Add metrics to the record that was made last, such as those of a validation that came after it.

        Args:
            metrics: numbers by name; one that is there already is replaced.

        Raises:
            RecordingError: the recorder is not entered or was forked, a value is no number, or nothing was recorded since it was entered.
        """
        self._check_usable()
        with self._guard:
            self._check_usable()
            numbers = checked_metrics(metrics)
            if not self._ranks.writes:
                return
            if self._newest is None:
                raise RecordingError("there is no record to add metrics to: call record() first")
            self._newest["metrics"] = {**self._newest["metrics"], **numbers}
            self._run.append({**self._newest, "event": "amend"}, durable=False)

    def _check_usable(self) -> None:
        if not self._open:
            raise RecordingError("the recorder is not open: write  with ts.Recorder(path, model) as recorder:  around the training loop")
        if os.getpid() != self._process:
            raise RecordingError(
                "this recorder belongs to the process that opened it, not to a worker forked from it; call record() in the main process"
            )

    def _make_room(self, step: int) -> None:
        """Drop what was recorded at `step` or later."""
        if step > self._last_step:
            return
        if self._begins_elsewhere and not any(0 < kept < step for kept in self._stored.values()):
            raise RecordingError(
                f'"{self.path}" holds another training: recording step {step} anew would leave only its initial state, and the model was '
                "none of its states when this recording began. Record into another directory, or remove that one; to go on with that "
                "training, load its state before the recorder is entered"
            )
        self._drop_from(step, f"step {step} comes after step {self._last_step}")

    def _drop_from(self, step: int, why: str) -> None:
        warn(f"{why}: what was recorded from step {step} on is dropped", stacklevel=5)  # all three ways here are of that length
        self._rewind(step)

    def _amend_initial(self, epoch: float | None, metrics: dict[str, float]) -> None:
        """Add metrics to the initial state, whose file stays where it is; drop what followed."""
        first = self._resumed_at
        initial, present = self._run.states()[0], self._ranks.whole(self._wanted())
        if digest_of(initial.tensors(present)) != digest_of(present):
            raise RecordingError(
                f"record(step={first}) would replace the initial state, which is step {first}, by a trained one. Count the steps "
                f"that were made: record(step={first + 1}) after the first"
            )
        if self._last_step > first:
            self._drop_from(first + 1, f"step {first} comes after step {self._last_step}")
        self._newest = {"ordinal": 0, "epoch": initial.epoch if epoch is None else epoch, "metrics": metrics}
        self._run.append({**self._newest, "event": "amend"}, durable=True)

    def _rewind(self, step: int) -> None:
        self._held = None
        if self._next_ordinal > 0:
            self._run.append({"event": "rewind", "step": step}, durable=True)
        self._adopt(self._run.read_log())

    def _wanted(self) -> dict[str, Tensor]:
        """What a state's file holds: everything, or what is or ever was trainable, and all buffers."""
        tensors = {name: tensor for name, tensor in self._tensors().items() if name in self._run.space.tensors}
        return self._frozen.without(tensors) if self._trainable_only else tensors

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
        event = {"event": "state", "ordinal": ordinal, "file": file.name, "bytes": file.stat().st_size, "digest": digest_of(tensors)}
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
        if self._writing is not None:
            self._writing.wait()
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Finish the pending write, write the newest state if it is not yet on disk, and free the directory."""
        if os.getpid() != self._process:
            return
        with self._guard:
            if not self._open:
                return
            if not self._ranks.writes:
                self._ranks.check_group()
                self._open = False
                return
            try:
                try:
                    self._wait()
                    if self._held is not None:
                        held, self._held = self._held, None
                        self._write(*held)
                finally:
                    self._stop()
            finally:
                self._stop()  # again, because an interrupt may come as the first one begins

    def _stop(self) -> None:
        """Let the pending write end, and free the directory. In this order: what an interrupt leaves undone the next call does."""
        if self._writing is not None:
            self._writing.wait()
        self._lock.release()
        self._open = False

    def __del__(self) -> None:
        """Free the directory, where an interrupt came before `close` began; a write that is pending holds the recorder until its end."""
        if self._process == os.getpid() and self._ranks.writes:
            self._lock.release()

    def watch(self, interval: float = 2.0) -> Path:
        """Keep ``RUN/live.html`` fresh while this recorder records: the way, each layer's distance, metrics, and alarms in words.

        A process of its own does it (``thetascope watch``), which takes about one per cent of a core and ends with the recording. Open the
        page in a browser: it renews itself.

        Args:
            interval: seconds between two looks, over 0.

        Returns:
            The path of the page, which is there a few seconds later.

        Raises:
            RecordingError: the recorder is not open.

        Example:
            >>> with ts.Recorder("runs/watched", model) as recorder:               # doctest: +SKIP
            ...     print(recorder.watch())
        """
        self._check_usable()
        if self._ranks.writes and self._watching is None:
            command = [
                sys.executable,
                "-m",
                "thetascope.cli",
                "watch",
                str(self.path.absolute()),
                "--until-over",
                "--interval",
                f"{interval:g}",
            ]
            self._watching = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            threading.Thread(target=self._watching.wait, daemon=True).start()  # so that it is no zombie once it has ended
        return self.path / "live.html"

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
