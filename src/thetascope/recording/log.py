"""The log of a run: one event a line, and what the events add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Record:
    """One call of `record`: its metrics, and its state's file where that was written and is still kept."""

    ordinal: int
    step: int
    epoch: float | None
    metrics: dict[str, float]
    file: str | None = None
    bytes: int = 0
    digest: str | None = None


@dataclass
class Log:
    """What the events add up to: the records in order, void ones left out."""

    records: dict[int, Record] = field(default_factory=dict)
    next_ordinal: int = 0

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take one event into account."""
        match event["event"]:
            case "record":
                ordinal = event["ordinal"]
                self.records[ordinal] = Record(ordinal, event["step"], event["epoch"], dict(event["metrics"]))
                self.next_ordinal = ordinal + 1
            case "state" if event["ordinal"] in self.records:
                record = self.records[event["ordinal"]]
                record.file, record.bytes, record.digest = event["file"], event["bytes"], event["digest"]
            case "drop":
                for ordinal in event["ordinals"]:
                    self.records[ordinal].file = None
            case "rewind":
                kept = {o: r for o, r in self.records.items() if r.step < event["step"]}
                self.records = kept
                self.next_ordinal = max(kept, default=-1) + 1

    @property
    def last_step(self) -> int:
        """The newest record's step; -1 where there is none."""
        return max((record.step for record in self.records.values()), default=-1)

    @property
    def stored(self) -> list[Record]:
        """The records whose state lies on disk, in order."""
        return [record for record in self.records.values() if record.file is not None]
