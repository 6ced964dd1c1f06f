"""The picture that all studies share."""

from thetascope.experiments.shared.study_picture import draw_matplotlib, draw_plotly, info

__all__ = ["draw_matplotlib", "draw_plotly", "info"]
