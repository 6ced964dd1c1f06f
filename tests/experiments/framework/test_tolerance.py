from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thetascope as ts
from thetascope.errors import UsageError
from thetascope.experiments.framework.tolerance import PATIENCE, ROUND, cells_to_test, estimated, is_hopeless
from thetascope.geometry.smooth import Kind, first_cells, fitted, gaps, kinds
from thetascope.scoring.runner import Runner
from thetascope.testing.models import case

Field = np.ndarray[Any, Any]


def grid(nx: int = 41, ny: int = 31) -> tuple[Field, Field]:
    x, y = np.meshgrid(np.linspace(-1, 1, nx), np.linspace(-1, 1, ny))
    return x, y


def run(field: Field, tolerance: float = 0.01, **others: Field) -> Any:
    asked: list[int] = []

    def score(cells: Any) -> dict[str, Field]:
        asked.extend(cells)
        return {"loss": field.flat[list(cells)], **{name: other.flat[list(cells)] for name, other in others.items()}}

    found = estimated(field.shape, tolerance, score)
    assert len(asked) == len(set(asked)) == found.evaluated  # no cell is scored twice
    assert all(found.values["loss"].flat[cell] == field.flat[cell] for cell in asked if np.isfinite(field.flat[cell]))
    return found


def basin(seed: int) -> Field:
    """A basin with walls, asymmetric, over some decades."""
    generator = np.random.default_rng(seed)
    x, y = grid()
    a, b, c, d = generator.uniform(0.5, 3, 4)
    tilt = generator.uniform(-0.3, 0.3, 2)
    return np.asarray(0.05 + a * (x - tilt[0]) ** 2 + b * (y - tilt[1]) ** 2 + c * np.exp(d * (x + y)) / 5)


def test_smooth_surfaces_need_few_cells_and_keep_the_error_that_they_report() -> None:
    kept = 0
    for seed in range(20):
        field = basin(seed)
        found = run(field)
        true = float(np.abs(found.values["loss"] / field - 1).max())
        kept += true <= found.errors["loss"]
        assert found.errors["loss"] <= 0.01
        assert true < 0.02
        assert found.evaluated < field.size / 3
        assert found.reason == ""
    assert kept >= 19


def test_ten_decades_are_estimated_by_their_logarithm() -> None:
    x, y = grid()
    field = np.exp(11.5 * (x + 0.3 * y**2))
    found = run(field)
    assert "logarithm" in found.fitted
    assert np.abs(found.values["loss"] / field - 1).max() < 0.01


def test_a_surface_that_is_not_smooth_is_recognised_and_scored_whole() -> None:
    field = 1.0 + np.random.default_rng(0).uniform(0, 1, (41, 51))
    found = run(field)
    assert found.evaluated == field.size
    assert "not smooth" in found.reason
    assert np.array_equal(found.values["loss"], field)
    assert found.errors["loss"] == 0


def test_a_step_is_recognised_too() -> None:
    x, y = grid(51, 51)
    found = run(np.where(x + 0.37 * y > 0.1, 2.0, 1.0))
    assert found.evaluated == 51 * 51
    assert found.reason


def test_the_edge_of_what_is_not_finite_is_scored_and_what_is_finite_estimated() -> None:
    x, y = grid(61, 61)
    field = 0.1 + x**2 + 0.5 * y**2
    field[(x + 0.9) ** 2 + (y - 0.7) ** 2 < 0.1] = np.nan
    found = run(field)
    assert found.evaluated < field.size / 2
    assert np.array_equal(np.isfinite(found.values["loss"]), np.isfinite(field))
    assert float(np.nanmax(np.abs(found.values["loss"] / field - 1))) <= found.errors["loss"] <= 0.01


def test_a_region_that_is_not_finite_and_was_met_late_begins_the_tests_anew() -> None:
    x, y = grid(61, 61)
    field = 0.1 + x**2 + 0.5 * y**2
    field[(np.abs(x - 0.31) < 0.09) & (np.abs(y - 0.33) < 0.09)] = np.inf  # between the first cells
    found = run(field)
    if np.isinf(found.values["loss"]).any():  # met: then all of it, and its edge
        assert np.array_equal(np.isinf(found.values["loss"]), np.isinf(field))
    assert np.isinf(found.values["loss"]).any()


