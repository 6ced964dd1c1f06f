"""The report: one HTML file that tells what was found about a run. No torch: neither model nor data are needed.

What it says of an experiment stands in that experiment's ``words.py``.
"""

from __future__ import annotations

from thetascope.report.page import write_report

__all__ = ["write_report"]
