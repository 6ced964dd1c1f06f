"""The guards that the suite tests, each with a way to do without it, so that a test can be seen to fail (`test_guards`).

A process whose environment names one in `WITHOUT` works without it from its start, its children with it.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

WITHOUT = "THETASCOPE_WITHOUT"
USERS = ("thetascope.recording.recorder", "thetascope.checkpoints.formats", "thetascope.results.store", "thetascope.scoring.determinism")
"""What uses the functions that are exchanged, loaded before one is: what is exchanged in one place only stays as it is in the others."""


@dataclass(frozen=True)
class Guard:
    """`take_away` does without it in this process; `test` must fail then."""

    test: str
    take_away: Callable[[], None]


def instead(place: str, name: str, change: Callable[[Any], Any], *, only_there: bool = False) -> None:
    """What `change` makes of a function, in each module that knows it; or of a method, where the place is "module:Class"."""
    for users in USERS:
        import_module(users)
    module, _, owner = place.partition(":")
    holder = import_module(module)
    if owner:
        holder = getattr(holder, owner)
    before = getattr(holder, name)
    after = change(before)
    setattr(holder, name, after)
    if not only_there:
        for known in [known for path, known in sys.modules.items() if path.startswith("thetascope")]:
            if vars(known).get(name) is before:
                setattr(known, name, after)


def nothing(_: Any) -> Any:
    """A function that does nothing."""
    return lambda *_, **__: None


def unlike(place: str, name: str, change: Callable[[Any], Any] = nothing, *, only_there: bool = False) -> Callable[[], None]:
    """`instead`, when it is asked for."""
    return lambda: instead(place, name, change, only_there=only_there)


def together(*take_away: Callable[[], None]) -> Callable[[], None]:
    """Do without several."""

    def all_of_them() -> None:
        for one in take_away:
            one()

    return all_of_them


def _status_first() -> None:
    import zarr

    before, waiting = zarr.Array.__setitem__, list[tuple[Any, Any, Any]]()

    def put(array: Any, where: Any, value: Any) -> None:
        waiting.append((array, where, value))
        if array.basename.endswith("status"):
            for one in [waiting.pop(), *waiting]:
                before(*one)
            waiting.clear()

    zarr.Array.__setitem__ = put  # type: ignore[method-assign]


def _written_where_it_stays(path: Path, write: Callable[[Path], None], *, replace: bool) -> None:
    path.mkdir(parents=True, exist_ok=replace)
    write(path)


def _statuses_read_last() -> None:
    """Which points are stored is read when zarr comes to it, and a result that is being filled is read once, as one that is not."""
    held = import_module("thetascope.results.held_files")
    held.named = lambda _prefix, _name: "no such array"  # type: ignore[attr-defined]
    import_module(STORED).is_locked = lambda _folder: False  # type: ignore[attr-defined]


def _no_watch_over_forks() -> None:
    os.register_at_fork = lambda **_: None


def _every_lost_state_is_void(sweep: Any) -> Any:
    def swept(run: Any, log: Any) -> None:
        log.void |= set(range(1000)) - {record.ordinal for record in log.stored}
        sweep(run, log)

    return swept


def _initial_state_unknown(enter: Any) -> Any:
    def entered(recorder: Any) -> Any:
        found = enter(recorder)
        found._wrote_initial = False
        return found

    return entered


def _half_a_line_stays(_: Any) -> Any:
    class Untruncated(io.FileIO):
        def truncate(self, size: int | None = None) -> int:
            return 0

    return lambda path, _error: Untruncated(path, "ab")


def _any_pickle() -> None:
    import torch

    before: Any = torch.load
    torch.load = lambda *arguments, **options: before(*arguments, **{**options, "weights_only": False})


def _links_unseen() -> None:
    Path.is_symlink = lambda self: False  # type: ignore[method-assign]


def _formulas() -> None:
    from matplotlib.text import Text

    before = Text.set_parse_math
    Text.set_parse_math = lambda self, _: before(self, True)  # type: ignore[method-assign, assignment]


def _without_arrays(values: Any) -> Any:
    import numpy as np

    return lambda batch: (value for value in values(batch) if not isinstance(value, np.ndarray | np.generic))


RUNS, STORED, STORE = "thetascope.recording.run_directory", "thetascope.results.stored", "thetascope.results.store"
FOLDER, SEAL, LOG = "thetascope.results.atomic_folder", "thetascope.results.seal:Seal", "thetascope.recording.log"
METADATA, SAFE = "thetascope.results.metadata", "thetascope.safe_paths"
FILES, CHECKPOINTS, RECORDER = "thetascope.files", "thetascope.checkpoints.weights_only", "thetascope.recording.recorder"

GUARDS = {
    "a result that was being replaced comes back": Guard(
        "test_kill.py::test_a_result_that_was_being_replaced_comes_back",
        unlike(FOLDER, "settle", lambda _: lambda path: import_module(FILES).sweep_beside(path)),
    ),
    "the status is written last": Guard("test_guards.py::test_status_last", _status_first),
    "a format that knows no seal is refused": Guard("test_altered.py::test_other_formats_are_not_read", unlike(STORED, "check_format")),
    "half-written files are swept": Guard("test_guards.py::test_swept", unlike(STORE, "_sweep_chunks", only_there=True)),
    "a layout is put in place whole": Guard(
        "test_full_disk.py::test_some_steps_fail[store]", unlike(FOLDER, "put_in_place", lambda _: _written_where_it_stays)
    ),
    "the lock on a result": Guard(
        "test_concurrency.py::test_a_result_that_is_being_filled_is_not_replaced",
        unlike(STORED, "locked", lambda _: lambda _path, lock: lock),
    ),
    "a forked worker closes its copy of a lock": Guard(
        "test_concurrency.py::test_a_worker_that_outlives_a_killed_process_holds_no_lock", _no_watch_over_forks
    ),
    "whose recorder it is, before the guard is taken": Guard(
        "test_concurrency.py::test_a_fork_while_another_thread_records_does_not_hang", unlike(f"{RECORDER}:Recorder", "_check_usable")
    ),
    "the check of each point": Guard(
        "test_altered.py::test_every_file_of_a_result",
        unlike(
            SEAL,
            "all_checks",
            lambda made: lambda seal, data, prefix: data[f"{prefix}check"].values if f"{prefix}check" in data else made(seal, data, prefix),
        ),
    ),
    "the seal over labels and attributes": Guard(
        "test_altered.py::test_bits_of_the_headers_and_of_values[40]",
        unlike(SEAL, "broken", lambda broken: lambda seal, data: ([], broken(seal, data)[1])),
    ),
    "the check of each line of a log": Guard(
        "test_altered.py::test_bits_of_a_run", unlike(LOG, "event_of", lambda event: lambda line, identity, place: event(line, None, place))
    ),
    "the check of a run's header": Guard(
        "test_altered.py::test_each_value_of_a_run_s_header", unlike(LOG, "identity_of", lambda _: lambda header: header.get("identity"))
    ),
    "a state's digest before its values": Guard(
        "test_altered.py::test_bits_of_a_run",
        unlike(
            "thetascope.state.states:State",
            "__init__",
            lambda made: lambda state, source, **told: made(state, source, **{**told, "expected_digest": None, "verify": None}),
        ),
    ),
    "no state is removed because a log was cut short": Guard(
        "test_altered.py::test_every_file_of_a_run", unlike(f"{RUNS}:RunDirectory", "sweep", _every_lost_state_is_void)
    ),
    "the initial state stays where it is": Guard(
        "../recording/test_recorder.py::test_recording_step_0_again_and_again_keeps_the_initial_state_on_disk",
        unlike(f"{RECORDER}:Recorder", "__enter__", _initial_state_unknown),
    ),
    "a file is put in place whole": Guard(
        "../test_files.py::test_a_failed_write_leaves_the_old_content",
        unlike(FILES, "made_beside", lambda _: lambda path: nullcontext(path.parent), only_there=True),
    ),
    "an event that was cut short is taken back": Guard(
        "../recording/test_run_directory.py::test_an_event_that_a_full_disk_cut_short_does_not_damage_the_log",
        unlike(SAFE, "open_to_append", _half_a_line_stays),
    ),
    "half the batch in the first pass": Guard(
        "test_memory.py::test_half_the_batch_until_it_fits",
        together(
            unlike("thetascope.scoring.determinism", "halving", lambda _: lambda _objective, attempt: attempt(), only_there=True),
            unlike("thetascope.scoring.objective", "halving", lambda _: lambda _objective, attempt: attempt(), only_there=True),
        ),
    ),
    "other errors pass": Guard(
        "test_memory.py::test_other_errors_are_not_swallowed",
        unlike("thetascope.scoring.memory", "out_of_memory", lambda _: lambda _error: True),
    ),
    "weights only": Guard("test_strangers.py::test_pickles_that_call", _any_pickle),
    "zips are not unpacked": Guard(
        "test_strangers.py::test_checkpoints_that_promise_more_than_they_hold", unlike(CHECKPOINTS, "_check_zip")
    ),
    "expanded and sparse tensors": Guard(
        "test_strangers.py::test_checkpoints_that_promise_more_than_they_hold", unlike("thetascope.checkpoints.contents", "check_tensors")
    ),
    "bytearrays of a number": Guard(
        "test_checkpoint_kinds.py::test_a_bytearray_of_a_number_is_not_made",
        unlike(CHECKPOINTS, "_has_bytearray", lambda _: lambda _pickle: False),
    ),
    "links that lead out of a checkpoint's folder": Guard(
        "test_checkpoint_kinds.py::test_links_that_lead_out_of_a_folder", unlike("thetascope.checkpoints.opened", "check_inside")
    ),
    "what metadata of parts may build": Guard(
        "test_checkpoint_kinds.py::test_metadata_that_call",
        lambda: setattr(import_module("thetascope.checkpoints.distributed"), "_MetadataUnpickler", import_module("pickle").Unpickler),
    ),
    "metadata of parts are weighed": Guard(
        "test_checkpoint_kinds.py::test_metadata_that_make_more_than_they_hold[copies of a list]",
        unlike("thetascope.checkpoints.distributed", "check_all", only_there=True),
    ),
    "what metadata of parts name again and again": Guard(
        "test_checkpoint_kinds.py::test_metadata_that_make_more_than_they_hold[a place of pairs of pairs]",
        unlike("thetascope.checkpoints.distributed", "_check_bounds"),
    ),
    "parts that make a tensor whole": Guard(
        "test_checkpoint_kinds.py::test_metadata_that_lie",
        unlike("thetascope.checkpoints.distributed", "_covers", lambda _: lambda *_: True),
    ),
    "a result's size before it is read": Guard(
        "test_strangers.py::test_a_result_that_promises_more_than_it_holds", unlike(METADATA, "check_layout")
    ),
    "what headers of a result may say": Guard(
        "test_bounds.py::test_a_result_that_would_cost_much[gzipped twice]",
        unlike(METADATA, "_expect"),
    ),
    "a chunk's size before it is unpacked": Guard(
        "test_bounds.py::test_a_result_that_would_cost_much[a chunk that unpacks to more]", unlike(METADATA, "check_chunk")
    ),
    "files that are none, in a result": Guard(
        "test_bounds.py::test_a_result_that_would_cost_much[a socket]",
        unlike(
            SAFE, "files_below", lambda _: lambda folder, _error: {str(p.relative_to(folder)): p.stat().st_size for p in folder.rglob("*")}
        ),
    ),
    "holes of a checkpoint": Guard("test_bounds.py::test_a_checkpoint_of_holes", unlike(SAFE, "check_written")),
    "what a log may say": Guard(
        "test_bounds.py::test_values_that_no_recorder_logs",
        unlike("thetascope.recording.schema", "checked", lambda _: lambda said, fields: {name: said[name] for name in fields}),
    ),
    "what a run's header may say": Guard(
        "test_bounds.py::test_a_header_that_no_recorder_writes",
        unlike("thetascope.recording.run_files", "checked", lambda _: lambda said, _fields: said, only_there=True),
    ),
    "what a pickle would make": Guard(
        "test_bounds.py::test_a_pickle_that_makes_more_than_it_holds", unlike(CHECKPOINTS, "check", only_there=True)
    ),
    "links below a run that is written to": Guard(
        "test_bounds.py::test_nothing_is_written_behind_a_link_in_a_run", unlike(SAFE, "check_below")
    ),
    "a log is appended to without following a link": Guard(
        "test_bounds.py::test_a_log_that_became_a_link_is_not_appended_to",
        unlike(SAFE, "open_to_append", lambda _: lambda path, _error: path.open("ab", buffering=0)),
    ),
    "whose leftovers are swept": Guard(
        "../test_files.py::test_what_a_killed_writer_leaves_is_swept_and_nothing_else",
        unlike(FILES, "_machine", lambda _: lambda: "0" * 16),
    ),
    "other users' links on the way": Guard(
        "../test_files.py::test_a_link_of_another_user_on_the_way_is_an_error", unlike(SAFE, "check_way")
    ),
    "which points are stored is read first": Guard("test_bounds.py::test_a_writer_goes_on_while_a_result_is_read", _statuses_read_last),
    "states that a recording dropped": Guard(
        "test_bounds.py::test_states_that_are_thinned_away_are_told_from_damage", unlike(f"{RUNS}:RunDirectory", "_dropped")
    ),
    "slashes in metrics' names": Guard(
        "test_strangers.py::test_a_metric_s_name_leads_nowhere", unlike(FILES, "file_name", lambda _: lambda name: name)
    ),
    "links in a run": Guard("test_strangers.py::test_a_run_whose_parts_lie_elsewhere_is_not_written_to", _links_unseen),
    "links in a result": Guard(
        "test_strangers.py::test_a_result_whose_parts_lie_elsewhere_is_not_written_to",
        unlike(FILES, "links_below", lambda _: lambda _folder: []),
    ),
    "files that a log names": Guard(
        "test_strangers.py::test_a_log_that_names_other_files",
        unlike(LOG, "file_name", lambda _: lambda _ordinal: mock.ANY, only_there=True),
    ),
    "formulas in names": Guard("test_strangers.py::test_labels_are_text_in_every_output", _formulas),
    "control characters are replaced": Guard(
        "test_shown.py::test_errors_warnings_and_reprs_are_text[escape]",
        unlike("thetascope.shown", "shown", lambda _: lambda text: text),
    ),
    "terminals of few letters": Guard(
        "test_shown.py::test_a_terminal_of_few_letters_gets_replacements[ascii]",
        together(
            unlike("thetascope.shown", "fit_for", lambda _: lambda _stream, text: text),
            unlike("thetascope.cli.application", "replacing_what_does_not_fit", lambda _: lambda *_: nullcontext()),
        ),
    ),
    "one result costs its article": Guard(
        "test_shown.py::test_what_is_broken_costs_its_article_not_the_page[huge]",
        unlike("thetascope.report.page", "_sound", lambda _: lambda _run, one: one),
    ),
    "formulas in tables": Guard(
        "test_shown.py::test_a_spreadsheet_runs_no_cell",
        unlike("thetascope.results.dataframes", "without_formulas", lambda _: lambda table: table),
    ),
    "no module of a run": Guard(
        "test_named_code.py::test_nothing_of_a_run_is_imported_from_within[.-script]",
        unlike("thetascope.search_path", "run_around", lambda _: lambda _folder: None),
    ),
    "a folder that is examined is not searched": Guard(
        "test_named_code.py::test_a_folder_that_is_examined_is_not_searched[script]",
        unlike("thetascope.search_path", "_why_not", lambda _: lambda _place: ""),
    ),
    "no file takes a module's place": Guard(
        "test_named_code.py::test_a_file_takes_no_module_s_place[json]",
        unlike("thetascope.specification", "_free_name", lambda _: lambda file: file.stem),
    ),
    "settings of another user": Guard(
        "test_named_code.py::test_settings_that_another_user_owns_are_not_read",
        unlike("thetascope.cli.configuration", "_not_ours", lambda _: lambda _file: ""),
    ),
    "a lock is freed after an interrupt": Guard(
        "test_interrupts.py::test_at_each_line_that_locks[9]", unlike(f"{FILES}:Lock", "__exit__", nothing)
    ),
    "torch writes down models in a thread of its own": Guard(
        "test_interrupts.py::test_what_is_not_interrupted_gives_its_value_or_raises_its_error",
        unlike("thetascope.scoring.fast.writing_down", "written_down", lambda _: lambda work: work()),
    ),
    "a model is put back twice": Guard(
        "test_interrupts.py::test_at_any_line_of_a_job[False-25]",
        together(
            unlike("thetascope.scoring.untouched:ModelState", "__exit__", nothing),
            unlike("thetascope.experiments.framework.undisturbed:Undisturbed", "__exit__", nothing),
            unlike("thetascope.scoring.undisturbed:PutBack", "__exit__", nothing),
        ),
    ),
    "modes are put back after scoring alone": Guard(
        "test_interrupts.py::test_at_each_line_that_evaluates_outside_of_a_job[scored-with]",
        unlike("thetascope.scoring.undisturbed:PutBack", "__exit__", nothing),
    ),
    "a private folder beside a whole picture is swept": Guard(
        "../experiments/framework/test_refreshed.py::test_what_a_killed_process_left_beside_a_whole_picture_is_swept",
        unlike("thetascope.experiments.framework.pictures", "sweep_beside", only_there=True),
    ),
    "arrays count as data": Guard(
        "test_odd_models.py::test_data_that_are_no_tensors_are_told_apart",
        unlike("thetascope.scoring.pytrees", "plain_values", _without_arrays),
    ),
    "models without values": Guard("test_odd_models.py::test_each_experiment[meta]", unlike(RECORDER, "check_tensors", only_there=True)),
}
