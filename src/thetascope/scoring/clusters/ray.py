"""Workers of Ray, which starts them, finds room for them, and says when one has ended."""

from __future__ import annotations

import logging
import os
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import ray
import torch
from ray import cloudpickle
from ray.exceptions import ObjectLostError, RayActorError, WorkerCrashedError

from thetascope.allocator import keep_freed_memory
from thetascope.errors import ClusterError
from thetascope.scoring.clusters.pool import WorkerLostError
from thetascope.scoring.clusters.tasks import Answer, Assignment, Task, Worker
from thetascope.scoring.failures import problem_of


class Actor(Worker):
    """A worker in a process of its own, which keeps what memory it lets go."""

    def __init__(self) -> None:
        keep_freed_memory()
        super().__init__(ray.get)


LOST = (RayActorError, WorkerCrashedError, ObjectLostError)


class RayPool:
    """Actors of a Ray cluster. A context manager: within it they are there.

    Args:
        address: "local" starts Ray on this machine, and ends it; anything else is that of a running cluster ("auto": the one that this
            machine belongs to).
        workers: how many; None: as many as there are GPUs, or CPUs.
        gpus: how many GPUs each needs; may be a fraction.
        runtime_env: as Ray takes it: packages and files that workers need.
    """

    def __init__(self, address: str, workers: int | None, gpus: float, runtime_env: Mapping[str, Any] | None) -> None:
        self._address, self._wanted, self._gpus, self._runtime_env = address, workers, gpus, runtime_env
        self.name = "Ray" if address == "local" else f"Ray at {address}"
        self.workers = 0
        self._actors: list[Any] = []
        self._owns, self._threads = False, torch.get_num_threads()

    def __enter__(self) -> RayPool:
        if not ray.is_initialized():
            self._begin()
        try:
            there, here = ray.cluster_resources(), torch.get_num_threads()
            if self._address == "local" and not self._gpus:  # all cores, however many workers
                self.workers = self._wanted or os.cpu_count() or 1
                here = min(here, max(1, (os.cpu_count() or 1) // self.workers))
            else:
                room = there.get("GPU", 0) / self._gpus if self._gpus else there.get("CPU", 1) / here
                self.workers = self._wanted or int(room + 1e-9)
            if self.workers < 1:
                raise ClusterError(f"there is no room for a worker. {self._told(here)}")
            torch.set_num_threads(here)  # those of a worker: bits depend on it
            self._cpus = here if not self._gpus else 1
            self._actors = [self._actor() for _ in range(self.workers)]
        except BaseException:
            self._end()
            raise
        return self

    def _begin(self) -> None:
        given: dict[str, Any] = {"runtime_env": dict(self._runtime_env)} if self._runtime_env else {}
        if self._address == "local":
            # reached from this machine alone; as many slots as workers are asked for, whatever cores there are
            cpus = max(self._wanted or 1, os.cpu_count() or 1)
            given |= {"num_cpus": cpus, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        loggers = logging.getLogger("ray")
        before = loggers.level
        loggers.setLevel(logging.ERROR)
        try:
            ray.init(address=self._address, logging_level=logging.ERROR, log_to_driver=False, configure_logging=True, **given)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ClusterError(f'no Ray cluster can be reached at "{self._address}": {str(error).strip().splitlines()[0]}') from error
        finally:
            loggers.setLevel(before)
        self._owns = True

    def _end(self) -> None:
        torch.set_num_threads(self._threads)
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []
        if self._owns:
            ray.shutdown()

    def __exit__(self, *_: object) -> None:
        self._end()

    def _actor(self) -> Any:
        return ray.remote(Actor).options(num_cpus=self._cpus, num_gpus=self._gpus, max_restarts=0).remote()

    def _told(self, threads: int) -> str:
        there = ray.cluster_resources()
        needs = f"{self._gpus:g} GPUs" if self._gpus else f"{threads} CPUs"
        return f"Each worker needs {needs}; the cluster has {there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs"

    def lacking(self) -> str:
        """What a worker needs, and what there is."""
        return self._told(self._cpus)

    def put(self, thing: Any) -> Any:
        """Put something where every worker can fetch it; classes and functions of the user's own files travel with it.

        Raises:
            ClusterError: it cannot be sent.
        """
        with _by_value():
            try:
                return ray.put(thing)
            except Exception as error:
                why = problem_of(error)
                raise ClusterError(
                    f"model, data, loss or step cannot be sent to other processes ({why}). Keep open files, locks and generators out of "
                    "them, or score without a cluster"
                ) from error

    def ready(self, worker: int) -> Any:
        """A ticket that is done when the worker is there."""
        return self._actors[worker].ready.remote()

    def score(self, worker: int, task: Task) -> Any:
        """A ticket that is done when the worker has answered."""
        return self._actors[worker].score.remote(task)

    def call(self, worker: int, call: Assignment) -> Any:
        """A ticket that is done when the worker has called something."""
        return self._actors[worker].call.remote(call)

    def done(self, tickets: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Those that are done, at the latest after so long."""
        found: Sequence[Any] = ray.wait(list(tickets), num_returns=1, timeout=seconds)[0]
        return found

    def answer(self, ticket: Any) -> Answer:
        """What a worker answered.

        Raises:
            WorkerLostError: it has ended.
        """
        try:
            answer: Answer = ray.get(ticket)
        except LOST as error:
            raise WorkerLostError(_cause(error)) from None
        return answer

    def renew(self, worker: int) -> None:
        """End a worker, whatever it does, and start another in its place."""
        ray.kill(self._actors[worker])
        self._actors[worker] = self._actor()


def _cause(error: Exception) -> str:
    """The line of Ray's message that says why a worker ended."""
    lines = [line.strip() for line in str(error).splitlines()]
    line = next((line for line in reversed(lines) if "exit" in line.lower()), problem_of(error))
    return line.partition(". Some common causes")[0]


@cache
def _is_installed(file: str) -> bool:
    """Whether a file is Python's or a library's; asked of every module each time that something is sent."""
    homes = tuple(str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    return str(Path(file).resolve()).startswith(homes)


_lock = threading.Lock()


@contextmanager
def _by_value() -> Iterator[None]:
    """Classes and functions of modules that are installed nowhere are sent with their code: workers have no such files."""

    def is_own(module: ModuleType) -> bool:
        file = getattr(module, "__file__", None)
        return file is not None and module.__name__.partition(".")[0] != "thetascope" and not _is_installed(file)

    with _lock:
        own = [
            module
            for name, module in list(sys.modules.items())
            if isinstance(module, ModuleType) and module.__name__ == name and is_own(module)
        ]
        own = [module for module in own if module.__name__ not in cloudpickle.list_registry_pickle_by_value()]
        for module in own:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in own:
                cloudpickle.unregister_pickle_by_value(module)
