from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from torch import Tensor

from thetascope.errors import GeometryError
from thetascope.geometry.points import Points, combine
from thetascope.state import State

WEIGHT = "fc.weight"
coefficients = st.floats(-10, 10)


def state(value: float, **tensors: Tensor) -> State:
    return State.of({WEIGHT: torch.full((2, 3), value), "fc.bias": torch.full((2,), value), **tensors})


def points(coeffs: ArrayLike, groups: Mapping[str, int] | None = None, basis: tuple[State, ...] | None = None, anchor: int = -1) -> Points:
    table = np.asarray(coeffs, dtype=np.float64)
    states = basis or tuple(state(float(b + 1)) for b in range(table.shape[-1]))
    return Points(states, table, groups or {WEIGHT: 0}, anchor=anchor)


def tensor_at(table: Points, k: int, name: str = WEIGHT) -> Tensor:
    return table.tensor(k, name, {b: table.basis[b][name] for b in table.needs(k, name)})


class TestCombine:
    def test_eight_bits_are_combined_as_wider_ones_are(self) -> None:
        parts = {0: torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn), 1: torch.tensor([2.0, 4.0]).to(torch.float8_e4m3fn)}
        assert combine({0: 0.5, 1: 0.5}, parts).float().tolist() == [1.5, 3.0]

    @given(st.lists(coefficients, min_size=1, max_size=5), st.integers(0, 99))
    def test_is_the_sum_that_numpy_takes(self, factors: list[float], seed: int) -> None:
        parts = np.random.default_rng(seed).normal(size=(len(factors), 3, 4))
        found = combine(dict(enumerate(factors)), {b: torch.from_numpy(part) for b, part in enumerate(parts)})
        np.testing.assert_allclose(found.numpy(), np.tensordot(factors, parts, axes=1), rtol=1e-12, atol=1e-12)

    def test_one_coefficient_of_1_gives_the_part_itself(self) -> None:
        part = torch.tensor([-0.0, math.nan, math.inf])
        assert combine({3: 1.0}, {3: part}) is part

    def test_a_coefficient_that_is_nearly_1_is_not_taken_for_1(self) -> None:
        part = torch.tensor([1.0], dtype=torch.float64)
        assert combine({0: 1 + 1e-15}, {0: part}).item() == 1 + 1e-15

    @pytest.mark.parametrize(
        ("dtype", "large"),
        [(torch.float32, 2.0**24), (torch.float16, 2.0**11), (torch.bfloat16, 2.0**8), (torch.complex64, 2.0**24)],
    )
    def test_sums_wider_and_rounds_once(self, dtype: torch.dtype, large: float) -> None:
        parts = {b: torch.tensor([value], dtype=dtype) for b, value in enumerate((large, 1.0, large))}
        found = combine({0: 1.0, 1: 1.0, 2: -1.0}, parts)
        assert found.dtype == dtype
        assert found.item() == 1  # in its own precision large + 1 is large

    def test_leaves_the_parts_alone(self) -> None:
        part = torch.ones(3)
        combine({0: 2.0, 1: 3.0}, {0: part, 1: part})
        assert part.tolist() == [1, 1, 1]


class TestTensor:
    @given(st.integers(0, 99))
    def test_each_group_has_coefficients_of_its_own(self, seed: int) -> None:
        coeffs = np.random.default_rng(seed).normal(size=(3, 2, 2))
        table = points(coeffs, {WEIGHT: 0, "fc.bias": 1})
        for k in range(3):
            assert torch.allclose(tensor_at(table, k), torch.tensor(coeffs[k, 0] @ [1, 2]).float())
            assert torch.allclose(tensor_at(table, k, "fc.bias"), torch.tensor(coeffs[k, 1] @ [1, 2]).float())

    def test_coefficient_0_leaves_a_state_of_nan_out(self) -> None:
        table = points([[[0.5, 0.0, 0.25]]], basis=(state(1.0), state(math.nan), state(4.0)))
        assert table.needs(0, WEIGHT) == (0, 2)
        assert torch.equal(tensor_at(table, 0), torch.full((2, 3), 1.5))

    def test_a_row_of_zeros_and_one_1_is_that_state_bit_for_bit(self) -> None:
        odd = torch.tensor([[-0.0, 1e-45, math.nan], [math.inf, 1 / 3, 1e38]])
        table = points([[[0, 1]]], basis=(state(1.0), State.of({WEIGHT: odd})))
        assert torch.equal(tensor_at(table, 0).view(torch.int32), odd.view(torch.int32))

    def test_names_left_out_come_from_the_last_state(self) -> None:
        table = points([[[1.0, 0.0, 0.0]]])
        assert table.needs(0, "fc.bias") == (2,)
        assert tensor_at(table, 0, "fc.bias").tolist() == [3, 3]

    def test_names_left_out_come_from_the_anchor(self) -> None:
        table = points([[[1.0, 0.0, 0.0]]], anchor=1)
        assert table.needs(0, "fc.bias") == (1,)
        assert tensor_at(table, 0, "fc.bias").tolist() == [2, 2]

    def test_integers_from_the_anchor_are_as_they_stand(self) -> None:
        count = torch.tensor(2**53 + 1)
        table = points([[[0.5, 0.5]]], basis=(state(1.0), state(2.0, count=count)))
        assert tensor_at(table, 0, "count").item() == 2**53 + 1


