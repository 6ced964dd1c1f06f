"""Examining a run: several experiments on it, each stored, drawn, and summed up in a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thetascope.errors import ResultError, ThetascopeError, UsageError
from thetascope.experiments.framework.declaration import Call, figure_to_write, place_to_write, words_of
from thetascope.experiments.framework.pictures import refresh_figure
from thetascope.progress import say
from thetascope.results.result import Result

if TYPE_CHECKING:
    from thetascope.experiments.framework.job import Job
    from thetascope.experiments.framework.plan import Plan
    from thetascope.training.training import Training
    from thetascope.trajectory import Trajectory


@dataclass(frozen=True)
class Subject:
    """What is examined.

    Attributes:
        objective: what scores; or several, by label.
        trajectory: the recorded states.
        home: the folder of the results and the figures.
        training: for experiments that train.
        options: of every experiment that has them, such as ``alphas``; ``grid`` is how many values an axis of a surface has.
        demo: the demo's choice of options ("digits", say), if it is one.
        engine: "auto", or the name of a backend.
        progress: say what is done.
        fresh: begin anew, in the place of what is stored.
    """

    objective: Any
    trajectory: Trajectory
    home: Path
    training: Training | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    demo: str = ""
    engine: str = "auto"
    progress: bool = True
    fresh: bool = False

    def call(self, entry: Call) -> Call:
        """An entry with the options that are chosen here."""
        experiment, grid = entry.experiment, self.options.get("grid")
        sized = experiment.grid(grid) if grid is not None and experiment.grid else {}
        shared = {name: value for name, value in self.options.items() if name not in experiment.keeps}
        chosen = {**experiment.examine_with, **experiment.demo_with.get(self.demo, {}), **shared, **sized}
        return experiment.of(**{**chosen, **entry.options})

    def check(self, entries: Sequence[Call]) -> None:
        """Refuse entries that train where there is nothing to train.

        Raises:
            UsageError: there is none.
        """
        for entry in entries:
            if self.training is None and entry.experiment.trains:
                raise UsageError(f"{entry.key} trains, so it needs a ts.Training: name the function that returns it with --training SPEC")

    def job(self, entry: Call) -> Job:
        """The entry as a Job, its result in its place."""
        self.check([entry])
        call = self.call(entry)
        how: dict[str, Any] = {"engine": self.engine, "progress": self.progress, "fresh": self.fresh}
        return call.job(self.objective, self.trajectory, self.training, out=place_to_write(self.home, call.key), **how)


@dataclass(frozen=True)
class Finding:
    """One finished experiment: what was asked, its result, the pictures on disk, and what it found in one line."""

    entry: Call
    result: Result
    pictures: tuple[Path, ...]
    headline: str


def examine(subject: Subject, entries: Sequence[Call], left_out: dict[str, ThetascopeError] | None = None) -> list[Finding]:
    """Run the experiments one after the other; what is stored already is only checked and drawn.

    Args:
        subject: what is examined, and where the results go.
        entries: from `thetascope.experiments.framework.catalog.entries`.
        left_out: takes the experiments whose stored result is in the way (another call's, say), or that the engine which is named does not
            score, and why, by key, while the others go on; None raises.

    Raises:
        ResultError: what is stored is another call's or damaged, and there is no `left_out`.
        UsageError: the engine does not score an experiment, and there is no `left_out`.
    """
    findings = []
    subject.check(entries)
    for place, entry in enumerate(entries, 1):
        counted = f"[{place} of {len(entries)}]"
        try:
            result = subject.job(entry).run()
        except (ResultError, UsageError) as error:
            if left_out is None:
                raise
            left_out[entry.key] = error
            say(f"{counted} {entry.key} is left out: {error}", shown=subject.progress)
            continue
        key = subject.call(entry).key if result.path is None else result.path.name
        pictures = tuple(refresh_figure(result.data, figure_to_write(subject.home, f"{key}{suffix}")) for suffix in (".png", ".html"))
        words = words_of(entry.experiment, result.data.attrs)
        finding = Finding(entry, result, pictures, words.headline(result.data))
        say(f"{counted} {entry.words.question} {finding.headline}", shown=subject.progress)
        findings.append(finding)
    return findings


def plans(subject: Subject, entries: Sequence[Call], left_out: dict[str, ThetascopeError]) -> dict[str, Plan]:
    """What `examine` would do, by the keys of the entries."""
    found = {}
    subject.check(entries)
    for entry in entries:
        try:
            found[entry.key] = subject.job(entry).plan()
        except (ResultError, UsageError) as error:
            left_out[entry.key] = error
    return found
