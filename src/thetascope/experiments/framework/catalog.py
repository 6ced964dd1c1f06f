"""All experiments, found by their folders: who adds one adds a folder here and nothing anywhere else.

Loads no torch, so that names, options and help are there at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from thetascope.errors import UsageError
from thetascope.experiments import names
from thetascope.experiments.framework.declaration import Call, Declaration

RENAMED = {
    "line": "interpolate", "quadratic": "interpolate-quadratic", "compare": "compare_paths", "layers": "interpolate-layer",
    "layers-quadratic": "interpolate-quadratic-layer", "roles": "layer_roles", "parameters": "interpolate-parameter",
    "patterns": "compare_paths-parameter", "atlas": "parameter_atlas", "plane": "trajectory_plane", "test-size": "study_test_size",
    "epochs": "study_epochs", "train-size": "study_train_size",
}  # fmt: skip
"""What the first version called the entries of `examine`, and what they are called now."""


def experiments() -> dict[str, Declaration]:
    """All experiments by name, in the order of their first entries."""
    found = [declaration(name) for name in names()]
    return {each.name: each for each in sorted(found, key=lambda each: min(entry.place for entry in each.entries))}


@cache
def declaration(name: str) -> Declaration:
    """The experiment of that name."""
    found: Declaration = import_module(f"thetascope.experiments.{name}").EXPERIMENT
    return found


def entries() -> dict[str, Call]:
    """The calls that `examine` makes, by their keys, in the order in which a reader asks."""
    found = [(entry.place, Call(each, entry.options)) for each in experiments().values() for entry in each.entries]
    return {call.key: call for _, call in sorted(found, key=lambda pair: pair[0])}


def long_entries() -> set[str]:
    """The keys of the entries that take minutes, and run only where they are asked for by name."""
    return {Call(each, entry.options).key for each in experiments().values() for entry in each.entries if entry.by_name_only}


def chosen_entries(wanted: Iterable[str], *, with_training: bool, with_long: bool = False) -> list[Call]:
    """The entries of those keys, in the catalog's order; without keys all, those that train only where there is a Training, and
    those that take long only `with_long`.

    Raises:
        UsageError: a key is unknown; a name of the first version is told its new one.
    """
    there, keys = entries(), list(wanted)
    for key in keys:
        if key in RENAMED:
            raise UsageError(f'"{key}" is called "{RENAMED[key]}" now')
    unknown = [key for key in keys if key not in there]
    if unknown:
        raise UsageError(f"no experiment {', '.join(unknown)}; there are: {', '.join(there)}")
    if keys:
        return [call for key, call in there.items() if key in keys]
    long = long_entries()
    return [c for key, c in there.items() if (with_training or not c.experiment.trains) and (with_long or key not in long)]


def experiment_of(attrs: Mapping[Any, Any]) -> Declaration | None:
    """The experiment that a result is of; None where there is none of that name."""
    name = attrs.get("experiment")
    return declaration(name) if name in names() else None
