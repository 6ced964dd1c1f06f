"""Interrupts (Ctrl-C, a notebook's stop button) wherever they come: locks are free afterwards, torch unpatched, later calls work."""

from __future__ import annotations

import gc
import linecache
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Self

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from torch import nn

import thetascope as ts
from tests.faults.scenarios import same_bits
from tests.processes import apart
from tests.recording.tiny import filled
from thetascope.files import Lock
from thetascope.scoring.fast.writing_down import written_down
from thetascope.scoring.undisturbed import MODES, PutBack
from thetascope.scoring.untouched import preserved_random_states, recorded, untouched
from thetascope.testing.models import case

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # an interrupt while something is freed

HOME = str(Path(ts.__file__).parent)


class Raising:
    """Raises KeyboardInterrupt the n-th time that this thread comes to what it watches; counts how often it does."""

    def __init__(self, at: int) -> None:
        self.at, self.seen, self.where = at, 0, ""

    def __enter__(self) -> Self:
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _call(self, frame: FrameType, _event: str, _: Any) -> Any:
        raise NotImplementedError

    def _came_to(self, frame: FrameType) -> None:
        self.seen += 1
        if self.seen == self.at:
            self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            sys.settrace(None)
            raise KeyboardInterrupt


class Interrupting(Raising):
    """At the n-th line of thetascope."""

    def __init__(self, at: int, files: tuple[str, ...] = ("",)) -> None:
        super().__init__(at)
        self.files = files
        self.last: dict[tuple[str, int], int] = {}
        """Where nothing is raised: when each line was come to for the last time, a ``with`` as it begins to end."""

    def _call(self, frame: FrameType, _event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        return self._line if name.startswith(HOME) and name.endswith(self.files) else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            if not self.at:
                self.last[frame.f_code.co_filename, frame.f_lineno] = self.seen + 1
            self._came_to(frame)
        return self._line


@contextmanager
def later(seconds: float) -> Iterator[None]:
    """Raise KeyboardInterrupt after so long, at whatever this thread does then, as Ctrl-C does."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Work:
    """A small job in a folder, and what it gives when nobody interrupts it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        linear = case("linear")
        self.model = linear.model().train()
        self.trajectory = ts.Trajectory.from_states(linear.states(3))
        self.data, self.folder, self.options = linear.data(), folder, {"alphas": 4, "progress": False, **options}
        self.expected = self.done("expected").data

    def done(self, name: str) -> ts.Result:
        return ts.interpolate(ts.Objective(self.model, self.data), self.trajectory, out=self.folder / name, **self.options)

    def check(self, name: str, where: str) -> None:
        """As undisturbed, and all else is as it was."""
        assert torch.is_grad_enabled(), where
        assert not torch.is_inference_mode_enabled(), where
        assert all(module.training for module in self.model.modules()), where
        assert all(parameter.requires_grad for parameter in self.model.parameters()), where
        assert not torch.utils._python_dispatch._get_current_dispatch_mode_stack(), where
        assert torch._C._functorch.get_dynamic_layer_stack_depth() == 0, where
        assert len.__module__ == "builtins", where
        assert zarr.config.get("array.write_empty_chunks") is False, where
        place = self.folder / name
        if place.exists():
            with Lock(place) as lock:
                assert lock.acquire(), where
        same_bits(without_times(self.done(name).data), without_times(self.expected))


def without_times(data: xr.Dataset) -> xr.Dataset:
    return data.drop_vars([name for name in data.variables if str(name).endswith("seconds")])


def sampled(total: int, count: int) -> list[int]:
    return sorted(random.Random(0).sample(range(1, total + 1), min(count, total)))


@pytest.mark.slow
@pytest.mark.promise("interrupts")
@pytest.mark.parametrize("count", [25, pytest.param(400, marks=pytest.mark.faults_long)])
@pytest.mark.parametrize("keep", [False, True])
def test_at_any_line_of_a_job(tmp_path: Path, count: int, keep: bool, counted: Callable[[int], None]) -> None:
    """With `keep` what was raised stays alive, as in a notebook, and all that its traceback holds with it."""
    work, kept = Work(tmp_path), []
    with Interrupting(0) as whole:
        work.done("whole")
    for at in sampled(whole.seen, count):
        with Interrupting(at) as interrupting:
            try:
                work.done(str(at))
            except KeyboardInterrupt as error:
                kept.append(error)
        if not keep:
            kept.clear()
        work.check(str(at), interrupting.where)
    counted(count)


LOCKING = ("files.py", "results/stored.py", "results/store.py", "framework/job.py", "framework/undisturbed.py", "scoring/undisturbed.py")


@pytest.mark.slow
@pytest.mark.promise("interrupts")
@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.faults_long)])
def test_at_each_line_that_locks(tmp_path: Path, step: int, counted: Callable[[int], None]) -> None:
    work, kept, made = Work(tmp_path), [], 0
    with Interrupting(0, LOCKING) as whole:
        work.done("whole")
    for at in range(1, whole.seen + 1, step):
        with Interrupting(at, LOCKING) as interrupting:
            try:
                work.done(str(at))
            except KeyboardInterrupt as error:
                kept.append(error)
        place = tmp_path / str(at)
        if place.exists():
            with Lock(place) as lock:
                assert lock.acquire(), interrupting.where
        assert torch.is_grad_enabled(), interrupting.where
        assert all(module.training for module in work.model.modules()), interrupting.where
        made += 1
    work.check("whole", "")
    counted(made)


