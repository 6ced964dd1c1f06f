"""The command that writes the files to start from: init."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from thetascope.cli.application import app, examples
from thetascope.cli.printing import put

TEMPLATES = ("objective.py", "thetascope.toml")


@app.command(sort_key=10, help_epilogue=examples("thetascope init", "thetascope init my-project"))
def init(folder: Annotated[Path, Parameter(help="Where to write them; it is made.", show_default=False)] = Path("."), /) -> None:
    """Write objective.py and thetascope.toml to start from, with a tiny example.

    Fill in the three marked places of objective.py: your model, data and loss.
    It runs as it is, so that you can try the way first. Files that are there
    already are never replaced.
    """
    from importlib.resources import files

    from thetascope.errors import UsageError

    if folder.exists() and not folder.is_dir():
        raise UsageError(f'"{folder}" is a file; name a folder')
    there = [str(folder / name) for name in TEMPLATES if (folder / name).exists()]
    if there:
        raise UsageError(f"{' and '.join(there)} exist already, and nothing is replaced; move them away or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name in TEMPLATES:
        with (folder / name).open("x", encoding="utf-8") as file:
            file.write(files("thetascope.templates").joinpath(name).read_text(encoding="utf-8"))
        put(folder / name)
    put("\nNext:")
    if folder.resolve() != Path.cwd():
        put(f"  cd {folder}")
    put("  python objective.py                      # trains the example and records it in runs/first")
    put("  thetascope examine runs/first --dry-run  # what would be scored, and how long it takes")
    put("  thetascope examine runs/first            # runs every experiment, draws each, sums up")
    put("\nThen fill in the three marked places of objective.py.")
