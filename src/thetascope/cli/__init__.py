"""The command line: parse, call the API, print. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

from thetascope.cli import examining, experiments, reports, starting
from thetascope.cli.application import app, main

__all__ = ["app", "examining", "experiments", "main", "reports", "starting"]