@pytest.mark.promise("interrupts")
def test_what_an_interrupt_left_hanging_puts_nothing_back_later(counted: Callable[[int], None]) -> None:
    """A traceback may keep a generator whose ``with`` was not ended; Python ends it once that is let go."""
    model = case("linear").model().train()
    outer = PutBack([model])
    with outer, outer, untouched(model):
        hanging = untouched(model)
        hanging.__enter__()
        random_states = preserved_random_states()
        random_states.__enter__()
        drawn = recorded()
        drawn.__enter__()
        assert torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    model.eval()
    torch.manual_seed(1)
    torch.rand(3)
    expected = torch.get_rng_state()
    with torch.no_grad():
        del hanging, random_states, drawn
        gc.collect()
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    assert not model.training
    assert torch.equal(torch.get_rng_state(), expected)
    counted(3)


@pytest.mark.promise("interrupts")
@pytest.mark.parametrize("count", [10, pytest.param(1000, marks=pytest.mark.faults_long)])
def test_at_random_moments_in_one_process(tmp_path: Path, count: int, counted: Callable[[int], None]) -> None:
    """Every later call gives what the undisturbed one gave, in the same process and the same place."""
    work, draw = Work(tmp_path, level="layer"), random.Random(1)
    start = time.perf_counter()
    work.done("warm")
    seconds, interrupted, place, calls = time.perf_counter() - start, 0, 0, 0
    kept: list[BaseException] = []
    while interrupted < count:
        calls += 1
        assert calls < 4 * count, "the moments must fall into the calls for this test to mean something"
        try:
            with later(draw.uniform(0, seconds)):
                work.done(f"r{place}")
        except KeyboardInterrupt as error:
            kept[:] = [error]
            interrupted += 1
            if interrupted % 5 and interrupted < count:
                continue  # several in one place: the later go on
        work.check(f"r{place}", f"after interrupt {interrupted}")
        place += 1
    counted(interrupted)


@pytest.mark.promise("interrupts")
@pytest.mark.parametrize("count", [6, pytest.param(200, marks=pytest.mark.faults_long)])
@pytest.mark.parametrize("how", ["fx", "export"])
def test_while_torch_writes_down_the_model(count: int, how: str, counted: Callable[[int], None]) -> None:
    from thetascope.scoring.fast.captured import exported
    from thetascope.scoring.fast.graph import traced

    calls, gets = nn.Module.__call__, nn.Module.__getattr__
    linear = case("linear")
    objective = ts.Objective(linear.model(), linear.data())
    batch = next(iter(objective.batches))

    def capture() -> int:
        with objective.model.running():
            graph = traced(objective.model) if how == "fx" else exported(objective.model, batch, whole=True).graph
            return len(graph.nodes)

    expected = capture()
    start = time.perf_counter()
    capture()
    seconds, draw = time.perf_counter() - start, random.Random(2)
    for _ in range(count):
        try:
            with later(draw.uniform(0, seconds)):
                capture()
        except KeyboardInterrupt:
            pass
        assert nn.Module.__call__ is calls
        assert nn.Module.__getattr__ is gets
        assert len.__module__ == "builtins"
    assert capture() == expected
    counted(count)


