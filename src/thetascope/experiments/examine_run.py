"""Running several experiments on one run: each is stored, drawn, and summed up in a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from thetascope.errors import ResultError
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


def examine_run(
    subject: Subject, examinations: Sequence[Examination], figures: Path, left_out: dict[str, ResultError] | None = None
) -> list[Finding]:
    """Run the experiments one after the other; what is stored already is only checked and drawn.

    Args:
        subject: what is examined, and where the results go.
        examinations: from `thetascope.experiments.catalog.CATALOG`.
        figures: the folder of the pictures: a PNG and an interactive page each.
        left_out: takes the experiments whose stored result is in the way (another call's, say) and why, by name, while the others
            go on; None raises.

    Raises:
        ResultError: what is stored is another call's or damaged, and there is no `left_out`.
    """
    findings = []
    for place, examination in enumerate(examinations, 1):
        try:
            result = examination.run(subject, subject.place(examination.name))
        except ResultError as error:
            if left_out is None:
                raise
            left_out[examination.name] = error
            say(f"[{place} of {len(examinations)}] {examination.name} is left out: {error}", shown=subject.progress)
            continue
        pictures = tuple(save_figure(result, figures / f"{examination.name}{suffix}") for suffix in (".png", ".html"))
        finding = Finding(examination, result, pictures, examination.headline(result))
        say(f"[{place} of {len(examinations)}] {examination.question} {finding.headline}", shown=subject.progress)
        findings.append(finding)
    return findings
