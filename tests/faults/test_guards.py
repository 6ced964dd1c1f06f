"""Each test of the suite is seen to fail: one guard is taken out of a copy of the sources, and the test that is about it is run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import thetascope

SOURCE = Path(thetascope.__file__).parent
ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Guard:
    """What is taken away: in `file`, `before` becomes `after`; `test` must fail then."""

    name: str
    file: str
    before: str
    after: str
    test: str


GUARDS = (
    Guard(
        "a result that was being replaced comes back",
        "results/placing.py",
        "replaced.rename(path)\n    except",
        "pass\n    except",
        "test_kill.py::test_killed_at_some_steps[save]",
    ),
    Guard(
        "the status is written last",
        "results/store.py",
        '{**columns, prefix + CHECK: checks, prefix + "status": status}.items():  #',
        '{prefix + "status": status, prefix + CHECK: checks, **columns}.items():  #',
        "test_guards.py::test_status_last",
    ),
    Guard(
        "a format that knows no seal is refused",
        "results/stored.py",
        "    if version != FORMAT:\n",
        "    if version not in (1, FORMAT):\n",
        "test_altered.py::test_other_formats_are_not_read",
    ),
    Guard("half-written files are swept", "results/store.py", "            sweep_partial(path)\n", "", "test_guards.py::test_swept"),
    Guard(
        "a layout is put in place whole",
        "results/placing.py",
        "    partial = partial_of(path)\n    if str",
        "    partial = path\n    if str",
        "test_full_disk.py::test_some_steps_fail[store]",
    ),
    Guard(
        "the lock on a result",
        "results/stored.py",
        "    if not lock.acquire():\n",
        "    if not lock.acquire() and False:\n",
        "test_concurrency.py::test_a_result_that_is_being_filled_is_not_replaced",
    ),
    Guard(
        "a forked worker closes its copy of a lock",
        "files.py",
        "os.register_at_fork(after_in_child=_close_copies)",
        "pass",
        "test_concurrency.py::test_a_worker_that_outlives_a_killed_process_holds_no_lock",
    ),
    Guard(
        "whose recorder it is, before the guard is taken",
        "recording/recorder.py",
        "        self._check_usable()  # before the guard, which a thread may have held when this process was forked\n",
        "",
        "test_concurrency.py::test_a_fork_while_another_thread_records_does_not_hang",
    ),
    Guard(
        "the check of each point",
        "results/stored.py",
        "        status.values[wrong] = MISSING\n",
        "",
        "test_altered.py::test_every_file_of_a_result",
    ),
    Guard(
        "the seal over labels and attributes",
        "results/stored.py",
        "    if broken:\n",
        "    if broken and False:\n",
        "test_altered.py::test_bits_of_the_headers_and_of_values[40]",
    ),
    Guard(
        "the check of each line of a log",
        "recording/log.py",
        "    if identity is not None:\n        found =",
        "    if False:\n        found =",
        "test_altered.py::test_bits_of_a_run",
    ),
    Guard(
        "the check of a run's header",
        "recording/log.py",
        'if identity is not None and header.get("check")',
        'if False and header.get("check")',
        "test_altered.py::test_bits_of_a_run",
    ),
    Guard(
        "a state's digest before its values",
        "state/states.py",
        "        if self._verify is not None:\n",
        "        if False:\n",
        "test_altered.py::test_bits_of_a_run",
    ),
    Guard(
        "no state is removed because a log was cut short",
        "recording/run_directory.py",
        "        if len(lost) > 1:",
        "        if len(lost) > 1000:",
        "test_altered.py::test_every_file_of_a_run",
    ),
    Guard(
        "the initial state stays where it is",
        "recording/recorder.py",
        "            if step == 0 and self._wrote_initial and self._stored:",
        "            if False:",
        "../recording/test_recorder.py::test_recording_step_0_again_and_again_keeps_the_initial_state_on_disk",
    ),
    Guard(
        "a file is put in place whole",
        "files.py",
        "    partial = partial_of(path)\n    try:\n        write(partial)",
        "    partial = path\n    try:\n        write(partial)",
        "test_full_disk.py::test_some_steps_fail[figures and exports]",
    ),
    Guard(
        "an event that was cut short is taken back",
        "recording/run_directory.py",
        "                log.truncate(end)",
        "                pass",
        "../recording/test_run_directory.py::test_an_event_that_a_full_disk_cut_short_does_not_damage_the_log",
    ),
    Guard(
        "half the batch in the first pass",
        "evaluation/probing.py",
        "halving(objective, lambda: _timed_point(objective, backend, 0, seed=1))",
        "_timed_point(objective, backend, 0, seed=1)",
        "test_memory.py::test_half_the_batch_until_it_fits",
    ),
    Guard(
        "other errors pass",
        "evaluation/memory.py",
        "            if not out_of_memory(error):\n                raise\n",
        "",
        "test_memory.py::test_other_errors_are_not_swallowed",
    ),
    Guard(
        "weights only", "recording/checkpoints.py", "weights_only=True", "weights_only=False", "test_strangers.py::test_pickles_that_call"
    ),
    Guard(
        "zips are not unpacked",
        "recording/checkpoints.py",
        "            _check_zip(path)\n",
        "            pass\n",
        "test_strangers.py::test_checkpoints_that_promise_more_than_they_hold",
    ),
    Guard(
        "expanded and sparse tensors",
        "recording/checkpoints.py",
        "        _check_tensors(found, self.path)\n",
        "",
        "test_strangers.py::test_checkpoints_that_promise_more_than_they_hold",
    ),
    Guard(
        "a result's size before it is read",
        "results/stored.py",
        "            _check_size(path)\n",
        "",
        "test_strangers.py::test_a_result_that_promises_more_than_it_holds",
    ),
    Guard(
        "slashes in metrics' names",
        "files.py",
        'return "".join(_CODES.get(letter, letter) for letter in name)',
        "return name",
        "test_strangers.py::test_a_metric_s_name_leads_nowhere",
    ),
    Guard(
        "links in a run",
        "recording/recorder.py",
        "            if (self.path / name).is_symlink():",
        "            if False:",
        "test_strangers.py::test_a_run_whose_parts_lie_elsewhere_is_not_written_to",
    ),
    Guard(
        "links in a result",
        "results/store.py",
        "            if links:",
        "            if False:",
        "test_strangers.py::test_a_result_whose_parts_lie_elsewhere_is_not_written_to",
    ),
    Guard(
        "files that a log names",
        "recording/log.py",
        'if event["file"] != file_name(record.ordinal) or',
        "if",
        "test_strangers.py::test_a_log_that_names_other_files",
    ),
    Guard(
        "formulas in names",
        "figures/__init__.py",
        "        text.set_parse_math(False)",
        "        pass",
        "test_strangers.py::test_labels_are_text_in_every_output",
    ),
    Guard(
        "arrays count as data",
        "evaluation/nests.py",
        "complex | np.ndarray | np.generic",
        "complex",
        "test_odd_models.py::test_data_that_are_no_tensors_are_told_apart",
    ),
    Guard(
        "models without values",
        "recording/recorder.py",
        "        check_tensors(self._model)\n",
        "",
        "test_odd_models.py::test_each_experiment[meta]",
    ),
)


@pytest.mark.faults_long
@pytest.mark.promise("guards")
@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_without_it_a_test_fails(guard: Guard, tmp_path: Path) -> None:
    copy = tmp_path / "src" / "thetascope"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    content = (copy / guard.file).read_text(encoding="utf-8")
    assert guard.before in content, f'"{guard.file}" no longer holds this guard as it is written here'
    (copy / guard.file).write_text(content.replace(guard.before, guard.after), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not faults_long", f"tests/faults/{guard.test}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1, f"the test passes without {guard.name}:\n{done.stdout[-3000:]}"


def stored_until(place: Path, at: int) -> None:
    """Write one unit, and stop at its n-th file."""
    from tests.faults.steps import MAKING, no_space, watched
    from tests.results.test_store import LAYOUT
    from thetascope.results.store import Store

    store = Store.create(place, LAYOUT)
    try:
        with watched(place, MAKING, at, no_space):
            store.write("", 5, {"loss": [1.5, 2.5], "accuracy": [0.0, 1.0]})
    except OSError:
        pass
    finally:
        store.close()


@pytest.mark.promise("full disk")
def test_status_last(tmp_path: Path) -> None:
    """Wherever the writing of a unit stops, each point is there with all its values or missing, and nothing is damaged."""
    for at in range(1, 10):
        stored_until(tmp_path / str(at), at)
        data = thetascope.load_result(tmp_path / str(at)).data
        there = data["status"].values != 0
        assert (data["loss"].values[there] > 1).all()


@pytest.mark.promise("killed: results")
def test_swept(tmp_path: Path) -> None:
    from tests.results.test_store import LAYOUT
    from thetascope.results.store import Store

    Store.create(tmp_path / "r", LAYOUT).close()
    leftover = tmp_path / "r" / "loss" / "c" / "0" / "0.abc.partial"
    leftover.write_bytes(b"half")
    Store.open(tmp_path / "r").close()
    assert not leftover.exists()