@pytest.mark.promise("interrupts")
def test_work_without_an_end_is_given_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thetascope.uninterrupted.PATIENCE_SECONDS", 0.2)
    end = threading.Event()
    with pytest.raises(KeyboardInterrupt, match="restart this process"), later(0.1):
        written_down(lambda: end.wait(20))
    end.set()


@pytest.mark.promise("interrupts")
def test_what_is_not_interrupted_gives_its_value_or_raises_its_error() -> None:
    assert written_down(lambda: threading.current_thread().name) == "thetascope: torch was still writing down the model"
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert written_down(lambda: (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"))) == (False, True)
    with pytest.raises(ZeroDivisionError):
        written_down(lambda: 1 / 0)


@pytest.mark.promise("interrupts")
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.faults_long)])
def test_a_recorder_frees_its_run(tmp_path: Path, step: int, counted: Callable[[int], None]) -> None:
    def record(folder: Path) -> None:
        with warnings.catch_warnings(), ts.Recorder(folder, filled(0)) as recorder:
            warnings.simplefilter("ignore")
            recorder.record(step=len(ts.Trajectory(folder)))

    with Interrupting(0, ("recording/recorder.py", "files.py")) as whole:
        record(tmp_path / "whole")
    made = 0
    for at in range(1, whole.seen + 1, step):
        try:
            with Interrupting(at, ("recording/recorder.py", "files.py")) as interrupting:
                record(tmp_path / str(at))
        except KeyboardInterrupt:
            time.sleep(0.05)  # a write that was in flight is finished first
        assert torch.is_grad_enabled(), interrupting.where
        record(tmp_path / str(at))
        assert len(ts.Trajectory(tmp_path / str(at))) >= 2, interrupting.where
        made += 1
    counted(made)


class AsALockIsTaken(Raising):
    """The n-th time that a lock of Python's was taken and this thread does not know of it yet."""

    def _call(self, frame: FrameType, _event: str, _: Any) -> Any:
        is_lock = frame.f_code.co_name == "__enter__" and frame.f_code.co_filename.endswith(("threading.py", "futures/_base.py"))
        return self._return if is_lock else None

    def _return(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "return":
            self._came_to(frame)
        return self._return


def examine_in(folder: Path) -> Callable[[str], None]:
    work = Work(folder)

    def examined(name: str) -> None:
        same_bits(without_times(work.done(name).data), without_times(work.expected))
        ts.load_result(folder / name)

    return examined


def record_in(folder: Path) -> Callable[[str], None]:
    def recorded(name: str) -> None:
        with warnings.catch_warnings(), ts.Recorder(folder / name, filled(0)) as recorder:
            warnings.simplefilter("ignore")
            for step in range(1, 4):
                recorder.record(step=step)
        assert ts.Trajectory(folder / name).steps == [0, 1, 2, 3]

    return recorded


def interrupted_as_locks_are_taken(folder: Path, prepare: Callable[[Path], Callable[[str], None]]) -> None:
    work = prepare(folder)
    with AsALockIsTaken(0) as whole:
        work("whole")
    for at in range(1, whole.seen + 1):
        with AsALockIsTaken(at), suppress(KeyboardInterrupt):
            work(str(at))
        work(str(at))


@pytest.mark.promise("hangs")
@pytest.mark.promise("interrupts")
@pytest.mark.parametrize("prepare", [examine_in, record_in])
def test_no_lock_stays_taken_that_other_threads_wait_for(prepare: Callable[[Path], Callable[[str], None]], tmp_path: Path) -> None:
    """Of the threads of zarr, which reads and writes results, and of the Recorder's."""
    apart(interrupted_as_locks_are_taken, tmp_path, prepare)


class Scoring:
    """What is done with an objective outside of experiments, and what it gives when nobody interrupts it."""

    def __init__(self, how: str) -> None:
        self.how, chosen = how, case("BatchNorm ResNet block")
        self.model, self.state = chosen.model().train(), chosen.states(3)[-1]
        self.modules = list(self.model.modules())
        self.modules[-1].eval()  # a layer that the caller holds fixed
        next(self.model.parameters()).requires_grad_(False)
        data = chosen.data(12)
        self.data: Any = data if how == "chosen" else torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data), 4, shuffle=True)
        self.loss = chosen.loss
        self.before = self.standing()
        self.objective = self.made()
        self.expected = self.done(self.made())

    def made(self) -> ts.Objective:
        return ts.Objective(self.model, self.data, self.loss, samples="auto" if self.how == "chosen" else None)

    def done(self, objective: ts.Objective) -> Any:
        match self.how:
            case "made":
                return repr(self.made())
            case "hashed":
                return objective.fingerprint()
            case "layers":
                return list(objective.space.layers)
            case "statistics":
                return repr(objective.statistics)
        return objective.score(self.state)

    def standing(self) -> list[Any]:
        """What must be as before, in a form that can be compared."""
        modules = nn.modules.module
        hooks = [len(getattr(modules, name)) for name in vars(modules) if name.startswith("_global") and name.endswith("hooks")]
        states = [random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()]  # noqa: NPY002
        modes = [torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch._C._functorch.get_dynamic_layer_stack_depth()]
        modes += [torch.get_num_threads()]
        modes += [*(len(standing()) for standing, _ in MODES), id(warnings.filters), id(warnings.showwarning)]
        held = [(m.training, list(m.__dict__), [*map(id, m._parameters.values())], [*map(id, m._buffers.values())]) for m in self.modules]
        values = [(p.requires_grad, p.grad is None, p.tolist()) for p in [*self.model.parameters(), *self.model.buffers()]]
        return [hooks, modes, states, held, values]

    def check(self, interrupted: ts.Objective, where: str) -> None:
        """Nothing is left of what was interrupted; the same objective and a new one score as before."""
        for name, now, before in zip(("hooks", "modes", "random states", "modules", "values"), self.standing(), self.before, strict=True):
            assert now == before, f"{name} after {where}"
        for objective in (interrupted, self.made()):
            assert self.done(objective) == self.expected, where


