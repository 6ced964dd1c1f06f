"""The command that writes the files to start from: init."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from thetascope.cli.application import app, examples
from thetascope.cli.printing import put

FILES = ("objective.py", "thetascope.toml")
Kind = Literal["plain", "lightning", "transformers", "timm"]
"""What people train with; each has a template of that name."""


@app.command(
    sort_key=10,
    help_epilogue=examples("thetascope init", "thetascope init my-project", "thetascope init my-project --for lightning"),
)
def init(
    folder: Annotated[Path, Parameter(help="Where to write them; it is made.", show_default=False)] = Path("."),
    /,
    *,
    kind: Annotated[Kind, Parameter(name="--for", help="What you train with.")] = "plain",
) -> None:
    """Write objective.py and thetascope.toml to start from, with a tiny example.

    Fill in the three marked places of objective.py: your model, data and loss.
    It runs as it is, so that you can try the way first. Files that are there
    already are never replaced.
    """
    from importlib.resources import files
    from importlib.util import find_spec

    from thetascope.errors import UsageError

    if folder.exists() and not folder.is_dir():
        raise UsageError(f'"{folder}" is a file; name a folder')
    there = [str(folder / name) for name in FILES if (folder / name).exists()]
    if there:
        raise UsageError(f"{' and '.join(there)} exist already, and nothing is replaced; move them away or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, template in zip(FILES, (f"{kind}.py", "thetascope.toml"), strict=True):
        with (folder / name).open("x", encoding="utf-8") as file:
            file.write(files("thetascope.templates").joinpath(template).read_text(encoding="utf-8"))
        put(folder / name)
    put("\nNext:")
    if kind != "plain" and find_spec(kind) is None:
        needed = kind if kind == "timm" else f'"thetascope[{kind}]"'
        put(f"  pip install {needed}  # which is not installed")
    if folder.resolve() != Path.cwd():
        put(f"  cd {folder}")
    put("  python objective.py                      # trains the example and records it in runs/first")
    put("  thetascope examine runs/first --dry-run  # what would be scored, and how long it takes")
    put("  thetascope examine runs/first            # runs every experiment, draws each, sums up")
    put("\nThen fill in the three marked places of objective.py.")
