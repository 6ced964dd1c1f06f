"""The application that the commands register with, and its entry point."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Group, Parameter

from thetascope._version import __version__
from thetascope.cli.printing import put

OVERVIEW = """\
Look at the training of a neural network through its parameters.

1. Record   Three lines in your training loop: ts.Recorder("runs/mine", model).
            Checkpoint files that you have already do as well.
2. Examine  thetascope examine runs/mine --objective objective.py:objective
            The file says what to score; thetascope init writes one.
3. Look     At runs/mine/report.html, which thetascope report writes again; at
            runs/mine/figures, and the numbers in runs/mine/results.

A first look, without a model of yours: thetascope demo --quick
"""

EPILOGUE = """\
thetascope COMMAND --help shows a command's options, with examples.

Exit codes: 0 done; 1 an error in what was found (files, data, the model), told
in one line; 2 wrong arguments; 130 stopped with Ctrl-C.
"""

app = App(
    name="thetascope",
    version=__version__,
    suppress_keyboard_interrupt=False,
    help=OVERVIEW,
    help_format="plaintext",
    help_epilogue=EPILOGUE,
    group_commands=Group("Commands", sort_key=0),
)
app.meta.suppress_keyboard_interrupt = False
app.meta.group_parameters = Group("With every command", sort_key=100)
app.register_install_completion_command(help="Install completion for your shell (bash, zsh, fish).")


def examples(*lines: str) -> str:
    """The end of a command's help."""
    return "\n".join(["Examples:", "", *(_folded(line) for line in lines)])


def _folded(line: str) -> str:
    """A command line of at most 78 columns, continued with a backslash before an option where it is longer."""
    parts = [f"  {line}"]
    while len(parts[-1]) > 76:
        at = parts[-1].rindex(" --", 8, 75)
        parts[-1:] = [f"{parts[-1][:at]} \\", f"     {parts[-1][at:]}"]
    return "\n".join(parts)


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[
        Path | None,
        Parameter(
            help="A TOML file of options (default: thetascope.toml in the working folder, if there is one). Those before the first "
            "table go to every command that has them, those in [examine] to examine. What is given here wins."
        ),
    ] = None,
    debug: Annotated[bool, Parameter(help="Show the traceback of an error.", negative=(), show_default=False)] = False,
) -> Any:
    """Read the configuration and run the command."""
    from thetascope.allocator import keep_freed_memory
    from thetascope.cli.configuration import configuration

    keep_freed_memory()
    runs = tokens not in ((), ("--install-completion",))  # what runs nothing does not stumble over a broken file
    app.config = tuple(configuration(app, config)) if runs else ()
    return app(tokens, exit_on_error=False, print_error=False, result_action="return_value")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0, 1 for an error in what was found, 2 for wrong arguments, 130 for Ctrl-C.
    """
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in tokens
    with replacing_what_does_not_fit(sys.stdout, sys.stderr):
        return _run(tokens, debug)


@contextmanager
def replacing_what_does_not_fit(*streams: Any) -> Iterator[None]:
    """Let streams write a replacement for what their encoding lacks: hours of work are not to end in an error of the terminal."""
    found = [(stream, stream.errors) for stream in streams if isinstance(stream, TextIOWrapper)]
    for stream, _ in found:
        stream.reconfigure(errors="replace")
    try:
        yield
    finally:
        for stream, before in found:
            stream.reconfigure(errors=before)


def _run(tokens: list[str], debug: bool) -> int:
    from thetascope.cli.renamed import COMPARES, OLD_COMMANDS, renamed
    from thetascope.errors import ThetascopeError, UsageError

    try:
        if tokens and tokens[0] in OLD_COMMANDS:
            raise UsageError(renamed(tokens[0]) + COMPARES * (tokens[0] == "compare"))
        app.meta(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        return _said(f"{_clear(_one_line(error)).rstrip('.')}; {_help_of(tokens)} shows what there is", 2)
    except BrokenPipeError:  # whoever read the output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _said("stopped. What was finished is stored; the same command goes on from there", 130)
    except Exception as error:
        if debug:
            sys.excepthook = _traceback_shown
            raise
        known = isinstance(error, ThetascopeError | OSError)
        told = _one_line(error) if known else f"{type(error).__name__}: {_one_line(error).rstrip('.')}; --debug shows where"
        return _said(told, 2 if isinstance(error, UsageError) else 1)
    return 0


def _clear(problem: str) -> str:
    """What the parser says, without its list of the first few commands; what an objective is where none is given."""
    if "--objective requires an argument" in problem:
        return "--objective is missing: what to score, as FILE:FUNCTION, such as objective.py:objective; thetascope init writes one"
    return problem.partition(" Available commands:")[0]


def _said(text: str, code: int) -> int:
    put(f"thetascope: {text}", file=sys.stderr)
    return code


def _traceback_shown(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A traceback without control sequences, also of errors that others raised of names in a file."""
    put("".join(traceback.format_exception(kind, error, trace)).rstrip(), file=sys.stderr)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or "no message"


def _help_of(tokens: Sequence[str]) -> str:
    command = next((token for token in tokens if token in app and not token.startswith("-")), None)
    return f"thetascope {command} --help" if command else "thetascope --help"
