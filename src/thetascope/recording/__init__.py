"""Recording a training: the Recorder, the run directory's format, safe reading of foreign checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thetascope.recording.recorder import Recorder as Recorder

__all__ = ["Recorder"]


def __getattr__(name: str) -> Any:
    """The Recorder when it is asked for: the log is read without torch."""
    if name == "Recorder":
        from thetascope.recording.recorder import Recorder

        return Recorder
    raise AttributeError(f"module 'thetascope.recording' has no attribute {name!r}; there is: Recorder")
