"""Where units of points are scored besides this process: workers, and what schedules them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from thetascope.errors import ClusterError, missing_library


@contextmanager
def cluster(
    address: str = "local", workers: int | None = None, *, gpus: float = 0, runtime_env: Mapping[str, Any] | None = None
) -> Iterator[None]:
    """Score points on several workers of Ray: within it, experiments hand theirs to them.

    This process locks, writes and checks as ever; workers hold the model, the data and the states that points are made of. A worker that
    ends is replaced and its points are scored again. Values are those of one process with as many threads as a worker has.

    Args:
        address: "local" starts Ray on this machine and ends it afterwards; "auto" is the cluster that this machine belongs to, else it is
            the address of one, such as "ray://host:10001". If Ray has been started in this process, that is used.
        workers: how many; by default one a core on this machine, elsewhere as many as have room.
        gpus: of each worker.
        runtime_env: as Ray takes it: packages and files that workers need and do not have.

    Raises:
        MissingLibraryError: Ray is not installed.
        ClusterError: there is no such cluster, no room in it, or an argument is off.

    Example:
        >>> with ts.cluster("local", workers=2):                                   # doctest: +SKIP
        ...     result = ts.surface(objective, trajectory, out="run")
    """
    if not isinstance(address, str) or not address:
        raise ClusterError(f'address must be "local", "auto" or that of a cluster, such as "ray://host:10001". Got {address!r} instead.')
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise ClusterError(f"workers must be a whole number of at least 1, or None. Got {workers!r} instead.")
    if isinstance(gpus, bool) or not isinstance(gpus, int | float) or not 0 <= gpus < float("inf"):
        raise ClusterError(f"gpus must be a number of at least 0. Got {gpus!r} instead.")
    try:
        from thetascope.scoring.clusters.ray import RayPool
    except ImportError as error:
        raise missing_library("ray", error) from error
    from thetascope.scoring.clusters.pool import used

    with RayPool(address, workers, gpus, runtime_env) as pool, used(pool):
        yield
