"""Fuzz one reader with Atheris, which keeps the inputs that reach code no other has reached, and changes those further.

``python -m tests.faults.coverage_guided READER RUNS FOLDER``. It runs in a process of its own: libFuzzer ends it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris
import torch  # noqa: F401 — as it is, before what is instrumented

with atheris.instrument_imports(include=["thetascope"]):
    from tests.faults.readers import READERS


def main(name: str, runs: str, folder: str) -> None:
    """Check what the reader does on so many inputs; ends the process, with a status other than 0 where one is a fault."""
    place, corpus = Path(folder) / "files", Path(folder) / "corpus"
    for made in (place, corpus):
        made.mkdir()
    reader = READERS[name](place)
    (corpus / "whole").write_bytes(reader.whole)
    options = [f"-runs={runs}", "-seed=1", f"-max_len={2 * len(reader.whole) + 64}", f"-artifact_prefix={folder}/fault-", "-timeout=60"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], reader.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
