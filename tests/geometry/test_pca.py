from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from thetascope.arrays import Floats
from thetascope.errors import GeometryError
from thetascope.geometry import pca
from thetascope.geometry.directions import cosine, norm
from thetascope.geometry.pca import Gram, gram, mean_step_cosine, principal_plane, random_walk_ratio, step_lengths
from thetascope.recording import Recorder
from thetascope.state import State
from thetascope.trajectory import Trajectory

NAMES = ["weight", "bias"]


def states_of(rows: np.ndarray[Any, Any], dtype: torch.dtype = torch.float64) -> list[State]:
    """Each row as a state of two tensors."""
    half = rows.shape[1] // 2
    return [
        State.of(
            {"weight": torch.tensor(row[:half], dtype=dtype).reshape(2, -1), "bias": torch.tensor(row[half:], dtype=dtype)},
            label=f"state {i}",
        )
        for i, row in enumerate(rows)
    ]


def flat(state: State) -> np.ndarray[Any, Any]:
    return np.concatenate([state[name].reshape(-1).numpy() for name in NAMES])


def walk(steps: int, dimensions: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.cumsum(np.random.default_rng(seed).normal(size=(steps, dimensions)), axis=0)


def products_of(found: Gram) -> Floats:
    assert found.products is not None
    return found.products


@pytest.mark.parametrize("piece_bytes", [2**26, 2**9])
def test_equals_scikit_learn(piece_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.decomposition import PCA

    monkeypatch.setattr(pca, "PIECE_BYTES", piece_bytes)
    rows = walk(30, 200)  # its leading components are well separated
    states = states_of(rows)
    plane = principal_plane(gram(states, NAMES))
    oracle = PCA(svd_solver="full").fit(rows)
    np.testing.assert_allclose(plane.explained, oracle.explained_variance_ratio_[:29], atol=1e-12)
    projected = oracle.transform(rows)[:, :2]
    projected -= projected[-1]
    found = [flat(direction) for direction in plane.directions(states, NAMES)]
    for i in range(2):
        sign = np.sign(found[i] @ oracle.components_[i])
        np.testing.assert_allclose(found[i], sign * oracle.components_[i], atol=1e-6)
        np.testing.assert_allclose(plane.coordinates[:, i], sign * projected[:, i], atol=1e-6)
    residual = rows - rows[-1] - plane.coordinates @ np.stack(found)
    np.testing.assert_allclose(plane.off_plane, np.linalg.norm(residual, axis=1), atol=1e-6)


def test_a_random_walk_shows_what_antognini_found() -> None:
    states = states_of(walk(500, 5000))
    ratio = principal_plane(gram(states, NAMES)).explained
    assert [round(float(part), 2) for part in ratio[:3]] == [0.61, 0.15, 0.07]


def test_the_walk_that_is_shown_beside_is_that_of_its_steps() -> None:
    equal = random_walk_ratio([np.ones(499)])
    assert equal[:3] == pytest.approx([6 / (np.pi * k) ** 2 for k in (1, 2, 3)], abs=3e-3)
    shrinking = 0.7 ** np.arange(15)
    drawn = np.cumsum(
        np.concatenate([np.zeros((1, 20_000)), shrinking[:, None] * np.random.default_rng(0).normal(size=(15, 20_000))]), axis=0
    )
    seen = principal_plane(gram(states_of(drawn), NAMES)).explained
    assert random_walk_ratio([shrinking])[:3] == pytest.approx(seen[:3], abs=0.02)
    assert random_walk_ratio([shrinking])[0] > equal[0] + 0.05


def test_two_walks_from_one_start() -> None:
    generator = np.random.default_rng(1)
    walks = [np.concatenate([np.zeros((1, 20_000)), np.cumsum(generator.normal(size=(20, 20_000)), axis=0)]) for _ in range(2)]
    found = gram(states_of(np.concatenate(walks)), NAMES)
    lengths = step_lengths(found, [list(range(21)), list(range(21, 42))])
    assert all(own == pytest.approx(np.full(20, np.sqrt(20_000)), rel=0.05) for own in lengths)
    assert random_walk_ratio(lengths)[:3] == pytest.approx(principal_plane(found).explained[:3], abs=0.02)


def test_the_first_state_has_no_negative_coordinate_and_the_center_is_0() -> None:
    for seed in range(6):
        plane = principal_plane(gram(states_of(walk(12, 40, seed)), NAMES))
        assert (plane.coordinates[0] >= 0).all()
        assert plane.coordinates[-1].tolist() == [0.0, 0.0]
        assert plane.off_plane[-1] == 0


def test_directions_are_orthonormal_and_the_center_may_be_any_state() -> None:
    states = states_of(walk(10, 60))
    for center in (0, 4, -1):
        found = gram(states, NAMES, center)
        assert found.distances[center] == 0
        pair = principal_plane(found).directions(states, NAMES)
        assert [norm(d) for d in pair] == pytest.approx([1, 1])
        assert abs(cosine(*pair)) < 1e-12


def test_small_steps_far_from_the_origin_do_not_drown() -> None:
    rows = 1000.0 + 1e-6 * walk(10, 60)
    plane, small = principal_plane(gram(states_of(rows), NAMES)), principal_plane(gram(states_of(1e-6 * walk(10, 60)), NAMES))
    assert plane.explained[:3] == pytest.approx(small.explained[:3], abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_on_one_line_are_an_error(dtype: torch.dtype) -> None:
    generator = np.random.default_rng(0)
    start, way = generator.normal(size=400), generator.normal(size=400)
    with pytest.raises(GeometryError, match="one line"):
        principal_plane(gram(states_of(np.stack([start + t * way for t in (0, 0.3, 0.5, 1)]), dtype), NAMES))


def test_equal_states_and_too_few_are_errors() -> None:
    same = np.repeat(walk(1, 20), 4, axis=0)
    with pytest.raises(GeometryError, match="all states are equal"):
        principal_plane(gram(states_of(same), NAMES))
    with pytest.raises(GeometryError, match="at least 3 states"):
        principal_plane(gram(states_of(walk(2, 20)), NAMES))


def test_a_state_that_is_not_finite_is_named() -> None:
    rows = walk(4, 20)
    rows[2, 3] = np.nan
    with pytest.raises(GeometryError, match="state 2"):
        gram(states_of(rows), NAMES)


def test_complex_parameters_count_as_pairs_of_real_ones() -> None:
    rows = walk(5, 12)
    states = [State.of({"w": torch.view_as_complex(torch.tensor(row).reshape(-1, 2))}) for row in rows]
    np.testing.assert_allclose(products_of(gram(states, ["w"])), products_of(gram(states_of(rows), NAMES)), atol=1e-12)
    plane = principal_plane(gram(states, ["w"]))
    assert norm(plane.directions(states, ["w"])[0]) == pytest.approx(1.0)


def test_reads_a_run_directory_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.Linear(5, 3))
    with Recorder(tmp_path / "run", model) as recorder:
        for step in range(1, 5):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn(parameter.shape))
            recorder.record(step=step)
    trajectory, names = Trajectory(tmp_path / "run"), [name for name, _ in model.named_parameters()]
    whole = products_of(gram(list(trajectory), names))
    monkeypatch.setattr(pca, "PIECE_BYTES", 8 * 5 * 3)  # 3 values at a time, across the ends of rows
    np.testing.assert_allclose(products_of(gram(list(trajectory), names)), whole, rtol=1e-12)


def dense_ratio(products: Floats) -> Floats:
    """Shares of the variance from all products of the states."""
    centring = np.eye(len(products)) - 1 / len(products)
    values = np.linalg.eigvalsh(centring @ products @ centring)[::-1]
    return np.asarray(values / values.sum(), np.float64)


def walk_products(lengths: Floats, start: float, cosine: float) -> Floats:
    """The expected products of a walk's states: ``⟨u_s, u_t⟩ = ρ^|s − t|``, the start orthogonal to all steps."""
    at = np.arange(len(lengths))
    steps = np.zeros((len(lengths) + 1,) * 2)
    steps[0, 0] = start**2
    steps[1:, 1:] = np.outer(lengths, lengths) * np.power(cosine, np.abs(at[:, None] - at[None]))
    to = np.tril(np.ones(steps.shape))
    return np.asarray(to @ steps @ to.T, np.float64)


@pytest.mark.parametrize("cosine", [0.9, 0.3, 0.0, -0.5, 1.0])
def test_a_correlated_walk_is_that_of_its_products(cosine: float) -> None:
    generator = np.random.default_rng(0)
    lengths, starts = [generator.uniform(0.1, 2, size=count) for count in (15, 9)], np.array([0.0, 1.7])
    products = np.zeros((26, 26))
    products[:16, :16], products[16:, 16:] = (walk_products(own, start, cosine) for own, start in zip(lengths, starts, strict=True))
    np.testing.assert_allclose(random_walk_ratio(lengths, starts, cosine), dense_ratio(products)[:25], atol=1e-12)
    one = random_walk_ratio(lengths[:1], None, cosine)
    np.testing.assert_allclose(one, dense_ratio(products[:16, :16])[:15], atol=1e-12)


@pytest.mark.parametrize(("count", "shares"), [(16, [0.91, 0.07, 0.01]), (200, [0.69, 0.16, 0.07])])
def test_what_momentum_shows_of_itself(count: int, shares: list[float]) -> None:
    """A walk without drift whose steps begin at rest and have a momentum of 0.9, from the expected products of its steps."""
    at = np.arange(count - 1)
    filtered = np.where(at[:, None] >= at, 0.9 ** (at[:, None] - at).clip(0), 0.0)  # v_t = 0.9 v_{t−1} + g_t
    steps, to = filtered @ filtered.T, np.tril(np.ones((count, count)))[:, 1:]
    lengths = np.sqrt(np.diag(steps))
    seen = dense_ratio(to @ steps @ to.T)
    assert seen[:3] == pytest.approx(shares, abs=0.006)
    independent = random_walk_ratio([lengths])
    assert independent[:3] == pytest.approx([0.62, 0.15, 0.068], abs=0.016)
    cosine = float((np.diag(steps, 1) / lengths[:-1] / lengths[1:]).mean())
    np.testing.assert_allclose(random_walk_ratio([lengths], None, cosine)[:3], seen[:3], atol=0.02)


def test_a_walk_drawn_with_a_cosine_shows_it() -> None:
    generator, direction = np.random.default_rng(5), np.random.default_rng(6).normal(size=20_000)
    rows = [np.zeros(20_000)]
    for _ in range(40):
        rows.append(rows[-1] + direction * generator.uniform(0.5, 1.5))
        direction = 0.6 * direction + 0.8 * generator.normal(size=20_000)
    found = gram(states_of(np.stack(rows)), NAMES)
    cosine = mean_step_cosine(found, [list(range(41))])
    assert cosine == pytest.approx(0.6, abs=0.01)
    ratio = random_walk_ratio(step_lengths(found, [list(range(41))]), None, cosine)
    assert ratio[:3] == pytest.approx(principal_plane(found).explained[:3], abs=0.02)


@pytest.mark.parametrize("in_rows", [False, True])
def test_the_cosine_of_successive_steps(in_rows: bool) -> None:
    def of(corners: list[list[float]], members: list[list[int]] | None = None) -> float:
        rows = np.array(corners)
        seen = rows - rows[-1]
        found = Gram(None if in_rows else seen @ seen.T, len(rows) - 1, 0.0, seen if in_rows else None)
        return mean_step_cosine(found, members or [list(range(len(rows)))])

    assert of([[0, 0], [1, 0], [3, 0], [7, 0]]) == pytest.approx(1.0)
    assert of([[0, 0], [1, 0], [1, 2], [5, 2]]) == pytest.approx(0.0)
    assert of([[0, 0], [1, 0], [0, 0], [1, 0]]) == pytest.approx(-1.0)
    assert of([[0, 0], [1, 0], [1, 0], [2, 1], [3, 1]]) == pytest.approx(np.sqrt(0.5))  # the step of no length tells nothing
    assert of([[0, 0], [1, 0], [9, 9], [9, 8], [8, 8]], [[0, 1], [2, 3, 4]]) == pytest.approx(0.0)  # not from one training to the next
    assert np.isnan(of([[0, 0], [1, 0]]))
    if not in_rows:  # what cancels among the products is not taken for a direction
        tiny = 1e-7 * np.array([[0, 0], [1, 1], [2, 0], [3, 1]])
        assert of([*(np.array([1.0, 0.3]) + tiny).tolist(), [0, 1], [0, 0]]) == pytest.approx(-1 / np.hypot(1, 0.7) * 0.7, abs=1e-6)


def test_a_walk_of_very_many_states_needs_no_table() -> None:
    tracemalloc.start()
    try:
        ratio = random_walk_ratio([np.ones(5000)], None, 0.9)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert ratio[:3] == pytest.approx([6 / (np.pi * k) ** 2 for k in (1, 2, 3)], abs=5e-3)  # so long a walk forgets its momentum
    assert peak < 5000**2 * 8 / 10


class TestManyStates:
    """Of many states only the leading components are found; they are those of the whole matrix."""

    @pytest.mark.parametrize("width", [40, 700])
    def test_leading_components_are_those_of_all(self, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
        states = states_of(walk(600, width))
        monkeypatch.setattr(pca, "FEW_STATES", 10_000)
        whole, ways = principal_plane(gram(states, NAMES)), random_walk_ratio([np.linspace(1, 2, 599)])
        monkeypatch.undo()
        found = gram(states, NAMES)
        assert (found.products is None) == (width < 600)
        plane = principal_plane(found)
        np.testing.assert_allclose(plane.coordinates, whole.coordinates, atol=1e-6 * np.abs(whole.coordinates).max())
        np.testing.assert_allclose(plane.off_plane, whole.off_plane, atol=1e-6 * whole.off_plane.max())
        np.testing.assert_allclose(plane.explained[:10], whole.explained[:10], rtol=1e-8)
        np.testing.assert_allclose(random_walk_ratio([np.linspace(1, 2, 599)])[:10], ways[:10], rtol=1e-8)

    def test_the_filter_is_the_table(self) -> None:
        lengths = np.linspace(1, 2, 599)
        expected = dense_ratio(walk_products(lengths, 0.0, 0.8))
        np.testing.assert_allclose(random_walk_ratio([lengths], None, 0.8)[:10], expected[:10], rtol=1e-8)
