"""One exception tree. Every message says what was expected, what came and what to do.

ThetascopeError
├── StateError          tensors that do not fit a model or one another
├── RecordingError      a run directory that cannot be written or read
├── CheckpointError     a foreign checkpoint that is refused or damaged
├── TrajectoryError     a trajectory without the states that were asked for
├── GeometryError       alphas, knots or tables that describe no points
├── ObjectiveError      a model, data, loss or metric that cannot be scored
│   └── NotDeterministicError   two passes over one point disagree
├── TrainingError       a training, or a study of one, that cannot be run as described
├── ResultError         a stored result that is damaged, foreign or of another call
├── PlaceError          a file or folder that is neither read nor written to: a stranger's link, a pipe, a device
├── MissingLibraryError  a library that is not installed
├── DataError           a data set's files that are missing, truncated or mislabelled
└── UsageError          an option or a specification on the command line
"""

from __future__ import annotations

from thetascope.shown import message


class ThetascopeError(Exception):
    """The root of all errors that thetascope raises on purpose.

    Example:
        >>> try:
        ...     ts.Trajectory("no/such/run")
        ... except ts.ThetascopeError as error:
        ...     print(type(error).__name__)
        RecordingError
    """

    def __str__(self) -> str:
        return message(super().__str__())


class StateError(ThetascopeError, ValueError):
    """Tensors do not fit a model or one another."""


class RecordingError(ThetascopeError):
    """A run directory cannot be written or read."""


class CheckpointError(ThetascopeError):
    """A checkpoint file is refused, damaged or of an unknown kind."""


class TrajectoryError(ThetascopeError, ValueError):
    """A trajectory lacks the states that were asked for."""


class GeometryError(ThetascopeError, ValueError):
    """Alphas, knots or coefficient tables describe no points."""


class ObjectiveError(ThetascopeError, ValueError):
    """A model, its data, a loss or a metric cannot be scored as given."""


class NotDeterministicError(ObjectiveError):
    """Two passes over one point disagree."""


class TrainingError(ThetascopeError, ValueError):
    """A training, or a study of one, cannot be run as described."""


class ResultError(ThetascopeError):
    """A stored result is damaged, foreign, or belongs to another call."""


class PlaceError(ThetascopeError):
    """A file or folder is neither read nor written to: a stranger's link leads elsewhere, or it is no regular file."""


class MissingLibraryError(ThetascopeError, ImportError):
    """A library that something needs is not installed."""


class ClusterError(ThetascopeError, RuntimeError):
    """Workers of a cluster are not there, or end over the same points."""


class DataError(ThetascopeError, ValueError):
    """A data set's files are missing, truncated, oversized or mislabelled."""


class UsageError(ThetascopeError, ValueError):
    """An option or a specification on the command line is off."""


def missing_library(extra: str, error: ImportError) -> MissingLibraryError:
    """What to raise where the library of an extra of thetascope's cannot be imported."""
    if isinstance(error, ModuleNotFoundError):
        return MissingLibraryError(f'{error.name} is not installed: pip install "thetascope[{extra}]"', name=error.name)
    return MissingLibraryError(f'what "thetascope[{extra}]" needs cannot be imported: {error}', name=error.name)
