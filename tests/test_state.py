from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from tests.recording.tiny import Tiny
from thetascope.errors import StateError
from thetascope.state import ROOT_LAYER, ParameterSpace, State, TensorSpec, digest_of, unwrapped
from thetascope.state.names import PREFIXES, fit
from thetascope.state.space import SHOWN
from thetascope.testing.models import CASES, Case, ResNetBlock, TiedEmbedding, case


class Chain(nn.Module):
    """Five linear layers a, b, c, d, e."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d, self.e = (nn.Linear(1, 1) for _ in range(5))


class Rooted(nn.Module):
    """A model that holds a parameter itself."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.inner = nn.Linear(3, 3)


def layer_names(space: ParameterSpace) -> list[str]:
    return [layer.name for layer in space.layers]


# --- what a space knows of a model ------------------------------------------------------------------------


def test_names_shapes_dtypes_and_kinds() -> None:
    space = ParameterSpace.of_model(Tiny().to(torch.bfloat16))
    assert set(space.tensors) == set(Tiny().state_dict())
    assert space.tensors["first.weight"] == TensorSpec((3, 2), "bfloat16", "parameter")
    assert space.tensors["norm.running_var"] == TensorSpec((3,), "bfloat16", "buffer")
    assert space.tensors["norm.num_batches_tracked"] == TensorSpec((), "int64", "buffer")
    assert space.parameters == ("first.weight", "first.bias", "norm.weight", "norm.bias", "second.weight", "second.bias")
    assert space.buffers == ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked")
    assert space.parameter_count == 6 + 3 + 3 + 3 + 6 + 2


def test_buffers_outside_the_state_dict_are_left_out() -> None:
    model = nn.Linear(2, 2)
    model.register_buffer("kept", torch.zeros(1))
    model.register_buffer("passing", torch.zeros(1), persistent=False)
    model.register_buffer("absent", None)
    assert ParameterSpace.of_model(model).buffers == ("kept",)


@pytest.mark.parametrize(
    ("dtype", "floating"),
    [
        (torch.float16, True),
        (torch.bfloat16, True),
        (torch.float8_e5m2, True),
        (torch.complex64, True),
        (torch.int64, False),
        (torch.bool, False),
    ],
)
def test_floating_are_the_dtypes_with_points_between(dtype: torch.dtype, floating: bool) -> None:
    assert TensorSpec.of(torch.zeros(1).to(dtype)).floating is floating


def test_sizes_count_values() -> None:
    assert [TensorSpec(shape, "float32").size for shape in [(), (0, 3), (2, 3)]] == [1, 0, 6]


def test_tied_tensors_stand_once() -> None:
    model = TiedEmbedding(tokens=11, width=8)
    space = ParameterSpace.of_model(model)
    assert space.ties == {"output.weight": "embedding.weight"}
    assert "output.weight" not in space.tensors
    assert space.parameter_count == sum(p.numel() for p in model.parameters())
    assert "output" not in layer_names(space)


def test_a_module_used_twice_is_one_layer() -> None:
    shared = nn.Linear(2, 2)
    space = ParameterSpace.of_model(nn.ModuleDict({"x": shared, "y": shared}))
    assert layer_names(space) == ["x"]
    assert space.ties == {"y.weight": "x.weight", "y.bias": "x.bias"}


def test_tied_buffers_stand_once() -> None:
    model = nn.ModuleDict({"x": nn.BatchNorm1d(2), "y": nn.BatchNorm1d(2)})
    model["y"].running_mean = model["x"].running_mean
    assert ParameterSpace.of_model(model).ties == {"y.running_mean": "x.running_mean"}


def test_a_layer_holds_its_own_parameters_and_buffers() -> None:
    space = ParameterSpace.of_model(ResNetBlock())
    norm = next(layer for layer in space.layers if layer.name == "norm1")
    assert norm.type == "BatchNorm2d"
    assert norm.parameters == ("norm1.weight", "norm1.bias")
    assert norm.buffers == ("norm1.running_mean", "norm1.running_var", "norm1.num_batches_tracked")
    assert norm.called is None


@pytest.mark.parametrize("chosen", CASES, ids=lambda c: c.name)
def test_layers_own_each_parameter_once(chosen: Case) -> None:
    space = ParameterSpace.of_model(chosen.model())
    owned = [name for layer in space.layers for name in layer.parameters]
    assert sorted(owned) == sorted(space.parameters)


