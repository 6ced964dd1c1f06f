"""thetascope: look at the training of a neural network through its parameters.

Everything public stands here and is loaded when it is first used, so that ``import thetascope`` is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from thetascope._version import __version__
from thetascope.experiments import names

_HOMES = {
    "Objective": "thetascope.scoring.objective",
    "ParameterSpace": "thetascope.state",
    "Recorder": "thetascope.recording",
    "Result": "thetascope.results",
    "State": "thetascope.state",
    "ThetascopeError": "thetascope.errors",
    "Training": "thetascope.training.training",
    "Trajectory": "thetascope.trajectory",
    "cluster": "thetascope.scoring.clusters",
    "load_result": "thetascope.results",
    "log_findings": "thetascope.integrations.trackers",
    "merge": "thetascope.results.portions",
    "panels": "thetascope.experiments.framework.panels",
    "part": "thetascope.results.portions",
    "steps": "thetascope.scoring.steps",
    "write_report": "thetascope.report",
}
"""Where the public names are that are no experiments; an experiment is the function of its folder's name."""

__all__ = [*_HOMES, *names(), "__version__"]  # noqa: PLE0604 - all are strings

if TYPE_CHECKING:  # for checkers and editors, which see no folders
    from thetascope.errors import ThetascopeError as ThetascopeError
    from thetascope.experiments.checkpoint_average import checkpoint_average as checkpoint_average
    from thetascope.experiments.compare_paths import compare_paths as compare_paths
    from thetascope.experiments.framework.panels import panels as panels
    from thetascope.experiments.interpolate import interpolate as interpolate
    from thetascope.experiments.layer_rewind import layer_rewind as layer_rewind
    from thetascope.experiments.layer_roles import layer_roles as layer_roles
    from thetascope.experiments.parameter_atlas import parameter_atlas as parameter_atlas
    from thetascope.experiments.study_epochs import study_epochs as study_epochs
    from thetascope.experiments.study_test_size import study_test_size as study_test_size
    from thetascope.experiments.study_train_size import study_train_size as study_train_size
    from thetascope.experiments.surface import surface as surface
    from thetascope.experiments.trajectory_geometry import trajectory_geometry as trajectory_geometry
    from thetascope.experiments.trajectory_plane import trajectory_plane as trajectory_plane
    from thetascope.integrations.trackers import log_findings as log_findings
    from thetascope.recording import Recorder as Recorder
    from thetascope.report import write_report as write_report
    from thetascope.results import Result as Result
    from thetascope.results import load_result as load_result
    from thetascope.results.portions import merge as merge
    from thetascope.results.portions import part as part
    from thetascope.scoring import steps as steps
    from thetascope.scoring.clusters import cluster as cluster
    from thetascope.scoring.objective import Objective as Objective
    from thetascope.state import ParameterSpace as ParameterSpace
    from thetascope.state import State as State
    from thetascope.training.training import Training as Training
    from thetascope.trajectory import Trajectory as Trajectory


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name) or (f"thetascope.experiments.{name}" if name in names() else None)
    if home is None:
        raise AttributeError(f"module 'thetascope' has no attribute {name!r}; there are: {', '.join(__dir__())}")
    module = import_module(home)
    return module if home.endswith(".steps") else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*_HOMES, *names(), "__version__"})