class TestUses:
    def test_counts_the_points_that_need_each_state(self) -> None:
        table = points([[[1.0, 0.0, 0.0]], [[1.0, 0.0, 2.0]], [[0.5, 0.0, 0.0]]])
        assert table.uses(WEIGHT).tolist() == [3, 0, 1]

    def test_every_point_needs_the_anchor_for_names_left_out(self) -> None:
        table = points([[[1, 0, 0]], [[0, 0, 1]]], anchor=1)
        assert table.uses("fc.bias").tolist() == [0, 2, 0]
        assert table.uses(WEIGHT).tolist() == [1, 0, 1]

    def test_coefficients_that_cancel_count(self) -> None:
        assert points([[[1, 1, 0]], [[-1, 1, 0]]]).uses(WEIGHT).tolist() == [2, 2, 0]

    def test_each_group_has_its_own_counts(self) -> None:
        table = points([[[1, 0], [1, 1]]], {WEIGHT: 0, "fc.bias": 1})
        assert table.uses(WEIGHT).tolist() == [1, 0]
        assert table.uses("fc.bias").tolist() == [1, 1]


class TestHoldingBuffers:
    def table(self, anchor: int = -1) -> Points:
        coeffs = np.array([[[0.25, 0.75], [0.5, 0.5]]])
        return Points((state(1.0), state(2.0)), coeffs, {WEIGHT: 0, "fc.bias": 1}, frozenset({1}), anchor)

    def test_buffers_come_from_the_anchor_and_the_rest_as_before(self) -> None:
        assert self.table().holding_buffers().coeffs.tolist() == [[[0.25, 0.75], [0, 1]]]
        assert self.table(anchor=0).holding_buffers().coeffs.tolist() == [[[0.25, 0.75], [1, 0]]]

    def test_the_table_it_is_made_from_stays(self) -> None:
        table = self.table()
        table.holding_buffers()
        assert table.coeffs.tolist() == [[[0.25, 0.75], [0.5, 0.5]]]


@pytest.mark.parametrize("rows", [slice(1, 3), [1, 2]])
def test_rows_are_some_of_the_points(rows: slice | list[int]) -> None:
    table = points([[[1.0, 0.0]], [[0.0, 1.0]], [[0.5, 0.5]]], anchor=0)
    some = table.rows(rows)
    assert len(some) == 2
    assert torch.equal(tensor_at(some, 1), tensor_at(table, 2))
    assert (some.basis, some.groups, some.anchor) == (table.basis, table.groups, 0)


class TestDigest:
    @given(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 1)), st.sampled_from([-1.0, 1e-9, 1.0]))
    def test_changes_with_any_coefficient(self, place: tuple[int, int, int], by: float) -> None:
        coeffs = np.arange(1.0, 13.0).reshape(3, 2, 2)
        other = coeffs.copy()
        other[place] += by
        assert points(coeffs).digest() == points(coeffs.copy()).digest()
        assert points(coeffs).digest() != points(other).digest()

    def test_changes_with_groups_anchor_shape_and_buffer_groups(self) -> None:
        coeffs, basis = np.ones((2, 2, 1)), (state(1.0),)
        tables: list[Points] = [
            points(coeffs),
            points(coeffs, anchor=0),
            points(coeffs, {WEIGHT: 1}),
            points(coeffs, {"fc.bias": 0}),
            points(np.ones((1, 4, 1))),
            Points(basis, coeffs, {WEIGHT: 0}, frozenset({0})),
        ]
        assert len({table.digest() for table in tables}) == len(tables)

    def test_does_not_depend_on_the_order_of_names(self) -> None:
        coeffs = np.ones((1, 2, 1))
        assert points(coeffs, {"a": 0, "b": 1}).digest() == points(coeffs, {"b": 1, "a": 0}).digest()


class TestErrors:
    @pytest.mark.parametrize("shape", [(2, 3), (2, 1, 3), (2, 2, 4), (2, 2, 3, 1)])
    def test_a_table_of_another_shape(self, shape: tuple[int, ...]) -> None:
        basis = tuple(state(float(b)) for b in range(3))
        with pytest.raises(GeometryError, match=r"\[points, 2 groups, 3 basis states\]\. Got \[2"):
            Points(basis, np.ones(shape), {WEIGHT: 0, "fc.bias": 1})

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_a_coefficient_that_is_not_finite(self, value: float) -> None:
        with pytest.raises(GeometryError, match="must be finite"):
            points([[[1.0, value]]])

    def test_a_group_without_any_coefficient(self) -> None:
        with pytest.raises(GeometryError, match="needs one that is not 0"):
            points([[[1.0, 0.0]], [[0.0, 0.0]]])
