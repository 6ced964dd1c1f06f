"""The picture that all studies share."""

from thetascope.experiments.shared.study_picture import picture

__all__ = ["picture"]
