"""Where each result comes from, and what is needed to make it again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thetascope.experiments.framework.catalog import experiment_of
from thetascope.experiments.framework.declaration import words_of
from thetascope.experiments.framework.phrases import listed
from thetascope.report.found import Found
from thetascope.report.run import Run
from thetascope.results import Result
from thetascope.results.labelled import labels_in, samples_scored

LONGEST = 20_000
"""Characters of what a result says of itself; the rest is cut off, and said so."""


@dataclass(frozen=True)
class Origin:
    """One result's provenance: facts, and all that it says of itself as JSON."""

    name: str
    facts: tuple[tuple[str, str], ...]
    everything: str


def origin_of(found: Found, result: Result, command: str) -> Origin:
    """What one result was made from, by what, and how it is made again."""
    attrs = result.data.attrs
    engine = _mapping(attrs.get("engine"))
    counts = [f"{count:,} {label}" for label, count in result.status_counts().items() if count]
    facts = {
        "made again by": command,
        "made": attrs.get("created"),
        "points": ", ".join(counts),
        "scored on": samples_scored(attrs),
        **_by_label(attrs),
        "buffers": attrs.get("buffers"),
        "engine": engine and f"{engine.get('name')}: {engine.get('reason')}",
        "device": attrs.get("device") and f"{attrs['device']}, {attrs.get('threads')} threads, batches of {_told(attrs.get('batch_size'))}",
        "versions": ", ".join(f"{name} {version}" for name, version in _mapping(attrs.get("versions")).items()),
        "platform": attrs.get("platform"),
        "states": _states(attrs.get("states")),
    }
    text = json.dumps(attrs, indent=1, ensure_ascii=False, default=str)
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}\n… {len(text) - LONGEST:,} more characters are left out here; ts.load_result(…).data.attrs holds all"
    return Origin(found.name, tuple((name, str(value)) for name, value in facts.items() if value), text)


def _by_label(attrs: Mapping[str, Any]) -> dict[str, str]:
    """What each objective scored; what is the same for all once."""
    parts = [_scored(fingerprint) for fingerprint in fingerprints(attrs).values()]
    names = dict.fromkeys(name for part in parts for name in part)
    found = {}
    for name in names:
        said = {label: str(part[name]) for label, part in zip(fingerprints(attrs), parts, strict=True) if part.get(name)}
        alike = len(said) == len(parts) and len(set(said.values())) == 1
        found[name] = next(iter(said.values())) if alike else "; ".join(f"{label}: {value}" for label, value in said.items())
    return found


def _scored(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "drawn samples": fingerprint.get("samples") and f"{fingerprint['samples']:,}, seed {fingerprint.get('seed')}",
        "loss and metrics": ", ".join(map(str, [fingerprint.get("loss"), *_mapping(fingerprint.get("metrics"))])),
        "model": fingerprint.get("model"),
        "data": fingerprint.get("data") and f"digest {str(fingerprint['data'])[:16]}…",
    }


def fingerprints(attrs: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The fingerprint of each objective by its label; of one alone by none."""
    labels, found = labels_in(attrs), _mapping(attrs.get("fingerprint"))
    return {label: _mapping(found[label]) for label in labels} if labels else {"": found}


def _told(value: Any) -> str:
    return ", ".join(f"{part} ({label})" for label, part in value.items()) if isinstance(value, Mapping) else str(value)


def _states(states: Any) -> str:
    if not isinstance(states, Sequence):
        return ""
    return listed([f"{state.get('label')}: {str(state.get('digest'))[:12]}…" for state in states if isinstance(state, Mapping)], most=4)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def doubts(run: Run, results: Sequence[tuple[str, Result]]) -> list[str]:
    """What a reader must know before comparing the results with one another."""
    told = []
    known = {record.digest for record in run.records if record.digest}
    if known and not run.frozen:
        strange = [name for name, result in results if not _made_from(result, known)]
        if strange:
            told.append(f"Made from states that this recording does not hold: {listed(strange)}. They may belong to another training.")
    for what, label in (("data", "data sets, or draws of samples"), ("model", "models")):
        kinds: dict[str, list[str]] = {}
        for name, result in results:
            digests = [str(one[what]) for one in fingerprints(result.data.attrs).values() if one.get(what)]
            for digest in dict.fromkeys(digests if len(digests) == 1 else [" ".join(digests)] * bool(digests)):
                kinds.setdefault(digest, []).append(name)
        if len(kinds) > 1:
            groups = "; ".join(listed(names) for names in kinds.values())
            told.append(
                f"The results were scored on {len(kinds)} different {label}, so their losses are not comparable throughout: {groups}."
            )
    return told


def _made_from(result: Result, known: set[str]) -> bool:
    """Whether each recorded state that a result was made from is in the recording."""
    states = [state for state in result.data.attrs.get("states", ()) if isinstance(state, Mapping)]
    return all(state.get("digest") in known for state in states if state.get("step") is not None)


def certainty(results: Sequence[tuple[str, Result]]) -> list[tuple[str | int | None, ...]]:
    """For each result: its name, samples, points evaluated, estimated, not finite and missing, and what is known of errors."""
    rows: list[tuple[str | int | None, ...]] = []
    for name, result in results:
        attrs, counts = result.data.attrs, result.status_counts()
        error = _of_estimates(attrs, result) if counts["estimated"] else ""
        spread = [str(n) for n in result.data.data_vars if str(n).endswith("loss_standard_error")]
        if spread:
            largest = max(float(result.data[n].max()) for n in spread)
            error = "; ".join(filter(None, [error, f"standard error of the loss up to {largest:.2g}"]))
        samples = attrs.get("samples_scored")
        rows.append(
            (
                name,
                samples if isinstance(samples, int) else samples_scored(attrs) or None,
                *(counts[label] for label in ("evaluated", "estimated", "not finite", "missing")),
                error or ("exact over its samples" if attrs.get("scored") else "of the states alone, exact"),
            )
        )
    return rows


def _of_estimates(attrs: Mapping[str, Any], result: Result) -> str:
    """What is known of the error of values that were not scored themselves."""
    experiment = experiment_of(attrs)
    told = words_of(experiment, attrs).error if experiment else None
    return (told(result.data) if told else "") or "estimates of an error not measured"