def test_where_half_is_not_finite_all_is_scored() -> None:
    x, _ = grid()
    with np.errstate(invalid="ignore", divide="ignore"):
        field = np.log(x - 0.1)
    found = run(field)
    assert found.evaluated == field.size
    assert found.reason == "the loss is not finite in too many places"
    assert np.array_equal(found.values["loss"], field, equal_nan=True)


def test_metrics_are_estimated_where_the_loss_is_finite() -> None:
    x, y = grid(61, 61)
    field, metric = 0.1 + x**2 + 0.5 * y**2, 0.5 + 0.3 * x
    gone = (x > 0.8) & (y > 0.8)
    field[gone], metric[gone] = np.nan, 0.0  # an argmax of what is not finite
    found = run(field, accuracy=metric)
    assert found.evaluated < field.size / 2
    assert float(np.abs(found.values["accuracy"] - metric).max()) < 0.01


def test_losses_of_both_signs_are_held_to_their_range() -> None:
    x, y = grid()
    field = x - 0.5 * y + 0.3 * x * y
    found = run(field)
    assert found.evaluated < field.size / 3
    assert np.abs(found.values["loss"] - field).max() < 0.01 * np.ptp(field)


def test_metrics_have_errors_of_their_own() -> None:
    field = basin(1)
    share = np.clip(1 - field / field.max(), 0, 1)
    found = run(field, accuracy=np.round(share * 200) / 200)
    assert found.errors["accuracy"] > 0
    assert np.abs(found.values["accuracy"] - share).max() < 0.1
    assert found.values["accuracy"].max() <= 1


@pytest.mark.parametrize("shape", [(9, 9), (2, 60), (60, 2)])
def test_small_grids_are_scored_whole(shape: tuple[int, int]) -> None:
    field = 0.05 + np.add.outer(np.linspace(-1, 1, shape[0]) ** 2, np.linspace(-1, 1, shape[1]) ** 2)
    found = run(field)
    assert found.evaluated == field.size
    assert "too small" in found.reason


@pytest.mark.parametrize("tolerance", [0, 1, -0.1, True, "0.01", float("nan")])
def test_a_tolerance_that_is_off_says_what_it_is(tolerance: Any) -> None:
    chosen = case("linear")
    objective = ts.Objective(chosen.model(), chosen.data())
    with pytest.raises(UsageError, match="relative error between 0 and 1"):
        ts.surface(objective, chosen.states(1)[0], tolerance=tolerance)


def test_the_first_cells_lie_on_the_grid_and_hold_its_corners() -> None:
    begin = first_cells(41, 31)
    assert len(begin) == len(set(begin.tolist())) == 25
    assert {0, 20, 40, 15 * 41 + 20, 30 * 41, 31 * 41 - 1} <= set(begin.tolist())
    assert first_cells(3, 1).tolist() == [0, 1, 2]  # points that fall on one cell count once


def test_gaps_are_distances_where_each_axis_has_length_two() -> None:
    free = np.ones((3, 5), bool)
    free[0, 0] = False
    assert gaps(free)[0].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert gaps(free)[2, 4] == pytest.approx(np.sqrt(8))


def test_a_narrow_valley_off_the_first_cells_is_found() -> None:
    """Where all fits agree further cells lie evenly: a plane with a dip that none of the first 25 cells touches."""
    x, y = grid(51, 51)
    field = np.exp(0.3 * x + 0.1 * y) - 0.7 * np.exp(-((x - 0.35) ** 2 + (y + 0.35) ** 2) / 0.02)
    begin = first_cells(51, 51)
    flat = np.exp(0.3 * x + 0.1 * y)
    assert np.abs(field / flat - 1).flat[begin].max() < 0.01 < np.abs(field / flat - 1).max()
    found = run(field)
    assert np.abs(found.values["loss"] / field - 1).max() < 0.02


