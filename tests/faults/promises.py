"""What is promised, how that is tested, and which guards were taken away to see the tests fail (`test_guards`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    """A row of the table in docs/reliability.md."""

    text: str
    tested: str
    guards: str


PROMISES = {
    **{n: Promise("x","x","x") for n in ("killed: results","killed: replacing","killed: figures","killed: recording")},
}
