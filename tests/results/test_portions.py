"""Results scored in parts by several processes: joined, they are what one call makes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.nn.functional as F
from torch import Tensor

import thetascope as ts
from thetascope.errors import ResultError, ThetascopeError, UsageError
from thetascope.results.portions import Portion
from thetascope.results.status import MISSING
from thetascope.testing.models import case

Make = Callable[..., ts.Result]
HOW: dict[str, Any] = {"engine": "graph:rows=10", "progress": False}


def _subjects() -> tuple[ts.Objective, ts.Trajectory]:
    chosen = case("BatchNorm ResNet block")
    return ts.Objective(chosen.model(), chosen.data(), chosen.loss), ts.Trajectory.from_states(chosen.states(4))


def _by_data(function: Callable[..., ts.Result], **options: Any) -> Make:
    def made(**how: Any) -> ts.Result:
        chosen = case("BatchNorm ResNet block")
        inputs, targets = chosen.data()
        parts = {"train": (inputs, targets), "test": (inputs[:7], targets[:7])}
        scored = {label: ts.Objective(chosen.model(), data, chosen.loss) for label, data in parts.items()}
        return function(scored, _subjects()[1], **options, **HOW, **how)

    return made


def _made(function: Callable[..., ts.Result], *positional: Any, **options: Any) -> Make:
    return lambda **how: function(*_subjects(), *positional, **options, **HOW, **how)


CALLS: dict[str, Make] = {
    "line": _made(ts.interpolate, alphas=7),
    "layers": _made(ts.interpolate, level="layer", alphas=3),
    "parameters": _made(ts.interpolate, level="parameter", alphas=3),
    "both paths": _made(ts.compare_paths, alphas=5),
    "surface": _made(ts.surface, x=(-1, 1, 3), y=(-1, 1, 4)),
    "roles": _made(ts.layer_roles, 2),
    "rewinding": _made(ts.layer_rewind),
    "plane": _made(ts.trajectory_plane, x=(-1, 1, 3), y=(-1, 1, 3)),
    "two objectives": _by_data(ts.interpolate, alphas=5),
}


def assert_same(found: ts.Result, expected: ts.Result) -> None:
    """The same bits; but errors of barriers, for which the losses of samples are scored again, where they are not those of one process."""
    assert set(found.data.variables) == set(expected.data.variables)
    for name, variable in expected.data.variables.items():
        if name == "barrier_to_end_se":
            np.testing.assert_allclose(found.data[name].values, variable.values, rtol=1e-5)
        else:
            assert found.data[name].values.tobytes() == variable.values.tobytes(), name


@pytest.mark.parametrize(("name", "count"), [*((name, 2) for name in CALLS), ("surface", 5), ("line", 9)])
def test_parts_joined_are_the_bits_of_one_call(name: str, count: int, tmp_path: Path) -> None:
    make, place = CALLS[name], tmp_path / "here"
    expected = make()
    for number in range(count, 0, -1):  # in any order
        with ts.part(number, of=count):
            part = make(out=place)
        assert part.data.attrs["part"] == [number, count]
    assert not place.exists()
    merged = ts.merge(place)
    assert merged.status_counts()["missing"] == 0
    assert len(merged.data.attrs["parts"]) == count
    assert "part" not in merged.data.attrs
    before = {file: file.stat().st_mtime_ns for file in place.rglob("c/*") if file.is_file()}
    assert_same(make(out=place), expected)
    after = {file: file.stat().st_mtime_ns for file in before if file.exists()}
    assert after == before  # nothing was scored again
    assert ts.load_result(place).headline == expected.headline


def test_each_part_scores_its_own_points_alone(tmp_path: Path) -> None:
    make, scored = CALLS["surface"], list[np.ndarray[Any, Any]]()
    for number in (1, 2, 3):
        with ts.part(number, of=3):
            scored.append(make(out=tmp_path / "it").data["status"].values != MISSING)
    assert [int(own.sum()) for own in scored] == [4, 4, 4]
    assert (np.sum(scored, axis=0) == 1).all()


@pytest.mark.parametrize(("size", "count"), [(1, 1), (7, 3), (3, 5), (2601, 8), (0, 2)])
def test_portions_cover_every_point_once_and_are_alike_in_size(size: int, count: int) -> None:
    own = np.array([Portion(number, count).mine(size) for number in range(1, count + 1)])
    assert (own.sum(axis=0) == 1).all()
    assert np.ptp(own.sum(axis=1)) <= 1


def test_a_part_goes_on_where_it_stopped(tmp_path: Path) -> None:
    scored = 0

    class Stops:
        def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
            nonlocal scored
            scored += 1
            if scored == last:
                raise KeyboardInterrupt
            time.sleep(0.01)
            return F.cross_entropy(outputs, targets, reduction="none")

    def make(*, out: Path | None = tmp_path / "it") -> ts.Result:
        chosen = case("BatchNorm ResNet block")
        objective = ts.Objective(chosen.model(), chosen.data(), Stops(), batch_size=10)
        return ts.surface(objective, _subjects()[1], x=(-1, 1, 6), y=(-1, 1, 6), out=out, engine="eager", progress=False)

    last = 0
    expected = make(out=None)
    scored, last = 0, scored // 3
    with ts.part(1, of=2), pytest.raises(KeyboardInterrupt):
        make()
    last = 0
    with ts.part(2, of=2):
        make()
    with pytest.raises(ResultError, match=r"part 1 of 2 is not finished: \d+ of its points are not scored"):
        ts.merge(tmp_path / "it")
    with ts.part(1, of=2):
        make()
    ts.merge(tmp_path / "it")
    assert_same(make(), expected)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    place = tmp_path / "it"
    with pytest.raises(ResultError, match=r"there are no parts of .*--part 1/8"):
        ts.merge(place)
    with ts.part(2, of=4):
        CALLS["line"](out=place)
    with pytest.raises(ResultError, match="these parts are missing: 1/4, 3/4, 4/4"):
        ts.merge(place)
    with ts.part(1, of=3):
        CALLS["line"](out=place)
    with pytest.raises(ResultError, match="holds parts of 3 and of 4"):
        ts.merge(place)
    assert not place.exists()


def test_parts_of_another_call_are_refused(tmp_path: Path) -> None:
    for number, alphas in ((1, 7), (2, 7)):
        objective, trajectory = _subjects()
        given = trajectory if number == 1 else ts.Trajectory.from_states(case("BatchNorm ResNet block").states(3))
        with ts.part(number, of=2):
            ts.interpolate(objective, given, alphas=alphas, out=tmp_path / "it", **HOW)
    with pytest.raises(ResultError, match="is a part of another call"):
        ts.merge(tmp_path / "it")
    with ts.part(2, of=2), pytest.raises(ResultError, match="holds the result of another call: states was"):
        CALLS["line"](out=tmp_path / "it")
    assert not (tmp_path / "it").exists()


def test_what_lies_at_the_place_already_is_kept(tmp_path: Path) -> None:
    place = tmp_path / "it"
    _made(ts.interpolate, alphas=3)(out=place)
    for number in (1, 2):
        with ts.part(number, of=2):
            CALLS["line"](out=place)
    with pytest.raises(ResultError, match="exists already, and is not what these parts make"):
        ts.merge(place)
    assert ts.load_result(place).data.sizes["alpha"] == 3


def test_joining_twice_changes_nothing(tmp_path: Path) -> None:
    for number in (1, 2):
        with ts.part(number, of=2):
            CALLS["line"](out=tmp_path / "it")
    assert_same(ts.merge(tmp_path / "it"), ts.merge(tmp_path / "it"))


def test_parts_of_several_engines_are_told(tmp_path: Path) -> None:
    for number, engine in ((1, "eager"), (2, "graph")):
        with ts.part(number, of=2):
            ts.interpolate(*_subjects(), alphas=5, out=tmp_path / "it", engine=engine, progress=False)
    with pytest.warns(UserWarning, match=r"several engines \(eager, graph\)"):
        merged = ts.merge(tmp_path / "it")
    assert [made["engine"] for made in merged.data.attrs["parts"]] == ["eager", "graph"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_made(ts.surface, x=(-1, 1, 5), y=(-1, 1, 5), tolerance=0.1), "which cells are scored within a tolerance depends on the others"),
        (_made(ts.checkpoint_average), "which averages are scored depends on what others scored"),
        (_made(ts.parameter_atlas, alphas=3), "it is not made of points that can be scored apart"),
    ],
    ids=["tolerance", "averages", "atlas"],
)
def test_what_has_no_parts_says_why(make: Make, message: str, tmp_path: Path) -> None:
    with ts.part(1, of=2), pytest.raises(UsageError, match=message):
        make(out=tmp_path / "it")
    assert not list(tmp_path.iterdir())


def test_a_part_needs_a_place() -> None:
    with ts.part(1, of=2), pytest.raises(UsageError, match='such as out="run"'):
        CALLS["line"]()


@pytest.mark.parametrize(("number", "count"), [(0, 2), (3, 2), (True, 2), (1.0, 2), (1, 0)])
def test_a_part_is_one_of_so_many(number: Any, count: Any) -> None:
    with pytest.raises(UsageError, match="a part is one of so many, such as 2/8"), ts.part(number, of=count):
        pass


@pytest.mark.parametrize("text", ["2", "2/", "/8", "2/8/9", "a/b", "-1/2", "9/8", "²/8"])
def test_a_command_line_names_a_part(text: str) -> None:
    with pytest.raises(UsageError, match="a part is one of so many, such as 2/8"):
        Portion.of(text)


def test_a_link_on_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".parts").symlink_to(tmp_path / "elsewhere")
    with ts.part(1, of=2), pytest.raises(ThetascopeError, match="link"):
        CALLS["line"](out=tmp_path / "it")
    assert not list((tmp_path / "elsewhere").iterdir())
