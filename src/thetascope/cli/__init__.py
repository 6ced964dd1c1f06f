"""The command line: parse, call the API, print. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

from thetascope.search_path import leave_runs_out

leave_runs_out()  # before all else that is imported: the command may be started in a stranger's run

from thetascope.cli import examining, experiments, reports, starting, trackers, watching  # noqa: E402
from thetascope.cli.application import app, main  # noqa: E402

__all__ = ["app", "examining", "experiments", "main", "reports", "starting", "trackers", "watching"]
