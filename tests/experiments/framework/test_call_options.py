"""The key of a call, and what its options are, from the signature alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import thetascope as ts
from thetascope.errors import UsageError
from thetascope.experiments.framework.call_options import argument_texts, canonical, key_of, options_of, subjects_of
from thetascope.experiments.framework.catalog import experiments
from thetascope.experiments.framework.declaration import Call, Declaration, Entry, command_line
from thetascope.testing.models import case


@pytest.mark.parametrize(
    ("name", "options", "key"),
    [
        ("interpolate", {}, "interpolate"),
        ("interpolate", {"kind": "linear", "alphas": 41.0, "layers": None}, "interpolate"),
        ("interpolate", {"level": "layer", "kind": "quadratic"}, "interpolate-quadratic-layer"),
        ("interpolate", {"kind": 3}, "interpolate-kind=3"),
        ("interpolate", {"alphas": np.int64(11)}, "interpolate-alphas=11"),
        ("layer_roles", {"draws": 10, "threshold": 0.1}, "layer_roles-draws=10-threshold=0.1"),
        ("interpolate", {"level": "layer", "layers": "blocks"}, "interpolate-layer-layers=blocks"),
        ("layer_roles", {"layers": "trainable"}, "layer_roles-layers=trainable"),
        ("surface", {"directions": "pca", "normalize": None}, "surface-pca-normalize=None"),
        ("surface", {"orthogonal": True, "x": [-1, 1, 51]}, "surface-orthogonal=True"),
        ("surface", {"tolerance": 0.01}, "surface-tolerance=0.01"),
        ("study_test_size", {"tolerance": 1e-05}, "study_test_size-tolerance=1e-05"),
    ],
)
def test_a_key_names_what_differs_in_the_order_of_the_signature(name: str, options: dict[str, Any], key: str) -> None:
    assert Call(experiments()[name], options).key == key


def test_what_is_no_short_scalar_is_named_by_its_hash() -> None:
    def key(alphas: Any) -> str:
        return key_of(ts.interpolate, {"alphas": alphas})

    name, _, digits = key([0.0, 0.5, 1.0]).partition("alphas=")
    assert name == "interpolate-"
    assert len(digits) == 8
    assert int(digits, 16) >= 0
    assert key([0.0, 0.5, 1.0]) == key(np.array([0, 0.5, 1])) == key(torch.tensor([0.0, 0.5, 1.0])) == key((0, 0.5, 1))
    assert key([0.0, 0.5, 1.0]) != key([0.0, 0.5, 1.5])


def test_states_and_directions_are_known_by_their_values() -> None:
    first, other = case("linear").states(2)

    def key(state: Any) -> str:
        return key_of(ts.surface, {"through": [state]})

    assert key(first) == key({name: tensor.clone() for name, tensor in first.items()}) != key(other)
    assert canonical(ts.State.of(first)) == canonical(first)


def test_other_characters_are_escaped() -> None:
    assert key_of(ts.surface, {"directions": "my file.py:f/ü"}) == "surface-directions=my%20file.py%3Af%2F%C3%BC"


def test_how_a_call_runs_is_no_part_of_its_key() -> None:
    assert key_of(ts.interpolate, {"out": "x", "engine": "eager", "progress": False}) == "interpolate"
    for experiment in experiments().values():
        assert {"out", "engine", "progress"}.isdisjoint(options_of(experiment.function))


def test_an_experiment_about_something_unknown_is_refused() -> None:
    def weights(network: Any, scale: float = 1.0) -> Any: ...

    with pytest.raises(UsageError, match="weights takes network without a default; it is about one or more of objective, "):
        Declaration(weights, entries=(Entry(1),), examples=())
    with pytest.raises(UsageError, match="interpolate has no entry"):
        Declaration(ts.interpolate, entries=(), examples=())


@pytest.mark.parametrize("name", experiments())
def test_every_argument_is_told_of_in_the_docstring(name: str) -> None:
    function = experiments()[name].function
    told = argument_texts(function)
    how = ("out", "engine", "progress") if experiments()[name].scores else ("out", "progress")
    assert [argument for argument in (*subjects_of(function), *options_of(function), *how) if not told.get(argument)] == []


def test_a_command_line_makes_the_call_again() -> None:
    surface = experiments()["surface"]
    options = {"x": [-1, 1, 31], "orthogonal": True, "normalize": None, "unknown; rm -rf": 1}
    assert command_line(surface, options, "runs/mine", "a b.py:f") == (
        "thetascope surface runs/mine --objective 'a b.py:f' --normalize none --orthogonal --x -1 1 31"
    )
    assert (
        command_line(experiments()["study_epochs"], {"epochs": 3}, "runs/mine")
        == "thetascope study-epochs runs/mine --training SPEC --epochs 3"
    )


def _typed_layers(given: list[str], *names: str) -> Any:
    """What a command makes of the words after --layers, on a run whose states hold the tensors `names`."""
    trajectory = ts.Trajectory.from_states([{name: torch.zeros(1) for name in names}])
    return options_of(ts.interpolate)["layers"].typed.read(given, trajectory)


@pytest.mark.parametrize("word", ["blocks", "trainable"])
def test_a_word_for_layers_is_typed_as_it_is(word: str) -> None:
    assert _typed_layers([word], "first.weight", f"{word}.0.weight", f"deep.{word}.weight") == word
    assert options_of(ts.interpolate)["layers"].typed.read([word], None) == word
    assert command_line(experiments()["interpolate"], {"level": "layer", "layers": word}, "runs/mine").endswith(f"--layers {word}")


@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
@pytest.mark.parametrize("word", ["blocks", "trainable"])
def test_a_layer_that_is_called_so_is_meant_by_its_name(word: str, prefix: str) -> None:
    assert _typed_layers([word], f"{prefix}first.weight", f"{prefix}{word}.weight") == [word]
    assert _typed_layers([word], f"{prefix}{word}.parametrizations.weight.original0", f"{prefix}first.weight") == [word]


@pytest.mark.parametrize("given", [["blocks", "first"], ["first"], ["block*"]])
def test_other_words_are_names_of_layers(given: list[str]) -> None:
    assert _typed_layers(given, "first.weight") == given