def test_a_parametrisations_tensors_belong_to_the_layer_they_make() -> None:
    space = ParameterSpace.of_model(nn.Sequential(weight_norm(nn.Linear(4, 5)), nn.ReLU(), nn.Linear(5, 3)))
    assert layer_names(space) == ["0", "2"]
    assert set(space.layers[0].parameters) == {
        "0.bias",
        "0.parametrizations.weight.original0",
        "0.parametrizations.weight.original1",
    }


def test_a_model_that_is_one_parametrised_layer() -> None:
    space = ParameterSpace.of_model(weight_norm(nn.Linear(4, 5)))
    assert layer_names(space) == [ROOT_LAYER]
    assert len(space.layers[0].parameters) == 3


def test_parameters_at_the_root_make_a_layer() -> None:
    space = ParameterSpace.of_model(Rooted())
    assert layer_names(space) == [ROOT_LAYER, "inner"]
    assert space.layers[0].parameters == ("scale",)
    assert space.layers[0].type == "Rooted"


def test_a_lazy_module_is_named() -> None:
    with pytest.raises(StateError, match=r'"0\.weight" is not initialised yet.*run one batch'):
        ParameterSpace.of_model(nn.Sequential(nn.LazyLinear(3)))


def test_a_lazy_buffer_is_named() -> None:
    with pytest.raises(StateError, match=r'"running_mean" is not initialised yet'):
        ParameterSpace.of_model(nn.LazyBatchNorm1d(affine=False))


# --- the order of layers ----------------------------------------------------------------------------------


def test_layers_stand_in_the_order_of_first_calls() -> None:
    space = ParameterSpace.of_model(Chain(), call_order=["", "e", "a", "d", "a", "b", "e", "c"])
    assert layer_names(space) == ["e", "a", "d", "b", "c"]
    assert all(layer.called for layer in space.layers)


def test_a_layer_that_is_not_called_follows_its_predecessor() -> None:
    space = ParameterSpace.of_model(Chain(), call_order=["d", "b"])
    assert layer_names(space) == ["a", "d", "e", "b", "c"]
    assert [layer.name for layer in space.layers if layer.called] == ["d", "b"]


def test_attentions_projection_stays_beside_it() -> None:
    order = ["embedding", "attention", "output"]  # out_proj is used by its parent, not called
    space = ParameterSpace.of_model(TiedEmbedding(), call_order=order)
    assert layer_names(space) == ["embedding", "attention", "attention.out_proj"]
    assert [layer.called for layer in space.layers] == [True, True, False]


@given(calls=st.lists(st.sampled_from("abcde")))
def test_order_law(calls: list[str]) -> None:
    """Called layers stand by first call; each other one stands right behind those it was registered after."""
    names = layer_names(ParameterSpace.of_model(Chain(), call_order=calls))
    assert sorted(names) == list("abcde")
    assert [name for name in names if name in calls] == list(dict.fromkeys(calls))
    for name in set("abcde") - set(calls):
        before = chr(ord(name) - 1)
        assert names.index(name) == (names.index(before) + 1 if name > "a" else 0)


# --- groups -----------------------------------------------------------------------------------------------


def grouped(space: ParameterSpace, selection: list[str] | Mapping[str, list[str]] | None) -> dict[str, list[str]]:
    return {label: [layer.name for layer in layers] for label, layers in space.groups(selection).items()}


BLOCK = ParameterSpace.of_model(ResNetBlock())


def test_every_layer_is_a_group_by_default() -> None:
    assert grouped(BLOCK, None) == {name: [name] for name in layer_names(BLOCK)}


def test_a_list_gives_a_group_a_layer() -> None:
    assert grouped(BLOCK, ["head", "conv*"]) == {"head": ["head"], "conv1": ["conv1"], "conv2": ["conv2"]}


def test_a_layer_matched_twice_in_a_list_stands_once() -> None:
    assert list(grouped(BLOCK, ["conv1", "*1"])) == ["conv1", "norm1"]


def test_a_mapping_moves_layers_together() -> None:
    selection = {"ends": ["stem", "head"], "block": ["conv?", "norm[12]"]}
    assert grouped(BLOCK, selection) == {"ends": ["stem", "head"], "block": ["conv1", "conv2", "norm1", "norm2"]}


def test_the_root_layer_can_be_named() -> None:
    assert grouped(ParameterSpace.of_model(Rooted()), [ROOT_LAYER]) == {ROOT_LAYER: [ROOT_LAYER]}


