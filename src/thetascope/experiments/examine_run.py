"""Running several experiments on one run: each is stored, drawn, and summed up in a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from thetascope.experiments.catalog import Examination, Subject
from thetascope.figures import save_figure
from thetascope.progress import say
from thetascope.results.result import Result


@dataclass(frozen=True)
class Finding:
    """One finished experiment: its result, the pictures on disk, and what it found in one line."""

    examination: Examination
    result: Result
    pictures: tuple[Path, ...]
    headline: str


def examine_run(subject: Subject, examinations: Sequence[Examination], figures: Path) -> list[Finding]:
    """Run the experiments one after the other; what is stored already is only checked and drawn.

    Args:
        subject: what is examined, and where the results go.
        examinations: from `thetascope.experiments.catalog.CATALOG`.
        figures: the folder of the pictures: a PNG and an interactive page each.
    """
    findings = []
    for place, examination in enumerate(examinations, 1):
        result = examination.run(subject, subject.place(examination.name))
        pictures = tuple(save_figure(result, figures / f"{examination.name}{suffix}") for suffix in (".png", ".html"))
        finding = Finding(examination, result, pictures, examination.headline(result))
        say(f"[{place} of {len(examinations)}] {examination.question} {finding.headline}", shown=subject.progress)
        findings.append(finding)
    return findings
