"""The geometry of a way: closed forms, another formula, pieces, dtypes, and places beside a path."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from thetascope.arrays import Floats
from thetascope.errors import GeometryError
from thetascope.geometry import trajectory as module
from thetascope.geometry.pca import inner_products
from thetascope.geometry.trajectory import Way, WayReading, nearest_on_path, way_of
from thetascope.state import State


def states_of(rows: Any, dtype: torch.dtype = torch.float64) -> list[State]:
    return [State.of({"w": torch.as_tensor(np.asarray(row)).to(dtype)}, label=f"state {t}") for t, row in enumerate(rows)]


def way(rows: Any, dtype: torch.dtype = torch.float64) -> Way:
    """Of one tensor."""
    return way_of(WayReading(states_of(rows, dtype), [["w"]], together=True).products())


def plain(x: Floats) -> dict[str, Any]:
    """The same by its definitions, all states in memory."""
    steps, chord = np.diff(x, axis=0), x[-1] - x[0]
    lengths, left = np.linalg.norm(steps, axis=1), np.linalg.norm(x[-1] - x[:-1], axis=1)
    share = (x - x[0]) @ chord / (chord @ chord)
    units = steps / lengths[:, None]
    cosines = units @ units.T
    n = len(steps)
    return {
        "arc": np.concatenate([[0], np.cumsum(lengths)]),
        "from_start": np.linalg.norm(x - x[0], axis=1),
        "to_end": np.linalg.norm(x[-1] - x, axis=1),
        "share": share,
        "off_line": np.linalg.norm(x - x[0] - share[:, None] * chord, axis=1),
        "step_length": np.concatenate([[0], lengths]),
        "heading": np.concatenate([[np.nan], np.einsum("tp,tp->t", steps, x[-1] - x[:-1]) / lengths / left]),
        "turning": np.concatenate([[np.nan, np.nan], np.diag(cosines, 1)]),
        "relative": np.linalg.norm(x - x[0], axis=1) / np.linalg.norm(x[0]),
        "tortuosity": lengths.sum() / np.linalg.norm(chord),
        "mean_cosine": (cosines.sum() - n) / (n * (n - 1)),
    }


def momentum_walk(count: int, size: int, momentum: float = 0.9) -> Floats:
    draw = np.random.default_rng(3)
    velocity, at, rows = np.zeros(size), draw.normal(size=size), []
    for _ in range(count):
        rows.append(at)
        velocity = momentum * velocity + draw.normal(size=size)
        at = at + velocity
    return np.array(rows)


def test_gradient_descent_on_an_isotropic_bowl_is_straight() -> None:
    start = np.random.default_rng(0).normal(size=500)
    found = way([start * 0.8**t for t in range(60)])
    assert found.tortuosity[0] == pytest.approx(1.0, abs=1e-12)
    assert found.off_line.max() < 1e-6 * found.chord[0]
    assert found.mean_cosine[0] == pytest.approx(1.0, abs=1e-9)
    np.testing.assert_allclose(found.turning[0, 2:], 1.0, atol=1e-9)
    np.testing.assert_allclose(found.share[0], (1 - 0.8 ** np.arange(60)) / (1 - 0.8**59), atol=1e-12)


def test_a_half_circle_is_half_pi_times_its_diameter() -> None:
    angles = np.linspace(0, np.pi, 2001)
    found = way(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert found.tortuosity[0] == pytest.approx(math.pi / 2, rel=1e-6)
    np.testing.assert_allclose(found.off_line[0], np.sin(angles), atol=1e-7)
    np.testing.assert_allclose(found.share[0], (1 - np.cos(angles)) / 2, atol=1e-12)


@pytest.mark.parametrize("count", [2, 7, 40])
def test_orthogonal_equal_steps_are_the_root_of_their_number_times_the_chord(count: int) -> None:
    found = way(np.concatenate([np.zeros((1, count)), np.cumsum(3.0 * np.eye(count), axis=0)]))
    assert found.tortuosity[0] == pytest.approx(math.sqrt(count), rel=1e-12)
    assert found.mean_cosine[0] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(found.turning[0, 2:], 0.0, atol=1e-12)
    np.testing.assert_allclose(found.heading[0, 1:], 1 / np.sqrt(np.arange(count, 0, -1)), rtol=1e-9)


def test_a_momentum_walk_turns_as_its_momentum_says() -> None:
    found = way(momentum_walk(300, 4000))
    # velocities v_{t+1} = 0.9 v_t + ε: successive ones have a cosine of 0.9 once they are as long as they become
    assert np.nanmean(found.turning[0, 60:]) == pytest.approx(0.9, abs=0.01)
    assert found.mean_cosine[0] == pytest.approx(plain(momentum_walk(300, 4000))["mean_cosine"], rel=1e-9)


@pytest.mark.parametrize(("piece", "block"), [(2**21, 2**14), (60, 7), (9, 4)])
@pytest.mark.parametrize("together", [True, False])
def test_pieces_change_nothing(piece: int, block: int, together: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", piece)
    monkeypatch.setattr(module, "BLOCK", block)
    rows = momentum_walk(45, 30 + 9 + 41)
    parts = {"a": rows[:, :30].reshape(45, 6, 5), "b": rows[:, 30:39], "c": rows[:, 39:]}
    states = [State.of({name: torch.from_numpy(of[t].copy()) for name, of in parts.items()}) for t in range(45)]
    reading, read = WayReading(states, [["a", "b"], ["c"]], together=together), list[int]()
    products = reading.products(read.append)
    assert sum(read) == reading.reads
    found = way_of(products.together() if together else products)
    for g, own in enumerate([rows] if together else [rows[:, :39], rows[:, 39:]]):
        for name, expected in plain(own).items():
            np.testing.assert_allclose(
                getattr(found, name)[g], expected, rtol=1e-9, atol=1e-7 if name == "off_line" else 1e-9, err_msg=name
            )


def test_each_state_is_opened_once_where_it_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    states = states_of(momentum_walk(70, 12))
    opened: list[str] = []
    tensors = State.tensors

    def noted(self: State, names: Any = None) -> dict[str, torch.Tensor]:
        opened.append(self.label)
        return tensors(self, names)

    monkeypatch.setattr(State, "tensors", noted)
    reading = WayReading(states, [["w"]], together=True)
    reading.products()
    assert sorted(opened) == sorted(f"state {t}" for t in range(70))
    assert reading.reads == 70


@pytest.mark.parametrize(("dtype", "digits"), [(torch.bfloat16, 2), (torch.float16, 3), (torch.float32, 6)])
def test_low_precision_is_measured_as_it_is_stored(dtype: torch.dtype, digits: int) -> None:
    rows = momentum_walk(9, 200)
    stored = torch.from_numpy(rows).to(dtype).to(torch.float64).numpy()
    found = way(rows, dtype)
    for name, expected in plain(stored).items():
        np.testing.assert_allclose(getattr(found, name)[0], expected, rtol=1e-9, atol=1e-6, err_msg=name)
    assert found.tortuosity[0] == pytest.approx(plain(rows)["tortuosity"], rel=10.0**-digits * 5)


def test_complex_values_count_as_two() -> None:
    rows = momentum_walk(9, 20)
    stored = [row[:10] + 1j * row[10:] for row in rows]
    found = way(stored, torch.complex128)
    for name, expected in plain(rows).items():
        np.testing.assert_allclose(getattr(found, name)[0], expected, rtol=1e-9, atol=1e-7, err_msg=name)


def test_states_of_several_dtypes_are_one_vector() -> None:
    rows = momentum_walk(5, 6)
    states = [State.of({"w": torch.from_numpy(row).to(torch.float64 if t % 2 else torch.float32)}) for t, row in enumerate(rows)]
    found = way_of(WayReading(states, [["w"]], together=True).products())
    assert found.tortuosity[0] == pytest.approx(plain(rows)["tortuosity"], rel=1e-6)


def test_a_way_of_no_length_has_no_shape() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        still, back = way(np.ones((4, 3))), way([[0.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    for name in ("share", "off_line", "heading", "turning"):
        assert np.isnan(getattr(still, name)).all()
    assert [still.arc[0, -1], still.chord[0], still.relative[0, -1]] == [0, 0, 0]
    assert np.isnan([still.tortuosity[0], still.mean_cosine[0], back.tortuosity[0]]).all()
    assert back.arc[0].tolist() == [0, 1, 2]
    assert back.turning[0, 2] == back.mean_cosine[0] == -1
    assert np.isnan(way([[0.0], [1.0]]).relative[0]).all()  # it begins at 0


def test_small_steps_at_the_end_are_no_rounding() -> None:
    """Distances to the end are summed from there, not taken as differences of large numbers."""
    rows = np.concatenate([[[0.0, 0.0]], [[1.0 - 1e-9 * 0.5**t, 0.0] for t in range(12)], [[1.0, 0.0]]])
    found = way(rows)
    np.testing.assert_allclose(found.to_end[0, 1:-1], 1.0 - rows[1:-1, 0], rtol=1e-3)
    np.testing.assert_allclose(found.heading[0, 1:], 1.0, rtol=1e-4)


@pytest.mark.parametrize("place", [0, 3, 6])
def test_states_that_are_not_finite_are_named(place: int) -> None:
    rows = momentum_walk(7, 5)
    rows[place, 2] = np.inf
    with pytest.raises(GeometryError, match=rf"^state {place} holds values that are not finite"):
        way(rows)


def test_the_time_is_told_before() -> None:
    assert 0 < WayReading(states_of(momentum_walk(20, 5)), [["w"]], together=True).seconds() < 5


# --- places beside a path -------------------------------------------------------------------------------------


def products(rows: Any) -> Floats:
    return inner_products(states_of(rows), ["w"])


def test_the_nearest_place_on_a_line_is_the_share_of_the_way() -> None:
    rows = momentum_walk(12, 30)
    found, expected = nearest_on_path(products(rows), [0, 11], np.array([0.0, 1.0])), plain(rows)
    np.testing.assert_allclose(found.alpha, expected["share"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.distance, expected["off_line"], rtol=1e-6, atol=1e-6)
    beyond = nearest_on_path(products([[0.0, 0.0], [3.0, 1.0], [1.0, 0.0]]), [0, 2], np.array([0.0, 1.0]))
    assert beyond.alpha.tolist() == pytest.approx([0.0, 3.0, 1.0])  # however far


def test_the_nearest_place_on_a_parabola_is_the_nearest_of_all() -> None:
    draw = np.random.default_rng(5)
    at = np.array([0.0, 0.5, 1.0])
    for _ in range(20):
        rows = draw.normal(size=(8, 3))
        found = nearest_on_path(products(rows), [0, 4, 7], at)
        grid = np.linspace(-0.2, 1.2, 14_001)
        weights = np.stack([(grid - 0.5) * (grid - 1) * 2, -4 * grid * (grid - 1), grid * (grid - 0.5) * 2], axis=1)
        away = np.linalg.norm((weights @ rows[[0, 4, 7]])[:, None] - rows[None], axis=2)
        np.testing.assert_allclose(found.distance, away.min(axis=0), atol=2e-3)
        np.testing.assert_array_less(found.distance, away.min(axis=0) + 1e-9)
        assert found.alpha[[0, 4, 7]].tolist() == [0.0, 0.5, 1.0]
        assert ((found.alpha >= -0.2) & (found.alpha <= 1.2)).all()


def test_states_without_a_place_have_none() -> None:
    rows = momentum_walk(5, 4)
    rows[2, 0] = np.nan
    found = nearest_on_path(products(rows), [0, 4], np.array([0.0, 1.0]))
    assert np.isfinite(found.alpha).tolist() == [True, True, False, True, True]
    still = nearest_on_path(products(np.ones((3, 2))), [0, 2], np.array([0.0, 1.0]))
    assert np.isnan(still.alpha[1])
