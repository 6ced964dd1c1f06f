"""Findings in the tools that keep track of experiments: TensorBoard, Weights & Biases, MLflow. A module here is one of them.

None is imported before it is used, and what a user passes is known by its methods.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib import import_module
from operator import index
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

from thetascope.errors import ResultError, UsageError
from thetascope.shown import warn

if TYPE_CHECKING:
    from thetascope.integrations.logged import Logged
    from thetascope.integrations.tracker import Tracker, TrackerModule
    from thetascope.results.result import Result

    Results = Result | Iterable[Result] | Mapping[str, Result] | str | os.PathLike[str]

PREFIX = "thetascope"


def trackers() -> dict[str, TrackerModule]:
    """The modules of all trackers by name, found by their files."""
    names = sorted(module.name for module in iter_modules(__path__))
    return {name: cast("TrackerModule", import_module(f"{__name__}.{name}")) for name in names}


def log_findings(
    results: Results,
    to: Any,
    *,
    prefix: str = PREFIX,
    step: SupportsIndex | None = None,
    report: str | os.PathLike[str] | None = None,
) -> list[str]:
    """Log what results found to a tracker of experiments: numbers, sentences, pictures, tables, and the report.

    Names are ``prefix/result/key``, with the keys of `Result.findings`. Values along recorded states are curves at the states' own
    training steps, ``prefix/result/states/variable``; findings of a whole training stand at its last step. Neither model nor data nor
    torch are needed.

    Args:
        results: one result, several, results by the names that they should have, or a run directory: then all finished results in
            ``RUN/results``, and ``RUN/report.html`` where there is one. Without a name of their own results are called by their keys.
        to: a SummaryWriter (of torch.utils.tensorboard or tensorboardX), a wandb run, the mlflow module (it logs to its active run, or
            starts one), or several of these in a list.
        prefix: before all names.
        step: where findings of a whole training stand; None: the last step that each result knows, else the last that any of them
            does, else 0.
        report: a report to log as well; wandb and mlflow keep the file, TensorBoard a text that names its path.

    Returns:
        What the results are called there.

    Raises:
        UsageError: `to` is no tracker that is known, or `prefix` or `step` does not fit.
        ResultError: there is no result, one is not finished or cannot be shown, or the report does not exist. Of a run directory such
            results are left out, and a warning names them.

    Example:
        >>> from torch.utils.tensorboard import SummaryWriter
        >>> with SummaryWriter("runs/board") as writer:
        ...     ts.log_findings(ts.trajectory_geometry(trajectory), to=writer)
        ['trajectory_geometry']
    """
    if not isinstance(prefix, str) or not prefix.strip("/"):
        raise UsageError(f"prefix must be a text that names begin with. Got {prefix!r} instead.")
    if step is not None and (isinstance(step, bool) or not isinstance(step, SupportsIndex) or index(step) < 0):
        raise UsageError(f"step must be a whole number of at least 0, or None. Got {step!r} instead.")
    chosen = [_tracker(one, prefix) for one in (to if isinstance(to, list | tuple) else [to])]
    if not chosen:
        raise UsageError(f"to= names no tracker. {_expected()}")
    from thetascope.integrations.logged import logged, report_of

    is_run = isinstance(results, str | os.PathLike)
    named = _of_run(Path(cast("str", results))) if is_run else _named(results)
    path = Path(report) if report is not None else report_of(Path(cast("str", results))) if is_run else None
    if path is not None and not path.is_file():
        raise ResultError(f'"{path}" does not exist: write the report first (ts.write_report), or leave report= out')
    found: dict[str, Logged] = {}
    wrong: dict[str, Exception] = {}
    for name, result in named.items():  # all of it is made before anything is logged
        try:
            found[name] = logged(result)
        except Exception as error:  # noqa: BLE001 - a stored result may hold anything
            wrong[name] = error
    _tell(wrong, is_run=is_run and bool(found))
    last = max((one.step for one in found.values() if one.step is not None), default=0)
    for tracker in chosen:
        for name, one in found.items():
            own = last if one.step is None else one.step
            _log(tracker, f"{prefix}/{name}", one, own if step is None else index(step))
        if path is not None:
            tracker.report(f"{prefix}/report", path, last if step is None else index(step))
        tracker.finish()
    return list(found)


def _tell(wrong: Mapping[str, Exception], *, is_run: bool) -> None:
    """Say what cannot be logged: of a run in a warning, while the rest is logged; else as an error."""
    from thetascope.report.found import problem_of

    told = [f"{name} ({problem_of(error)})" for name, error in wrong.items()]
    if told and is_run:
        warn(f"not logged, for it cannot be shown: {', '.join(told)}", stacklevel=3)
    elif told:
        raise ResultError(f"what was found cannot be shown, so nothing is logged: {', '.join(told)}") from next(iter(wrong.values()))


def _log(tracker: Tracker, name: str, found: Logged, step: int) -> None:
    from thetascope.integrations.logged import STATES

    at: dict[int, dict[str, Any]] = {}
    for curve in found.curves:
        for own, value in zip(curve.steps, curve.values, strict=True):
            at.setdefault(own, {})[f"{name}/{STATES}/{curve.name}"] = value
    for own, values in sorted(at.items()):
        tracker.values(values, own)
    tracker.values({f"{name}/headline": found.headline, **{f"{name}/{key}": value for key, value in found.findings.items()}}, step)
    if found.figure is not None:
        tracker.figure(f"{name}/picture", found.figure, found.result.figure, step)
    if found.table is not None:
        tracker.table(f"{name}/table", found.table, step)


def _tracker(to: Any, prefix: str) -> Tracker:
    for module in trackers().values():
        found = module.tracker_of(to, prefix)
        if found is not None:
            return found
    raise UsageError(f"to= is no tracker that is known. {_expected()} Got {type(to).__name__} instead.")


def _expected() -> str:
    kinds = ", ".join(module.KNOWN_BY for module in trackers().values())
    return f"Pass one of these, or several in a list: {kinds}. Of a Lightning logger pass logger.experiment."


def _named(results: Any) -> dict[str, Result]:
    """Finished results by name."""
    from thetascope.results.result import Result

    given = results if isinstance(results, Mapping) else [results] if isinstance(results, Result) else results
    expected = "results= is a result, several, results by name, or the path of a run directory"
    if not isinstance(given, Mapping) and not isinstance(given, Iterable):
        raise ResultError(f"{expected}. Got {type(results).__name__} instead.")
    pairs = list(given.items()) if isinstance(given, Mapping) else [("", one) for one in given]
    found: dict[str, Result] = {}
    taken: dict[str, int] = {}
    for name, one in pairs:
        if not isinstance(one, Result) or not isinstance(name, str) or (isinstance(given, Mapping) and not name.strip("/")):
            raise ResultError(
                f"{expected}. Got {name!r}: {type(one).__name__} instead." if name else f"{expected}. Got {type(one).__name__}."
            )
        called = name or str(one.data.attrs.get("key", one.experiment))
        if one.status_counts()["missing"] or one.in_progress:
            raise ResultError(f'"{called}" is not finished, so what it finds is not known yet: finish it, which the same call does')
        taken[called] = taken.get(called, 0) + 1
        found[called if taken[called] == 1 else f"{called}-again-{taken[called]}"] = one
    if not found:
        raise ResultError(f"there is no result to log; {expected}")
    return found


def _of_run(run: Path) -> dict[str, Result]:
    """The finished results of a run directory, by the names of their folders."""
    from thetascope.report.found import find_results

    if not run.is_dir():
        raise ResultError(f'"{run}" is no folder; name a run directory, whose results/ are logged')
    found = find_results(run, None)
    done = {one.name: one.result for one in found if one.result is not None and not one.missing and not one.result.in_progress}
    left = [f"{one.name} ({one.problem or 'not finished'})" for one in found if one.name not in done]
    if not done:
        raise ResultError(
            f'"{run}" holds no finished result{": " + ", ".join(left) if left else " (results/ is empty or not there)"}; make some with '
            f"thetascope examine {run}"
        )
    if left:
        warn(f"not logged: {', '.join(left)}", stacklevel=3)
    return done
