"""Blocks: what a model repeats, and what layers= makes of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise, permutations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from thetascope.errors import StateError
from thetascope.state import ParameterSpace
from thetascope.testing.models import CASES, Case, case

ENCODER = ["linear1", "linear2", "norm1", "norm2", "self_attn", "self_attn.out_proj"]


class Residual(nn.Module):
    """Two layers, and a third where the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(inputs, outputs), nn.Linear(outputs, outputs)
        self.down = nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs)) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.down(x) + self.second(self.first(x).relu())  # type: ignore[no-any-return]


class Local(Residual):
    """Another class that holds the same names."""


class Deep(nn.Module):
    """Whatever parts, called as they are given; `scale` is a parameter of the model's own."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        for name, part in parts.items():
            setattr(self, name, part)


def network(kind: str, **options: Any) -> nn.Module:
    """One of the networks that are measured on."""
    if "benchmark_networks" not in sys.modules:
        spec = spec_from_file_location("benchmark_networks", Path(__file__).parent.parent / "benchmarks" / "_networks.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules["benchmark_networks"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["benchmark_networks"])
    networks: ModuleType = sys.modules["benchmark_networks"]
    made: nn.Module = getattr(networks, kind)(**options)
    return made


def labels(model: nn.Module) -> list[str]:
    return list(ParameterSpace.of_model(model).blocks)


def layers_in(model: nn.Module) -> dict[str, list[str]]:
    return {label: [layer.name for layer in layers] for label, layers in ParameterSpace.of_model(model).blocks.items()}


# --- which modules are blocks -----------------------------------------------------------------------------


def test_the_blocks_of_a_resnet_are_those_of_its_stages() -> None:
    stages = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1, 2)]
    model = network("CifarResNet", blocks=3)
    assert labels(model) == ["conv1", "bn1", *stages, "linear"]
    assert layers_in(model)["layer2.0"] == [f"layer2.0.{name}" for name in ("conv1", "bn1", "conv2", "bn2")]


def test_blocks_with_and_without_a_downsample_are_of_one_class() -> None:
    model = Deep(stem=nn.Linear(4, 2), body=nn.Sequential(Residual(2, 2), Residual(2, 3), Residual(3, 3)))
    assert labels(model) == ["(root)", "stem", "body.0", "body.1", "body.2"]
    assert layers_in(model)["body.1"] == ["body.1.first", "body.1.second", "body.1.down.0", "body.1.down.1"]


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("GptLike", ["words", "places"], ["norm"]),
        ("BertLike", ["words", "places", "norm"], ["head"]),
        ("ViT", ["(root)", "patches"], ["norm", "head"]),
    ],
)
@pytest.mark.parametrize("depth", [1, 3])
def test_the_blocks_of_a_transformer(kind: str, before: list[str], after: list[str], depth: int) -> None:
    found = layers_in(network(kind, width=12, depth=depth, **({"heads": 2} if kind == "ViT" else {"tokens": 11})))
    assert sorted(found) == sorted([*before, *(f"blocks.{i}" for i in range(depth)), *after])
    for i in range(depth):
        assert sorted(found[f"blocks.{i}"]) == sorted(f"blocks.{i}.{n}" for n in ("norm1", "norm2", "qkv", "out", "mlp.0", "mlp.2"))


def test_the_blocks_of_torch_s_own_encoder() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2), 2, enable_nested_tensor=False)
    found = layers_in(nn.Sequential(nn.Embedding(5, 8), encoder, nn.Linear(8, 5)))
    assert list(found) == ["0", "1.layers.0", "1.layers.1", "2"]
    assert sorted(found["1.layers.1"]) == [f"1.layers.1.{name}" for name in ENCODER]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ("gpt2", ["transformer.wte", "transformer.wpe", "transformer.h.0", "transformer.h.1", "transformer.ln_f"]),
        ("bert", [*(f"bert.embeddings.{n}" for n in ("word_embeddings", "position_embeddings", "token_type_embeddings", "LayerNorm")),
                  "bert.encoder.layer.0", "bert.encoder.layer.1", "bert.pooler.dense", "classifier"]),
    ],
)  # fmt: skip
def test_the_blocks_of_hugging_face_s_models(made: str, expected: list[str]) -> None:
    transformers: Any = pytest.importorskip("transformers")
    small = {"vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    if made == "gpt2":
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**small, n_positions=8, bos_token_id=0, eos_token_id=0))
    else:
        model = transformers.BertForSequenceClassification(transformers.BertConfig(**small, intermediate_size=8))
    assert labels(model) == expected


SAME: dict[str, Callable[[], nn.Module]] = {
    "layers of one class": lambda: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)),
    "layers with functions between": lambda: nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.Dropout()),
    "layers of several classes": lambda: nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2)),
    "modules that are not alike": lambda: nn.Sequential(nn.Linear(2, 2), Residual(2, 2), Residual(2, 2), nn.Linear(2, 2)),
    "a list of layers": lambda: Deep(layers=nn.ModuleList(nn.Linear(2, 2) for _ in range(3))),
    "no container": lambda: Deep(first=Residual(2, 2), second=Residual(2, 2)),
    "a mapping": lambda: Deep(parts=nn.ModuleDict({"a": Residual(2, 2), "b": Residual(2, 2)})),
    "a wrapped model": lambda: nn.Sequential(nn.Identity(), Deep(first=nn.Linear(2, 2), second=nn.Linear(2, 2))),
    "one layer": lambda: nn.Linear(2, 2),
    "no parameters": nn.ReLU,
}


@pytest.mark.parametrize("kind", SAME)
def test_without_blocks_they_are_the_layers(kind: str) -> None:
    space = ParameterSpace.of_model(SAME[kind]())
    assert space.blocks == {layer.name: (layer,) for layer in space.layers}


@pytest.mark.parametrize("kind", ["LeNet", "linear", "old weight_norm", "LSTM"])
def test_plain_models_have_no_blocks(kind: str) -> None:
    assert ParameterSpace.of_model(case(kind).model()).repeated == ()


def stage(*widths: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(i, o) for i, o in pairwise(widths)))


NESTED: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "stages of blocks": (lambda: nn.Sequential(stage(2, 2, 3), stage(3, 3, 4)), ["0.0", "0.1", "1.0", "1.1"]),
    "stages within a list": (lambda: Deep(stages=nn.ModuleList([stage(2, 2), stage(2, 3)])), ["(root)", "stages.0.0", "stages.1.0"]),
    "stages of stages": (
        lambda: nn.Sequential(nn.Sequential(stage(2, 2), stage(2, 2)), nn.Sequential(stage(2, 2))),
        ["0.0.0", "0.1.0", "1.0.0"],
    ),
    "stages between other parts": (
        lambda: nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), stage(2, 2), stage(2, 3)),
        ["0.0", "0.2", "1.0", "2.0"],
    ),
    "small stacks of layers": (
        lambda: nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)) for _ in range(2)),
        ["0", "1"],
    ),
    "stacks that hold no layers alone": (
        lambda: nn.ModuleList(nn.Sequential(nn.Linear(2, 2), Deep(experts=nn.ModuleList(Residual(2, 2) for _ in range(2)))) for _ in "ab"),
        ["0", "1"],
    ),
    "blocks of one class that hold lists": (
        lambda: nn.ModuleList(Deep(experts=nn.ModuleList([Residual(2, 2), Residual(2, 2)])) for _ in range(2)),
        ["0", "1"],
    ),
    "an only child that holds blocks": (
        lambda: nn.Sequential(Deep(body=nn.Sequential(Residual(2, 2), Residual(2, 2))), nn.ReLU()),
        ["0", "0.body.0", "0.body.1"],
    ),
    "an only child that holds blocks, beside a head": (
        lambda: Deep(net=nn.Sequential(Deep(body=stage(2, 2, 2))), head=nn.Linear(2, 2)),
        ["(root)", "net.0", "net.0.body.0", "net.0.body.1", "head"],
    ),
    "other classes with the same names": (lambda: nn.ModuleList([Residual(2, 2), Local(2, 2)]), ["0", "1"]),
    "other classes with other names": (
        lambda: nn.ModuleList([Residual(2, 2), Local(2, 3)]),
        ["0.first", "0.second", "1.first", "1.second", "1.down.0", "1.down.1"],
    ),
    "blocks with a parameter of their own": (lambda: nn.ModuleList(Deep(inner=nn.Linear(2, 2)) for _ in range(2)), ["0", "1"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", NESTED)
def test_of_containers_in_one_another_the_stages_make_way(kind: str) -> None:
    build, expected = NESTED[kind]
    assert labels(build()) == expected


def test_what_holds_no_parameters_may_stand_between_blocks() -> None:
    assert labels(Deep(body=nn.Sequential(nn.Identity(), Residual(2, 2), nn.Dropout(), Residual(2, 2)))) == ["(root)", "body.1", "body.3"]


def test_a_module_whose_layers_are_all_another_s_is_no_block() -> None:
    first, second = Residual(2, 2), Residual(2, 2)
    for one, other in ((first.first, second.first), (first.second, second.second)):
        other.weight, other.bias = one.weight, one.bias
    assert ParameterSpace.of_model(Deep(body=nn.ModuleList([first, second]))).repeated == ("body.0",)


def test_a_mixture_s_experts_are_blocks_where_each_level_is_a_list() -> None:
    found = labels(network("Experts", width=4, experts=2, depth=2))
    assert found == ["stem", "head", "gates.0", "gates.1", "experts.0.0", "experts.0.1", "experts.1.0", "experts.1.1"]


def test_a_block_that_is_used_again_stands_once() -> None:
    shared = Residual(2, 2)
    assert labels(Deep(body=nn.ModuleList([shared, Residual(2, 2), shared]))) == ["(root)", "body.0", "body.1"]


def test_a_tied_tensor_lies_in_the_block_that_registers_it_first() -> None:
    first, second = Residual(2, 2), Residual(2, 2)
    second.first.weight = first.first.weight
    second.first.bias = first.first.bias
    found = layers_in(Deep(body=nn.ModuleList([first, second])))
    assert found["body.0"] == ["body.0.first", "body.0.second"]
    assert found["body.1"] == ["body.1.second"]


def test_blocks_stand_in_the_order_of_the_forward_pass() -> None:
    model = Deep(head=nn.Linear(2, 2), body=stage(2, 2, 2))
    order = ["body.1.first", "body.0.first", "body.0.second", "head"]
    assert list(ParameterSpace.of_model(model, order).blocks) == ["(root)", "body.1", "body.0", "head"]


@pytest.mark.parametrize("chosen", CASES, ids=lambda c: c.name)
def test_every_layer_lies_in_one_block(chosen: Case) -> None:
    space = ParameterSpace.of_model(chosen.model())
    held = [layer for layers in space.blocks.values() for layer in layers]
    assert sorted(held, key=lambda layer: layer.name) == sorted(space.layers, key=lambda layer: layer.name)
    assert all(space.block_of(layer.name) == label for label, layers in space.blocks.items() for layer in layers)


def test_no_block_lies_in_another() -> None:
    for build, _ in NESTED.values():
        names = ParameterSpace.of_model(build()).repeated
        assert not [pair for pair in permutations(names, 2) if pair[0].startswith(f"{pair[1]}.")]


# --- JSON -------------------------------------------------------------------------------------------------


def test_blocks_go_through_json() -> None:
    space = ParameterSpace.of_model(network("CifarResNet", blocks=1))
    again = ParameterSpace.from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    assert list(again.blocks) == list(space.blocks) == ["conv1", "bn1", "layer1.0", "layer2.0", "layer3.0", "linear"]


def test_a_space_that_an_earlier_version_wrote_has_layers_for_blocks() -> None:
    content = ParameterSpace.of_model(network("CifarResNet", blocks=1)).to_json()
    del content["repeated"]
    old = ParameterSpace.from_json(content)
    assert list(old.blocks) == [layer.name for layer in old.layers]


# --- as groups --------------------------------------------------------------------------------------------


def test_the_word_blocks_gives_a_group_a_block() -> None:
    space = ParameterSpace.of_model(Deep(stem=nn.Linear(4, 2), body=stage(2, 2, 2)))
    assert space.groups("blocks") == space.blocks
    assert [len(group) for group in space.groups("blocks").values()] == [1, 1, 2, 2]


def test_the_word_trainable_leaves_layers_out_that_are_frozen() -> None:
    space = ParameterSpace.of_model(case("linear").model())
    assert list(space.groups("trainable", frozen=["0.weight", "0.bias"])) == ["2"]
    assert list(space.groups("trainable", frozen=["0.weight"])) == ["0", "2"]
    assert list(space.groups("trainable", frozen=())) == ["0", "2"]


def test_what_holds_no_floating_parameter_is_not_trainable() -> None:
    model = Deep(codes=nn.Module(), head=nn.Linear(2, 2))
    codes = nn.Parameter(torch.zeros(3, dtype=torch.uint8), requires_grad=False)
    model.get_submodule("codes").register_parameter("codes", codes)
    assert list(ParameterSpace.of_model(model).groups("trainable", frozen=["scale"])) == ["head"]


@pytest.mark.parametrize(
    ("selection", "frozen", "told"),
    [
        ("trainable", ["0.weight", "0.bias", "2.weight", "2.bias"], "chooses no layer, for all parameters are frozen"),
        ("trainable", None, "needs to know what is frozen"),
        ("block", (), r'got the string "block": write \["block"\], or one of the words "blocks" and "trainable"'),
        (["blocks"], (), 'no layer matches "blocks"; there are: 0, 2'),
        ({"blocks": "blocks"}, (), r'got the string "blocks": write \["blocks"\]$'),
    ],
)
def test_other_strings_are_errors(selection: Any, frozen: Any, told: str) -> None:
    with pytest.raises(StateError, match=told):
        ParameterSpace.of_model(case("linear").model()).groups(selection, frozen)


@pytest.mark.parametrize("word", ["blocks", "trainable"])
def test_a_model_without_parameters_has_neither(word: str) -> None:
    with pytest.raises(StateError, match="the model has no parameters"):
        ParameterSpace.of_model(nn.ReLU()).groups(word, frozen=())