@pytest.mark.parametrize("selection", [["conv1", "convolution*"], {"a": ["convolution*"]}])
def test_an_unknown_name_lists_what_there_is(selection: list[str] | Mapping[str, list[str]]) -> None:
    with pytest.raises(StateError, match=r'no layer matches "convolution\*"; there are: stem, conv1, norm1, conv2, norm2, head'):
        BLOCK.groups(selection)


def test_a_layer_cannot_move_with_two_groups() -> None:
    with pytest.raises(StateError, match='layer "conv2" stands in the groups "first" and "second"'):
        BLOCK.groups({"first": ["conv*"], "second": ["*2"]})


@pytest.mark.parametrize("selection", ["conv1", {"a": "conv1"}])
def test_a_string_is_no_list_of_names(selection: str | Mapping[str, str]) -> None:
    with pytest.raises(StateError, match=r'must be a list of names or globs, got the string "conv1"'):
        BLOCK.groups(selection)


# --- comparing --------------------------------------------------------------------------------------------


@given(data=st.data())
def test_compare_lists_every_difference_at_once(data: st.DataObject) -> None:
    space = ParameterSpace.of_model(ResNetBlock())
    fate = {name: data.draw(st.sampled_from(["same", "missing", "shape", "dtype"])) for name in space.tensors}
    added = data.draw(st.sets(st.sampled_from(["x", "y.weight", "head"])))
    other = {name: spec for name, spec in space.tensors.items() if fate[name] != "missing"}
    for name, spec in list(other.items()):
        if fate[name] == "shape":
            other[name] = TensorSpec((*spec.shape, 1), spec.dtype)
        if fate[name] == "dtype":
            other[name] = TensorSpec(spec.shape, "int32" if spec.floating else "float32")
    other |= {name: TensorSpec((7,), "float32") for name in added}

    difference = space.compare(other)

    wrong = {name for name in space.tensors if fate[name] != "same"} | added
    assert difference.count == len(wrong)
    assert bool(difference) == bool(wrong)
    kinds = (difference.missing, difference.unexpected, difference.unequal)
    assert all(f'"{name}"' in " ".join(sum(kinds, ())) for name in wrong)
    shown = [len(kind) if len(kind) <= SHOWN + 1 else SHOWN for kind in kinds]  # the first of many, and how many more
    assert sum(f'"{name}"' in difference.describe() for name in set(space.tensors) | added) == sum(shown)
    assert difference.describe().count(" more") == sum(len(kind) > SHOWN + 1 for kind in kinds)


def test_a_difference_reads_as_a_clause() -> None:
    space = ParameterSpace({"a": TensorSpec((1,), "float32"), "b": TensorSpec((2, 3), "float32")})
    found = space.compare({"b": TensorSpec((3, 2), "int8"), "c": TensorSpec((), "float32")})
    assert found.describe() == 'lacks "a" [1] and has "c" [] and has "b" as int8 [3, 2] instead of float32 [2, 3]'


def test_another_floating_dtype_is_no_difference() -> None:
    space = ParameterSpace.of_model(Tiny())
    assert not space.compare(ParameterSpace.of_model(Tiny().half()).tensors)


def test_either_name_of_a_tie_will_do() -> None:
    model = TiedEmbedding()
    space = ParameterSpace.of_model(model)
    both = {name: TensorSpec.of(tensor) for name, tensor in model.state_dict().items()}
    assert {"embedding.weight", "output.weight"} <= set(both)
    for left_out in (set[str](), {"embedding.weight"}, {"output.weight"}):
        assert not space.compare({n: s for n, s in both.items() if n not in left_out})
    neither = {n: s for n, s in both.items() if n not in ("embedding.weight", "output.weight")}
    assert space.compare(neither).missing == ('"embedding.weight" [11, 8]',)


def test_an_alias_of_another_shape_is_a_difference() -> None:
    model = TiedEmbedding()
    other = {name: TensorSpec.of(tensor) for name, tensor in model.state_dict().items()}
    other["output.weight"] = TensorSpec((11, 9), "float32")
    assert ParameterSpace.of_model(model).compare(other).count == 1


# --- JSON -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", CASES, ids=lambda c: c.name)
def test_json_round_trip(chosen: Case) -> None:
    model = chosen.model()
    space = ParameterSpace.of_model(model, call_order=[name for name, _ in model.named_modules()][::-1])
    again = ParameterSpace.from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    assert list(again.tensors) == list(space.tensors)