def test_where_all_fits_agree_further_cells_lie_evenly() -> None:
    begin, field = first_cells(51, 51), np.ones((51, 51))
    found = cells_to_test(field.shape, begin, dict.fromkeys(kinds(field), field), kinds(field)[0], 1e-4)
    assert len(found) == len(set(found.tolist())) == ROUND
    quarters = {(cell // 51 > 25, cell % 51 > 25) for cell in found.tolist()}
    assert len(quarters) == 4
    free = np.ones(field.shape, bool)
    free.flat[begin] = False
    assert gaps(free).flat[found].min() > gaps(free).max() / 2


def test_a_line_is_estimated_along_itself() -> None:
    x = np.linspace(-1, 1, 201)
    field = (0.1 + x**2 + 0.3 * np.exp(2 * x))[None]
    found = run(field)
    assert found.evaluated < field.size / 2
    assert np.abs(found.values["loss"] / field - 1).max() < 0.01


def test_an_estimate_that_is_nearly_good_enough_is_not_given_up() -> None:
    assert not is_hopeless([0.014] * 20, 0.01)
    assert is_hopeless([0.016] * 20, 0.01)
    assert not is_hopeless([0.016] * PATIENCE, 0.01)


def test_a_fit_meets_its_cells_and_logarithms_need_positive_values() -> None:
    field, begin = basin(2), first_cells(41, 31)
    for kind in kinds(field.flat[begin]):
        assert fitted(kind, (31, 41), begin, field.flat[begin]).flat[begin] == pytest.approx(field.flat[begin], rel=1e-6)
    assert not any(kind.logarithmic for kind in kinds(np.array([0.0, 1.0])))
    assert "logarithm" in str(Kind("cubic", logarithmic=True))


def test_a_surface_within_a_tolerance_is_stored_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = case("linear")
    objective, state = ts.Objective(chosen.model(), chosen.data(), dtype="float64"), chosen.states(1)[0]
    options: dict[str, Any] = {"x": (-0.5, 0.5, 21), "y": (-0.5, 0.5, 19), "tolerance": 0.01}
    full = ts.surface(objective, state, x=options["x"], y=options["y"]).data["loss"].values
    whole = ts.surface(objective, state, **options, out=tmp_path / "whole")
    estimate, status = whole.data.attrs["estimate"], whole.data["status"].values
    assert (status == 1).sum() == estimate["evaluated"]
    assert (status == 3).sum() == 21 * 19 - estimate["evaluated"] > 0
    loss = whole.data["loss"].values
    assert np.array_equal(loss[status == 1], full[status == 1])
    assert np.abs(loss / full - 1).max() < 0.02
    real, scored = Runner.share, []

    def stopping(self: Runner, request: Any, units: Any) -> Any:
        scored.append(sum(map(len, units)))
        if len(scored) == 4:
            raise KeyboardInterrupt
        return real(self, request, units)

    monkeypatch.setattr(Runner, "share", stopping)
    with pytest.raises(KeyboardInterrupt):
        ts.surface(objective, state, **options, out=tmp_path / "stopped")
    monkeypatch.setattr(Runner, "share", real)
    assert 0 < ts.load_result(tmp_path / "stopped").status_counts()["evaluated"] < estimate["evaluated"]
    again = ts.surface(objective, state, **options, out=tmp_path / "stopped")
    assert np.array_equal(again.data["loss"].values, loss)
    assert np.array_equal(again.data["status"].values, status)
    finished = ts.surface(objective, state, **options, out=tmp_path / "stopped")
    assert np.array_equal(finished.data["loss"].values, loss)
    again.plot()
    again.figure()


def test_a_row_of_an_estimated_grid_is_one_file_and_no_cell_is_scored_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = case("linear")
    objective, state = ts.Objective(chosen.model(), chosen.data(), dtype="float64"), chosen.states(1)[0]
    real = Runner.share
    scored: list[list[int]] = []

    def counting(self: Runner, request: Any, units: Any) -> Any:
        if len(scored) == 5:
            scored.append([])
            raise KeyboardInterrupt
        scored.append([k for unit in units for k in unit])
        return real(self, request, units)

    monkeypatch.setattr(Runner, "share", counting)
    monkeypatch.setattr("thetascope.scoring.runner.UNIT_SECONDS", 0.0)  # as if each cell took long: one at a time
    options: dict[str, Any] = {"x": (-0.5, 0.5, 21), "y": (-0.5, 0.5, 19), "tolerance": 0.01, "out": tmp_path / "surface"}
    with pytest.raises(KeyboardInterrupt):
        ts.surface(objective, state, **options)
    found = ts.surface(objective, state, **options)
    cells = [cell for part in scored for cell in part]
    assert len(cells) == len(set(cells)) == found.data.attrs["estimate"]["evaluated"]  # each stored cell outlived the stop
    assert all(len(part) == 1 for part in scored if part)
    assert len(list((tmp_path / "surface" / "loss" / "c").rglob("*"))) == 19 * 2  # a folder a row and its one file
