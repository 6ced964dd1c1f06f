"""thetascope: look at the training of a neural network through its parameters.

Everything public stands here and is loaded when it is first used, so that ``import thetascope`` is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from thetascope._version import __version__

_HOMES = {
    "Objective": "thetascope.evaluation.objective",
    "ParameterSpace": "thetascope.state",
    "Recorder": "thetascope.recording",
    "Result": "thetascope.results",
    "State": "thetascope.state",
    "ThetascopeError": "thetascope.errors",
    "Trajectory": "thetascope.trajectory",
    "interpolate": "thetascope.experiments.interpolate",
    "load_result": "thetascope.results",
}

__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604 - all are strings

if TYPE_CHECKING:
    from thetascope.errors import ThetascopeError as ThetascopeError
    from thetascope.evaluation.objective import Objective as Objective
    from thetascope.experiments.interpolate import interpolate as interpolate
    from thetascope.recording import Recorder as Recorder
    from thetascope.results import Result as Result
    from thetascope.results import load_result as load_result
    from thetascope.state import ParameterSpace as ParameterSpace
    from thetascope.state import State as State
    from thetascope.trajectory import Trajectory as Trajectory


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'thetascope' has no attribute {name!r}; there are: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