# --- digests ----------------------------------------------------------------------------------------------

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.complex64]


@st.composite
def tensor_maps(draw: st.DrawFn) -> dict[str, Tensor]:
    names = draw(st.lists(st.text("abc.", min_size=1, max_size=4), min_size=1, max_size=4, unique=True))
    tensors = {}
    for name in names:
        dtype = draw(st.sampled_from(DTYPES))
        shape = draw(st.lists(st.integers(1, 3), max_size=3))
        size = torch.Size(shape).numel() * dtype.itemsize
        content = draw(st.binary(min_size=size, max_size=size))
        tensors[name] = torch.frombuffer(bytearray(content), dtype=dtype).reshape(shape)
    return tensors


@given(tensors=tensor_maps(), random=st.randoms(use_true_random=False))
def test_a_digest_does_not_depend_on_the_order(tensors: dict[str, Tensor], random: Random) -> None:
    names = list(tensors)
    random.shuffle(names)
    assert digest_of({name: tensors[name] for name in names}) == digest_of(tensors)


@given(tensors=tensor_maps(), data=st.data())
def test_a_digest_depends_on_every_bit(tensors: dict[str, Tensor], data: st.DataObject) -> None:
    before = digest_of(tensors)
    name = data.draw(st.sampled_from(sorted(tensors)))
    flipped = tensors[name].clone()
    content = flipped.reshape(-1).view(torch.uint8)
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    assert digest_of({**tensors, name: flipped}) != before


def test_a_digest_depends_on_names_dtypes_and_shapes() -> None:
    zeros = [
        {"a": torch.zeros(4)},
        {"b": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(4, dtype=torch.int32)},
        {"a": torch.zeros(2, dtype=torch.float64)},
        {"a": torch.zeros(2), "b": torch.zeros(2)},
        {"a": torch.zeros(4), "b": torch.zeros(0)},
    ]
    assert len({digest_of(tensors) for tensors in zeros}) == len(zeros)


def test_a_digest_is_of_values_not_of_memory() -> None:
    grid = torch.arange(6.0).reshape(2, 3)
    assert digest_of({"a": grid.t().contiguous().t()}) == digest_of({"a": grid})
    assert digest_of({"a": torch.zeros(1).expand(4)}) == digest_of({"a": torch.zeros(4)})
    assert digest_of({"a": nn.Parameter(grid)}) == digest_of({"a": grid})
    numbers = torch.tensor([1 + 2j, 3 - 1j])
    assert digest_of({"a": numbers.conj()}) == digest_of({"a": torch.tensor([1 - 2j, 3 + 1j])})
    assert digest_of({"a": numbers.conj().imag}) == digest_of({"a": torch.tensor([-2.0, 1.0])})


# --- states -----------------------------------------------------------------------------------------------


def test_a_state_is_a_mapping() -> None:
    model = Tiny()
    state = State.of(model.state_dict(), label="mine", step=3, epoch=0.5)
    assert list(state) == list(model.state_dict())
    assert len(state) == 9
    assert "norm.bias" in state
    assert "nothing" not in state
    assert torch.equal(state["first.weight"], model.first.weight)
    assert not state["first.weight"].requires_grad
    assert repr(state) == "State(mine, step=3, 9 tensors, 30 values)"
    assert set(state.tensors(["norm.bias", "first.bias"])) == {"norm.bias", "first.bias"}


def test_a_state_of_a_state_is_itself() -> None:
    state = State.of({"a": torch.zeros(1)})
    assert State.of(state) is state
    assert state == state
    assert state != State.of({"a": torch.zeros(1)})


def test_an_unknown_name_says_what_there_is_in_the_state() -> None:
    with pytest.raises(KeyError, match=r'no tensor "c" in state 3; there are: a, b'):
        State.of({"a": torch.zeros(1), "b": torch.zeros(1)}, label="state 3")["c"]


def test_a_state_holds_only_tensors() -> None:
    with pytest.raises(StateError, match=r'"epoch" is a int\. Pass model\.state_dict\(\)'):
        State.of({"a": torch.zeros(1), "epoch": 3})  # type: ignore[dict-item]