@pytest.mark.promise("interrupts")
@pytest.mark.parametrize("count", [12, pytest.param(150, marks=pytest.mark.faults_long)])
@pytest.mark.parametrize("how", ["made", "hashed", "layers", "statistics", "scored", "chosen"])
def test_at_any_line_outside_of_a_job(how: str, count: int, counted: Callable[[int], None]) -> None:
    """While an objective is made, its data are hashed, its layers are put in order, a state is scored and guarded, samples are chosen."""
    scoring = Scoring(how)
    with Interrupting(0) as whole:
        scoring.done(scoring.made())
    lines = sampled(whole.seen, count)
    for at in lines:
        objective = scoring.objective
        with Interrupting(at) as interrupting, suppress(KeyboardInterrupt):
            objective = scoring.made()
            scoring.done(objective)
        scoring.check(objective, interrupting.where)
    counted(len(lines))


@pytest.mark.promise("interrupts")
@pytest.mark.parametrize("count", [10, pytest.param(300, marks=pytest.mark.faults_long)])
def test_at_random_moments_outside_of_a_job(count: int, counted: Callable[[int], None]) -> None:
    """Also where Python itself is at work, between a ``with`` and what it calls."""
    scoring, draw = Scoring("scored"), random.Random(4)
    start = time.perf_counter()
    scoring.done(scoring.made())
    seconds, interrupted = time.perf_counter() - start, 0
    for _ in range(4 * count):
        objective = scoring.objective
        try:
            with later(draw.uniform(0, seconds)):
                objective = scoring.made()
                scoring.done(objective)
        except KeyboardInterrupt:
            interrupted += 1
        scoring.check(objective, f"after interrupt {interrupted}")
        if interrupted == count:
            break
    assert interrupted == count
    counted(count)


EVALUATING = tuple(
    f"scoring/{name}.py" for name in ("model", "guards", "objective", "untouched", "memory", "oracle", "statistics", "sampling")
)


@pytest.mark.promise("interrupts")
@pytest.mark.parametrize("lines", ["with", pytest.param("all", marks=pytest.mark.faults_long)])
@pytest.mark.parametrize("how", ["layers", "statistics", "scored"])
def test_at_each_line_that_evaluates_outside_of_a_job(how: str, lines: str, counted: Callable[[int], None]) -> None:
    """Where each is come to for the last time: what a ``with`` has begun is not ended yet then."""
    scoring = Scoring(how)
    with Interrupting(0, EVALUATING) as whole:
        scoring.done(scoring.made())
    chosen = [at for (file, line), at in whole.last.items() if lines == "all" or linecache.getline(file, line).strip().startswith("with ")]
    for at in chosen:
        objective = scoring.objective
        with Interrupting(at, EVALUATING) as interrupting, suppress(KeyboardInterrupt):
            objective = scoring.made()
            scoring.done(objective)
        scoring.check(objective, interrupting.where)
    counted(len(chosen))
