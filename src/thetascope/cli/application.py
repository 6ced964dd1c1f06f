"""The application that the commands register with, and its entry point."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from cyclopts.config import Toml

from thetascope._version import __version__

app = App(
    name="thetascope",
    version=__version__,
    suppress_keyboard_interrupt=False,
    help="Look at the training of a neural network through its parameters.",
    help_epilogue="First look:  thetascope demo      Your own run:  thetascope examine runs/mine --objective mine.py:objective\n\n"
    "Options may stand in thetascope.toml in the working folder, a table a command.",
    config=Toml("thetascope.toml", must_exist=False, search_parents=False),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0, 1 for an error in what was asked or found, 2 for a wrong use of the command, 130 for Ctrl-C.
    """
    from thetascope.errors import ThetascopeError, UsageError

    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    try:
        app(tokens, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        return 2
    except (ThetascopeError, OSError) as error:
        if debug:
            raise
        print(f"thetascope: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("thetascope: stopped. What was finished is stored; the same command goes on from there", file=sys.stderr)
        return 130
    return 0
