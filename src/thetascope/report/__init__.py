"""The report: one HTML file that tells what was found about a run. No torch: neither model nor data are needed.

To add an experiment's section: a `Section` in a module of `sections/`, named in `SECTIONS`.
"""

from __future__ import annotations

from thetascope.report.page import write_report

__all__ = ["write_report"]
