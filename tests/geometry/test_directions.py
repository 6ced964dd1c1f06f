from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from thetascope.errors import GeometryError
from thetascope.geometry import directions
from thetascope.geometry.directions import Units, combined_direction, cosine, norm, own_direction, random_directions
from thetascope.state import State
from thetascope.testing.models import case

PINNED = [
    [-1.5956453084945679, -1.9860085248947144, -1.3423984050750732, -1.2823752164840698],
    [-0.7953805327415466, 0.3358635902404785, -1.5040801763534546, 1.2962403297424316],
]


def center(seed: int = 0) -> State:
    return State.of(case("LeNet").states(seed + 1)[seed])


def filters(tensor: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(tensor.double().reshape(len(tensor), -1), dim=1)
    return norms


@pytest.mark.parametrize("orthogonal", [False, True])
def test_filter_norms_equal_the_weights(orthogonal: bool) -> None:
    state = center()
    for direction in random_directions(state, list(state), normalize="filter", orthogonal=orthogonal, seed=3):
        for name, tensor in direction.items():
            torch.testing.assert_close(filters(tensor), filters(state[name]), rtol=1e-6, atol=0)


def test_layer_norms_equal_the_weights_tensor_by_tensor() -> None:
    state = center()
    (one, _) = random_directions(state, list(state), normalize="layer", orthogonal=False, seed=3)
    for name, tensor in one.items():
        assert tensor.norm().item() == pytest.approx(state[name].norm().item(), rel=1e-5)
        assert not torch.allclose(filters(tensor), filters(state[name]), rtol=1e-3)


@pytest.mark.parametrize("normalize", ["filter", "layer"])
def test_biases_stay(normalize: str) -> None:
    state = center()
    (one, other) = random_directions(state, list(state), normalize=normalize, orthogonal=False, seed=0)  # type: ignore[arg-type]
    assert set(one) == set(other) == {name for name in state if name.endswith("weight")}


def test_without_normalisation_everything_moves_by_normal_draws() -> None:
    state = center()
    (one, _) = random_directions(state, list(state), normalize=None, orthogonal=False, seed=0)
    assert set(one) == set(state)
    values = torch.cat([tensor.reshape(-1) for tensor in one.tensors().values()]).double()
    assert values.mean().abs() < 4 / math.sqrt(len(values))
    assert values.std().item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("normalize", ["filter", "layer", None])
def test_orthogonal_on_request(normalize: str | None) -> None:
    state = center()
    pair = random_directions(state, list(state), normalize=normalize, orthogonal=True, seed=1)  # type: ignore[arg-type]
    assert abs(cosine(*pair)) < 1e-6
    free = random_directions(state, list(state), normalize=normalize, orthogonal=False, seed=1)  # type: ignore[arg-type]
    assert abs(cosine(*free)) > 1e-5


def test_filters_of_one_weight_stay_in_an_orthogonal_second_direction() -> None:
    state = State.of({"weight": torch.randn(4, 1), "other": torch.randn(3, 5)})
    one, other = random_directions(state, list(state), normalize="filter", orthogonal=True, seed=0)
    assert other["weight"].count_nonzero() == 0
    torch.testing.assert_close(filters(one["weight"]), filters(state["weight"]))
    assert abs(directions.products(one, other)[2]) < 1e-6


def test_the_mean_cosine_of_random_directions_is_what_the_dimension_says() -> None:
    state = State.of({"weight": torch.ones(100, 5)})
    cosines = [abs(cosine(*random_directions(state, ["weight"], normalize=None, orthogonal=False, seed=seed))) for seed in range(400)]
    expected = math.sqrt(2 / (math.pi * 500))
    spread = math.sqrt((1 / 500 - expected**2) / 400)
    assert abs(np.mean(cosines) - expected) < 4 * spread


def test_the_same_seed_gives_the_same_direction_again_and_another_another() -> None:
    state = center()
    first, second = (random_directions(state, list(state), normalize="filter", orthogonal=True, seed=7) for _ in range(2))
    assert [d.digest() for d in first] == [d.digest() for d in second]
    assert first[0].digest() != first[1].digest()
    assert random_directions(state, list(state), normalize="filter", orthogonal=True, seed=8)[0].digest() != first[0].digest()


def test_draws_do_not_depend_on_other_tensors_nor_on_the_global_random_state() -> None:
    state = center()
    whole = random_directions(state, list(state), normalize="filter", orthogonal=False, seed=0)[0]
    before = torch.get_rng_state()
    alone = random_directions(state, ["fc1.weight"], normalize="filter", orthogonal=False, seed=0)[0]
    assert torch.equal(alone["fc1.weight"], whole["fc1.weight"])
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_are_pinned_so_that_every_machine_makes_the_same() -> None:
    state = State.of({"weight": torch.ones(2, 2, dtype=torch.float64)})
    one, other = random_directions(state, ["weight"], normalize=None, orthogonal=False, seed=0)
    assert one["weight"].reshape(-1).tolist() == pytest.approx(PINNED[0], rel=1e-12)
    assert other["weight"].reshape(-1).tolist() == pytest.approx(PINNED[1], rel=1e-12)


def test_a_tensor_of_several_pieces_is_one_stream_with_the_right_norms() -> None:
    state = State.of({"weight": torch.randn(3, 2**20, generator=torch.Generator().manual_seed(0))})
    one, other = random_directions(state, ["weight"], normalize="filter", orthogonal=True, seed=0)
    torch.testing.assert_close(filters(one["weight"]), filters(state["weight"]), rtol=1e-6, atol=0)
    assert abs(cosine(one, other)) < 1e-6
    assert one["weight"][0, :8].tolist() != one["weight"][1, :8].tolist()


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.parametrize(
    ("normalize", "units"),
    [("filter", None), ("filter", Units((7, 30), (1,))), ("filter", Units((7, 3, 10), (0, 2))), ("layer", None), (None, None)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_any_part_of_a_tensor_is_drawn_alone(
    normalize: Any, units: Units | None, orthogonal: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directions, "PIECE", 50)
    monkeypatch.setattr(directions, "BLOCK", 16)
    state = State.of({"weight": torch.randn(7, 30, generator=torch.Generator().manual_seed(0)).to(dtype)})
    given: Any = {"normalize": normalize, "orthogonal": orthogonal, "seed": 5, "units": {"weight": units} if units else None}
    whole = [direction["weight"].reshape(-1) for direction in random_directions(state, ["weight"], **given)]
    for start, stop in ((0, 210), (0, 1), (209, 210), (29, 31), (60, 90), (17, 133)):
        for direction, values in zip(random_directions(state, ["weight"], **given), whole, strict=True):
            assert torch.equal(direction.piece("weight", start, stop), values[start:stop])


@pytest.mark.parametrize("dims", [(0,), (1,)])
def test_units_along_another_dimension_have_the_lengths_of_the_weights(dims: tuple[int]) -> None:
    weight = torch.randn(6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    units = {"weight": Units((6, 9), dims)}
    one, other = random_directions(State.of({"weight": weight}), ["weight"], normalize="filter", orthogonal=True, seed=0, units=units)
    along = 1 - dims[0]
    for direction in (one, other):
        torch.testing.assert_close(direction["weight"].norm(dim=along), weight.norm(dim=along), rtol=1e-12, atol=0)
    assert (one["weight"] * other["weight"]).sum(along).abs().max() < 1e-12


def test_what_decides_a_direction_is_known_without_drawing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    with monkeypatch.context() as without:
        without.setattr(directions, "_block", None)
        for seed in (0, 1):
            for normalize in ("filter", "layer", None):
                pair = random_directions(center(), list(center()), normalize=normalize, orthogonal=True, seed=seed)
                found |= {direction.digest() for direction in pair}
        found.add(random_directions(center(1), list(center()), normalize="filter", orthogonal=True, seed=0)[0].digest())
    assert len(found) == 13


def test_lengths_of_units_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    state, drawn, draw = center(), list[int](), directions._block.__wrapped__

    def noted(key: int, number: int, count: int) -> Any:
        drawn.append(count)
        return draw(key, number, count)

    monkeypatch.setattr(directions, "_block", noted)
    one, other = random_directions(state, list(state), normalize="filter", orthogonal=True, seed=0)
    moving = sum(spec.size for spec in one.specs.values())
    one.tensors()
    assert sum(drawn) == 3 * moving  # both for the lengths, then the first
    other.tensors()
    assert sum(drawn) == 5 * moving


def test_the_distance_of_states_is_that_of_their_values_in_double_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directions, "PIECE", 3)
    one, other = ({"a": torch.randn(4, 2), "b": torch.randn(3, dtype=torch.complex64), "c": torch.randn(1)} for _ in range(2))
    expected = math.sqrt(sum(float((one[n].to(torch.complex128) - other[n].to(torch.complex128)).abs().square().sum()) for n in ("a", "b")))
    assert directions.distance(State.of(one), State.of(other), ["a", "b"]) == pytest.approx(expected, rel=1e-12)


def test_products_of_directions_that_hold_other_names() -> None:
    one = State.of({"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([2.0])})
    other = State.of({"b": torch.tensor([5.0]), "c": torch.tensor([1.0])})
    assert directions.products(one, other) == (29.0, 26.0, 10.0)
    assert cosine(one, other) == pytest.approx(10 / math.sqrt(29 * 26))


def test_relu_rescaling_scales_the_direction_alike() -> None:
    state = center()
    scaled = dict(state.tensors())
    scaled["fc1.weight"], scaled["fc1.bias"], scaled["fc2.weight"] = state["fc1.weight"] * 4, state["fc1.bias"] * 4, state["fc2.weight"] / 4
    for orthogonal in (False, True):
        plain = random_directions(state, list(state), normalize="filter", orthogonal=orthogonal, seed=0)
        again = random_directions(State.of(scaled), list(state), normalize="filter", orthogonal=orthogonal, seed=0)
        for one, other in zip(plain, again, strict=True):
            torch.testing.assert_close(other["fc1.weight"], one["fc1.weight"] * 4)
            torch.testing.assert_close(other["fc2.weight"], one["fc2.weight"] / 4)
            torch.testing.assert_close(other["conv1.weight"], one["conv1.weight"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.complex64])
def test_other_dtypes(dtype: torch.dtype) -> None:
    state = State.of({"weight": torch.ones(4, 6, dtype=dtype) * 2, "count": torch.tensor(3)})
    one, other = random_directions(state, list(state), normalize="filter", orthogonal=True, seed=0)
    assert set(one) == {"weight"}
    assert one["weight"].dtype == dtype
    assert norm(one) == pytest.approx(norm(State.of({"weight": state["weight"]})), rel=1e-2)
    assert abs(cosine(one, other)) < 1e-2


def test_what_cannot_be_drawn_says_why() -> None:
    with pytest.raises(GeometryError, match='"filter", "layer" or None'):
        random_directions(center(), ["fc1.weight"], normalize="filters", orthogonal=False, seed=0)  # type: ignore[arg-type]
    with pytest.raises(GeometryError, match="choose normalize=None"):
        random_directions(center(), ["fc1.bias"], normalize="filter", orthogonal=False, seed=0)
    with pytest.raises(GeometryError, match="no floating parameters"):
        random_directions(State.of({"count": torch.tensor(1)}), ["count"], normalize=None, orthogonal=False, seed=0)


def test_combinations_of_states() -> None:
    states = [State.of({"a": torch.full((3, 2), float(i)), "b": torch.tensor(float(i) ** 2)}) for i in range(3)]
    found = combined_direction(states, (1.0, 0.0, -2.0), ["a", "b"], "way")
    assert found["a"].tolist() == [[-4.0, -4.0]] * 3
    assert found["b"].item() == -8.0
    assert found.piece("a", 1, 3).tolist() == [-4.0, -4.0]
    assert norm(found) == pytest.approx(math.sqrt(6 * 16 + 64))


class TestOwn:
    def test_is_used_as_given_with_names_left_out(self) -> None:
        given = {"fc1.bias": torch.ones(120)}
        assert torch.equal(own_direction(given, center(), list(center()), "direction 1")["fc1.bias"], torch.ones(120))

    def test_all_that_does_not_fit_is_listed(self) -> None:
        given = {"fc1.bias": torch.ones(119), "fc9": torch.ones(1)}
        with pytest.raises(GeometryError, match=r'"fc1.bias" is \[119\], the model\'s is \[120\]; "fc9" is no parameter'):
            own_direction(given, center(), list(center()), "direction 1")

    @pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
    def test_must_lead_somewhere(self, value: float) -> None:
        with pytest.raises(GeometryError, match="finite and not 0"):
            own_direction({"fc1.bias": torch.full((120,), value)}, center(), list(center()), "direction 1")

    def test_must_be_floating(self) -> None:
        with pytest.raises(GeometryError, match="holds int64"):
            own_direction({"fc1.bias": torch.ones(120).long()}, center(), list(center()), "direction 1")