def test_renaming_keeps_everything_else() -> None:
    state = State.of({"module.a": torch.ones(2), "module.b": torch.zeros(1)}, label="mine", step=3, epoch=1.0)
    state.metrics = {"loss": 0.5}
    renamed = state.renamed({"a": "module.a"}, {"a": TensorSpec((2,), "float32", "parameter")})
    assert list(renamed) == ["a"]
    assert torch.equal(renamed["a"], torch.ones(2))
    assert renamed.specs["a"].kind == "parameter"
    assert (renamed.label, renamed.step, renamed.epoch, renamed.metrics) == ("mine", 3, 1.0, {"loss": 0.5})


class _Ones:
    """A source of ones that counts how often it is read."""

    specs: Mapping[str, TensorSpec] = {name: TensorSpec((1,), "float32") for name in "ab"}

    def __init__(self) -> None:
        self.reads = 0

    def read(self, names: list[str]) -> dict[str, Tensor]:
        self.reads += 1
        return {name: torch.ones(1) for name in names}

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        return torch.ones(1)[start:stop]


def altered_state() -> State:
    return State(_Ones(), label="step 3", expected_digest=digest_of({"a": torch.zeros(1), "b": torch.zeros(1)}))  # type: ignore[arg-type]


def test_values_that_were_altered_are_an_error() -> None:
    with pytest.raises(StateError, match="step 3 does not hold what was recorded"):
        altered_state().digest()


def test_a_state_bound_to_a_model_still_knows_its_digest() -> None:
    bound = altered_state().renamed({"b": "b", "a": "a"}, {"a": TensorSpec((1,), "float32", "parameter")})
    with pytest.raises(StateError, match="step 3 does not hold what was recorded"):
        bound.digest()


@pytest.mark.parametrize("read", [lambda s: s["a"], lambda s: s.tensors(["a"]), lambda s: s.piece("a", 0, 1), dict])
def test_altered_values_are_never_handed_out(read: Callable[[State], object]) -> None:
    for state in (altered_state(), altered_state().renamed({"a": "a"}), altered_state().renamed({"a": "a"}).renamed({"a": "a"})):
        for _ in range(2):
            with pytest.raises(StateError, match="step 3 does not hold what was recorded"):
                read(state)


def test_a_digest_reads_everything_at_once() -> None:
    """Some files must be opened and parsed anew for each reading."""
    source = _Ones()
    State(source).digest()  # type: ignore[arg-type]
    assert source.reads == 1


# --- wrappers ---------------------------------------------------------------------------------------------


def test_wrappers_are_looked_through_however_nested() -> None:
    model = Tiny()
    assert unwrapped(model) is model
    assert unwrapped(nn.DataParallel(model)) is model
    compiled = torch.compile(model, backend="eager")
    assert isinstance(compiled, nn.Module)
    assert unwrapped(compiled) is model
    assert unwrapped(nn.DataParallel(compiled)) is model
    nested = torch.compile(nn.DataParallel(nn.DataParallel(model)), backend="eager")
    assert isinstance(nested, nn.Module)
    assert unwrapped(nested) is model


def test_a_models_own_module_attribute_is_no_wrapper() -> None:
    model = nn.Module()
    model.module = nn.Linear(1, 1)
    assert unwrapped(model) is model


def test_a_case_with_a_wrapper_has_the_names_of_what_is_inside() -> None:
    wrapped = case("DataParallel").model()
    assert set(ParameterSpace.of_model(unwrapped(wrapped)).tensors) == set(ParameterSpace.of_model(case("linear").model()).tensors)


names = st.lists(st.sampled_from(["weight", "net.weight", "net.bias", "head.scale"]), min_size=1, unique=True)


@given(names=names, prefixes=st.lists(st.sampled_from(PREFIXES), max_size=3, unique=True), compiled=st.booleans())
def test_wrapped_names_are_mapped_to_those_of_the_space(names: list[str], prefixes: list[str], compiled: bool) -> None:
    space = ParameterSpace.of_tensors({name: torch.zeros(1) for name in names})
    present = {"".join(prefixes) + (name.replace("net.", "net._orig_mod.") if compiled else name): name for name in names}
    found = fit(ParameterSpace.of_tensors({name: torch.zeros(1) for name in present}).tensors, space).names
    assert found == {name: old for old, name in present.items()}


def test_names_are_left_alone_where_leaving_out_does_not_help() -> None:
    space = ParameterSpace.of_tensors({"module.a": torch.zeros(1), "b": torch.zeros(1)})
    assert fit(space.tensors, space).names == {"module.a": "module.a", "b": "b"}
    other = ParameterSpace.of_tensors({"module.x": torch.zeros(1)})
    assert fit(other.tensors, space).names == {"module.x": "module.x"}
