"""A command without options is the function without options: what reaches the job is the signature's defaults, for every experiment."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.cli.project import FILES, SPECIFIED, TRAINED
from thetascope.cli import main
from thetascope.experiments.framework.catalog import experiments
from thetascope.experiments.framework.declaration import Declaration

pytestmark = pytest.mark.usefixtures("folder")
EMPTY = inspect.Parameter.empty


class Reached(Exception):
    """The arguments have come to the job; nothing is scored."""


def arguments_of(monkeypatch: pytest.MonkeyPatch, experiment: Declaration) -> dict[str, Any]:
    """What reaches the job from the command with nothing but what it requires."""
    seen: dict[str, Any] = {}

    def job(_: Declaration, arguments: Mapping[str, Any], chosen: Mapping[str, Any] | None = None) -> NoReturn:
        seen.update(arguments)
        raise Reached

    subjects = [p.name for p in inspect.signature(experiment.function).parameters.values() if p.default is EMPTY]
    required = [
        *([] if experiment.trains else FILES),
        *(SPECIFIED if "objective" in subjects else []),
        *(TRAINED if experiment.trains else []),
    ]
    monkeypatch.setattr(Declaration, "job", job)
    with pytest.raises(Reached):
        main([experiment.command, *required, "--debug"])
    assert all(seen.pop(subject) is not None for subject in subjects)
    return seen


@pytest.mark.parametrize("name", experiments())
def test_the_defaults_of_a_command_are_those_of_the_function(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = experiments()[name]
    parameters = inspect.signature(experiment.function).parameters.values()
    defaults = {parameter.name: parameter.default for parameter in parameters if parameter.default is not EMPTY}
    seen = arguments_of(monkeypatch, experiment)
    assert seen.keys() == defaults.keys()
    assert seen.pop("out") == Path("results") / name
    assert defaults.pop("out") is None
    for option, default in defaults.items():
        assert (seen[option], type(seen[option])) == (default, type(default)), option
