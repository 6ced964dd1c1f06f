"""Options from a TOML file: those before the first table go to every command that has them, those of a table to its command."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cyclopts import App
from cyclopts.config import Dict

from thetascope.cli.printing import put
from thetascope.cli.renamed import OLD_COMMANDS, renamed
from thetascope.errors import UsageError
from thetascope.search_path import run_around

FILE = "thetascope.toml"
"""Read from the working folder where no other is named."""


def configuration(app: App, named: Path | None) -> list[Dict]:
    """What the commands take their options from, the first before the second.

    Raises:
        UsageError: the named file is not there, is no TOML, or holds a table or an option that no command has; a table of the first
            version is told its new name.
    """
    file = named or Path(FILE)
    if not file.is_file():
        if named is None:
            return []
        raise UsageError(f'--config: "{file}" does not exist; thetascope init writes one to start from')
    if named is None and (why := _not_ours(file)):
        put(f'thetascope: "{FILE}" is not read, because {why}; to read it all the same, name it with --config {FILE}', file=sys.stderr)
        return []
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f'"{file}" is no valid TOML: {error}') from error
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    shared = {name: value for name, value in content.items() if not isinstance(value, dict)}
    options = options_by_command(app)
    for name in tables:
        if name in OLD_COMMANDS:
            raise UsageError(f'"{file}": {renamed(name)}')
    _check(file, "table", tables, list(options))
    for command, table in tables.items():
        _check(file, f"[{command}] option", table, options[command])
    _check(file, "option", shared, sorted({option for of_one in options.values() for option in of_one}))
    source = str(file.absolute())
    return [Dict(tables, source=source), Dict(shared, allow_unknown=True, use_commands_as_keys=False, source=source)]


def _not_ours(file: Path) -> str:
    """Why a file of the working folder, which may name code to run, is none that the user put there; nothing where it is."""
    run = run_around(os.curdir)
    if run is not None:
        return f'it lies in the run directory "{run}", which may be another\'s'
    if hasattr(os, "geteuid") and any(of.st_uid != os.geteuid() for of in (file.stat(), file.lstat())):
        return "another user owns it"
    return ""


def options_by_command(app: App) -> dict[str, list[str]]:
    """The options of each command, as a configuration names them."""
    commands = {name: app[name] for name in app if not name.startswith("-")}
    return {
        name: [o.removeprefix("--") for argument in command.assemble_argument_collection() for o in argument.names if o.startswith("--")]
        for name, command in commands.items()
    }


def _check(file: Path, kind: str, given: Mapping[str, Any], known: list[str]) -> None:
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, 1)
            there = f'did you mean "{close[0]}"?' if close else f"there are: {', '.join(known)}"
            raise UsageError(f'"{file}": no {kind} "{name}"; {there}')
