"""Recording a training: the Recorder, the run directory's format, safe reading of foreign checkpoints."""

from thetascope.recording.recorder import Recorder

__all__ = ["Recorder"]
