"""The log of a run: one event a line, each bound to its run and its place by a check, and what the events add up to."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from thetascope.recording.schema import EVENTS, checked, text

_CHECK = re.compile(rb',"check":"([0-9a-f]{16})"\}\Z')


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
    """What the events add up to: the records in order, void ones left out.

    `void` are the ordinals whose states were dropped since, or rewound: their files may still lie about after a kill.
    """

    records: dict[int, Record] = field(default_factory=dict)
    next_ordinal: int = 0
    void: set[int] = field(default_factory=set)

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take one event into account.

        Raises:
            ValueError: it is none that a Recorder writes; or KeyError, TypeError.
        """
        event = {"event": event["event"], **checked(event, EVENTS.get(text(event["event"]), {}))}
        match event["event"]:
            case "record":
                ordinal = event["ordinal"]
                self.records[ordinal] = Record(ordinal, event["step"], event["epoch"], event["metrics"])
                self.next_ordinal = ordinal + 1
                self.void.discard(ordinal)
            case "amend":
                record = self.records[event["ordinal"]]
                record.epoch, record.metrics = event["epoch"], event["metrics"]
            case "state" if event["ordinal"] in self.records:
                record = self.records[event["ordinal"]]
                if event["file"] != file_name(record.ordinal):
                    raise ValueError(f"a state of ordinal {record.ordinal} in {event['file']!r:.80}")  # no path that leads elsewhere
                record.file, record.bytes, record.digest = event["file"], event["bytes"], event["digest"]
            case "drop":
                for ordinal in event["ordinals"]:
                    self.records[ordinal].file = None
                    self.void.add(ordinal)
            case "rewind":
                kept = {o: r for o, r in self.records.items() if r.step < event["step"]}
                self.void |= self.records.keys() - kept.keys()
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


def file_name(ordinal: int) -> str:
    """What the file of a record's state is called."""
    return f"{ordinal:08d}.safetensors"


def line_of(event: Mapping[str, Any], identity: str | None, place: int) -> bytes:
    """The event as a line that starts at byte `place` of the log of the run `identity` (None: a run of old, without checks)."""
    line = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    if identity is not None:
        line = line[:-1] + b',"check":"' + _check(line, identity, place).encode() + b'"}'
    return line + b"\n"


def event_of(line: bytes, identity: str | None, place: int) -> Mapping[str, Any]:
    """The event in a line without its newline.

    Raises:
        ValueError: it is damaged, or stood elsewhere.
    """
    if identity is not None:
        found = _CHECK.search(line)
        if found is None or _check(line[: found.start()] + b"}", identity, place) != found.group(1).decode():
            raise ValueError("its check is off: it was altered, or is another run's")
    event = json.loads(line)
    if not isinstance(event, dict):
        raise TypeError(f"no event but a {type(event).__name__}")
    return event


def _check(line: bytes, identity: str, place: int) -> str:
    return hashlib.blake2b(f"{identity}\0{place}\0".encode() + line, digest_size=8).hexdigest()


def identity_of(header: Mapping[str, Any]) -> str | None:
    """The run's identity; None in a run of old.

    Raises:
        ValueError: the header is not what was written.
    """
    identity = header.get("identity")
    if identity is not None and header.get("check") != check_of(header):
        raise ValueError("its check is off: it was altered")
    return identity


def check_of(header: Mapping[str, Any]) -> str:
    """Of a run's header but for the check itself."""
    content = json.dumps({name: value for name, value in header.items() if name != "check"}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def ordinals_of(names: Sequence[str]) -> dict[int, str]:
    """The files of states among `names`, by ordinal."""
    return {int(name[: -len(".safetensors")]): name for name in names if re.fullmatch(r"[0-9]{8,}\.safetensors", name)}
