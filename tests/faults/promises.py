"""What is promised, and how that is tested."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    """A row of the table in docs/reliability.md."""

    text: str
    tested: str
    held: str = "held"
    """What the table says where all its tests passed, of so many `cases`."""


PROMISES = {
    "killed: results": Promise(
        "An examination that is killed loses no stored unit; the same call ends in the same bits, having scored again at most the unit "
        "in flight, and leaves no stray file",
        "SIGKILL in a child before each of its steps on files (open to write, make, rename, remove)",
    ),
    "killed: examine": Promise(
        "`examine` that is killed at any moment and run again keeps each finished unit, ends in the same results and pictures, and leaves "
        "nothing else",
        "SIGKILL at random moments and before random steps on files, of several experiments on one run with their pictures",
    ),
    "killed: report": Promise(
        "A report is the old one or the new one, whole, whenever the process that writes it dies; the next call tidies up",
        "SIGKILL at random moments of `write_report` and before each of its steps on files",
    ),
    "killed: replacing": Promise(
        "A result that is replaced is the old one or the new one, whole, whenever the process dies",
        "SIGKILL before each step of `Result.save` over an older result; reading tidies up",
    ),
    "killed: figures": Promise(
        "A picture, a page or an exported table is the old one or the new one, whole; the next write tidies up",
        "SIGKILL before each step of `save_figure` and `Result.export` over older files",
    ),
    "killed: recording": Promise(
        "A recording that is killed keeps every state but the one in flight; the initial one always; recording goes on",
        "SIGKILL before each step of a recording that thins, goes back and records step 0 again",
    ),
    "two at once": Promise(
        "Two processes on one `out` or run: one of them gets one error, or they follow one another; never a mixture. A lock dies with its "
        "process, also where a forked worker lives on",
        "two children at once on one place, again and again; children that are killed with the lock held",
    ),
    "full disk": Promise(
        "A write that fails is a clear error; what was there stays valid; the same call goes on to the same bits",
        "the n-th step on files fails for n = 1, 2, … until none does; files that cannot grow (RLIMIT_FSIZE); "
        "a small tmpfs where one may be made",
    ),
    "altered: results": Promise(
        "A stored result of which anything was altered gives no wrong number: points are scored anew, all else is an error",
        "every file cut in half, by a byte, emptied, removed, with a bit flipped, and exchanged for another result's; a bit of "
        "every byte of headers and values",
    ),
    "altered: runs": Promise(
        "A run of which anything was altered gives no wrong state, step or metric, and recording on removes nothing it cannot read",
        "the same for every file of a run, with and without frozen tensors",
    ),
    "memory": Promise(
        "Memory that runs out halves the batch down to one sample, then says what to do; the batch is recorded; other errors pass",
        "a model that fails above so many rows, in each kind of call; a real limit (RLIMIT_AS)",
    ),
    "strangers: nothing runs": Promise(
        "Nothing in a stranger's file is executed; what would be is refused by name",
        "pickles that call, unsafe globals, TorchScript, object arrays in results",
    ),
    "strangers: memory": Promise(
        "A small file cannot fill the memory or hang its reader: what promises more than it holds is refused before it is read",
        "a deflated zip, tensors expanded from one value, headers that lie (safetensors, IDX, zarr), chunks packed twice, pickles that "
        "name a thing again and again; devices, pipes, sockets and files of holes, which are no files, in results and runs; values that no "
        "log holds: memory and time of each are measured",
    ),
    "written outside": Promise(
        "No file is written, changed or removed outside of the folder that is written to",
        "names and links that lead out of runs, results, figures and reports, with what lies there compared before and after",
        "0 of {cases} wrote outside",
    ),
    "memory a byte": Promise(
        "Memory is in proportion to the bytes of what is read: a small file takes at most 200 MB and 5 s of the processor",
        "files of up to 3 MB that name the same thing again and again, are packed twice, or say that they hold more: what each takes is "
        "measured",
        "{cases} of {cases} within the bound",
    ),
    "hangs": Promise(
        "Nothing is waited for without an end",
        "devices, pipes and sockets in the place of files, hashes of pairs of pairs, forks beside a thread that records: each must come to "
        "an end in a minute",
        "0 of {cases} hung",
    ),
    "strangers: paths": Promise(
        "Neither names nor links lead out of the folder that is written to",
        "`../x`, absolute paths, NUL, reserved names and symbolic links in logs, runs, results, metrics and layers",
    ),
    "strangers: markup": Promise(
        "Names with markup are shown as text",
        "HTML, TeX and control characters as names of layers and metrics, in every kind of output",
    ),
    "strangers: code": Promise(
        "Code that runs is code that was named: no module, settings file or matplotlibrc of a run that is examined",
        "modules of many names and thetascope.toml in a run and below it, with commands started there, beside it and as python -m",
    ),
    "strangers: shown": Promise(
        "What is shown is text: no control sequence reaches a terminal, no spreadsheet runs a cell, no locale and no lone surrogate "
        "costs a finished page, and what is broken costs its article, not the page",
        "escapes, C1, bidi and surrogates in names, titles, labels, metrics and folders; terminals of ASCII and Latin-1; any value in "
        "any attribute",
    ),
    "fuzzing": Promise(
        "Readers of anything give what stands there or one clear error",
        "hypothesis, in the long form also Atheris, which seeks inputs that reach new code, on checkpoints, logs, headers, IDX, TOML, "
        "labels and engine options",
    ),
    "any order": Promise(
        "Recorder and store hold what was put into them, in whatever order that happens",
        "hypothesis's state machines against plain models: record, go back, reopen, find a torn line; write, reopen, lose a chunk",
    ),
    "odd models": Promise(
        "Any model, data or loss works, or is refused by one clear error",
        "losses of NaN and ±inf; one sample; no sample; half, double and complex; no parameters; sparse; hooks; compiled, wrapped and "
        "parametrised models, in each experiment",
    ),
    "beside a writer": Promise(
        "What another process is filling or recording is read as far as it is finished, and said to be in progress; no word of damage",
        "a result loaded at each step on files of its writer; states that a recording drops or records anew after they were opened",
        "{cases} of {cases} reads right",
    ),
    "concurrency": Promise(
        "A Recorder works in a thread, from several threads, beside data loaders with workers and after a fork",
        "each of these, with a guard against hanging",
    ),
    "interrupts": Promise(
        "An interrupt at any line leaves no lock, no patched module and no changed mode behind: every later call in the process gives what "
        "the undisturbed one gives",
        "KeyboardInterrupt at each line that locks, at random lines and moments of one process, while torch.fx and torch.export work, and "
        "while an objective is made, hashes its data, looks at a state and scores it",
        "{cases} of {cases} survived",
    ),
    "guards": Promise(
        "Each of these tests fails without the guard it tests",
        "a process that does without one guard, in which the test must fail; the list is below",
    ),
}
