"""The sections of the report, one an experiment. To add one: a `Section` in one of these modules, or in a new one named here."""

from __future__ import annotations

from thetascope.report.sections import layers, parameters, paths, planes, studies
from thetascope.report.sections.section import CHAPTERS, Section

SECTIONS: tuple[Section, ...] = (*paths.SECTIONS, *layers.SECTIONS, *parameters.SECTIONS, *planes.SECTIONS, *studies.SECTIONS)

__all__ = ["CHAPTERS", "SECTIONS", "Section"]
