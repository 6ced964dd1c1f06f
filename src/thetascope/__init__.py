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
    "Training": "thetascope.experiments.training",
    "Trajectory": "thetascope.trajectory",
    "compare_paths": "thetascope.experiments.compare_paths",
    "interpolate": "thetascope.experiments.interpolate",
    "layer_roles": "thetascope.experiments.layer_roles",
    "load_result": "thetascope.results",
    "parameter_atlas": "thetascope.experiments.parameter_atlas",
    "study_epochs": "thetascope.experiments.studies",
    "study_test_size": "thetascope.experiments.studies",
    "study_train_size": "thetascope.experiments.studies",
    "surface": "thetascope.experiments.surface",
    "trajectory_plane": "thetascope.experiments.trajectory_plane",
    "write_report": "thetascope.report",
}

__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604 - all are strings

if TYPE_CHECKING:
    from thetascope.errors import ThetascopeError as ThetascopeError
    from thetascope.evaluation.objective import Objective as Objective
    from thetascope.experiments.compare_paths import compare_paths as compare_paths
    from thetascope.experiments.interpolate import interpolate as interpolate
    from thetascope.experiments.layer_roles import layer_roles as layer_roles
    from thetascope.experiments.parameter_atlas import parameter_atlas as parameter_atlas
    from thetascope.experiments.studies import study_epochs as study_epochs
    from thetascope.experiments.studies import study_test_size as study_test_size
    from thetascope.experiments.studies import study_train_size as study_train_size
    from thetascope.experiments.surface import surface as surface
    from thetascope.experiments.training import Training as Training
    from thetascope.experiments.trajectory_plane import trajectory_plane as trajectory_plane
    from thetascope.recording import Recorder as Recorder
    from thetascope.report import write_report as write_report
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
