"""Surfaces in 3-D: what is drawn between cells, what lies on them, what is cut off, from where they are seen; by both renderers."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from thetascope.arrays import Floats
from thetascope.drawing.fields import Field, GridInfo
from thetascope.drawing.relief import FLOOR, HAIR, PAGE_FINE, Relief, best_view, relief_of
from thetascope.drawing.scales import Scale, scale_of
from thetascope.drawing.spec import FieldMark, Line, Mark, Panel, Parts, Picture
from thetascope.drawing.with_matplotlib import drawn_on
from thetascope.drawing.with_plotly import page_of

X, Y = np.linspace(-1, 1, 9), np.linspace(0, 3, 7)


def bowl() -> Floats:
    """Lowest near (-1, 0): the corner that all of it is seen from."""
    x, y = np.meshgrid(X, Y)
    return np.asarray(0.2 + (x + 0.7) ** 2 + 0.3 * y**2 + 0.3 * np.sin(5 * x) * np.sin(3 * y), np.float64)


def field_of(values: Floats, scale: Any = None) -> Field:
    finite = np.isfinite(values)
    shape: dict[str, Any] = {"missing": np.zeros_like(finite), "not_finite": ~finite, "evaluated": None}
    return Field(name="loss", label="loss", log=False, values=values, scale=scale or scale_of(values), **shape)


def grid_of(x: Floats = X, y: Floats = Y) -> GridInfo:
    return GridInfo("", (), x, y, "along x", "along y", (), None, ())


def relief(values: Floats, **options: Any) -> Relief:
    ny, nx = values.shape
    return relief_of(grid_of(X[:nx], Y[:ny]), field_of(values, **options))


def picture(values: Floats, *marks: Mark, **options: Any) -> Picture:
    panel = Panel(name="loss", marks=[FieldMark(grid=grid_of(), field=field_of(values, **options), kind="3d"), *marks], crowded=True)
    return Picture(title="", notes=(), parts=Parts(parts=[panel]), width=5, height=5)


def in_space(made: Picture) -> Any:
    return drawn_on(Figure().add_subplot(projection="3d"), made)


def faces(ax: Any) -> Floats:
    """Of the surface, ``[n, 4, 3]``."""
    (surface,) = (made for made in ax.collections if isinstance(made, Poly3DCollection))
    return np.asarray(surface._faces, np.float64)


def test_the_surface_passes_through_the_cells_and_stays_between_them() -> None:
    rough = np.random.default_rng(0).lognormal(size=(7, 9))
    found = relief(rough)
    down, across = found.pieces
    assert found.heights.shape == (6 * down + 1, 8 * across + 1)
    np.testing.assert_allclose(found.heights[::down, ::across], scale_of(rough).position(rough), atol=1e-12)
    np.testing.assert_allclose(found.values[::down, ::across], rough)
    np.testing.assert_allclose(found.x[::across], X)
    for j in range(6):
        for i in range(8):
            piece = found.heights[j * down : (j + 1) * down + 1, i * across : (i + 1) * across + 1]
            corners = piece[[0, 0, -1, -1], [0, -1, 0, -1]]
            assert corners.min() - 1e-12 <= piece.min()
            assert piece.max() <= corners.max() + 1e-12


def test_it_is_smooth_where_the_cells_are() -> None:
    def exact(x: Floats, y: Floats) -> Floats:
        return np.asarray(3 + np.sin(2 * x) * np.cos(y), np.float64)

    found = relief(exact(*np.meshgrid(X, Y)))
    off = np.abs(found.values - exact(*np.meshgrid(found.x, found.y)))
    linear = np.stack([np.interp(found.x, X, row) for row in exact(*np.meshgrid(X, Y))])
    flat = np.abs(linear - exact(*np.meshgrid(found.x, Y)))
    assert off[:: found.pieces[0]].mean() < 0.3 * flat.mean()


def test_enough_cells_are_drawn_as_they_are() -> None:
    many = np.random.default_rng(1).random((130, 130))
    found = relief_of(grid_of(np.arange(130.0), np.arange(130.0)), field_of(many))
    assert found.pieces == (1, 1)
    np.testing.assert_allclose(found.heights, scale_of(many).position(many), atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 9), (7, 1), (2, 2), (3, 9)])
def test_few_rows_and_columns(shape: tuple[int, int]) -> None:
    few = bowl()[: shape[0], : shape[1]]
    found = relief(few)
    down, across = found.pieces
    np.testing.assert_allclose(found.values[::down, ::across], few)


def test_holes_stay_holes() -> None:
    values = bowl()
    values[3, 4] = np.inf
    found = relief(values)
    down, across = found.pieces
    rows, columns = np.nonzero(np.isnan(found.heights))
    assert (rows.min(), rows.max()) == (2 * down + 1, 4 * down - 1)  # up to the neighbours, which are drawn
    assert (columns.min(), columns.max()) == (3 * across + 1, 5 * across - 1)
    assert np.isnan(found.at([X[4]], [Y[3]])).all()
    np.testing.assert_allclose(found.at([X[3]], [Y[3]]), found.heights[3 * down, 3 * across])
    middles = faces(in_space(picture(values))).mean(axis=1)
    assert not ((np.abs(middles[:, 0] - X[4]) < 0.2) & (np.abs(middles[:, 1] - Y[3]) < 0.4)).any()
    page = page_of(picture(values))
    (surface,) = (trace for trace in page.data if trace.type == "surface" and trace.z is not None)
    assert sum(value is None or np.isnan(value) for row in surface.z for value in row) > 0
    (mark,) = (trace for trace in page.data if trace.type == "scatter3d" and str(trace.name).startswith("not finite"))
    assert (list(mark.x), list(mark.y), list(mark.z)) == ([X[4]], [Y[3]], [FLOOR])


def test_what_lies_beyond_the_scale_is_flat_and_said() -> None:
    scale = Scale(np.linspace(0.5, 2.0, 9), log=False, even=True)
    found = relief(bowl(), scale=scale)
    assert (found.heights.min(), found.heights.max()) == (0, 1)
    down, across = found.pieces
    cut = found.cut[::down, ::across]
    np.testing.assert_array_equal(cut, (bowl() > 2 + 1e-9) | (bowl() < 0.5 - 1e-9))
    assert found.label == f"cut off above 2: {(bowl() > 2).sum()}, below 0.5: {(bowl() < 0.5).sum()} of 63 cells"
    made = picture(bowl(), scale=scale)
    assert found.label in in_space(made).get_legend_handles_labels()[1]
    assert found.label in [trace.name for trace in page_of(made).data if trace.showlegend]
    assert relief(bowl()).label == ""
    assert not relief(bowl()).cut.any()


def test_a_path_on_the_surface_lies_on_what_is_drawn() -> None:
    path: dict[str, Any] = {"x": [-0.9, 0.4, 0.7], "y": [0.2, 1.0, 2.9]}
    made = picture(bowl(), Line(**path, z="surface", label="way"), Line(**path, z="surface", dash="", marker="star", label="stars"))
    ax = in_space(made)
    way, stars = (next(line for line in ax.lines if line.get_label() == label) for label in ("way", "stars"))
    x, y, z = (np.asarray(part) for part in way.get_data_3d())
    assert len(x) > 200  # it follows the surface from state to state
    assert {(float(a), float(b)) for a, b in zip(x, y, strict=True)} >= set(zip(path["x"], path["y"], strict=True))
    np.testing.assert_allclose(z - HAIR, relief(bowl()).at(x, y), atol=1e-12)
    vertices = faces(ax).reshape(-1, 3)
    for point in zip(x, y, z, strict=True):
        nearest = vertices[np.hypot(vertices[:, 0] - point[0], vertices[:, 1] - point[1]).argmin()]
        assert abs(nearest[2] - point[2]) < 0.06
    np.testing.assert_allclose(np.asarray(stars.get_data_3d()[2]) - HAIR, relief(bowl()).at(path["x"], path["y"]))
    (surface,) = (trace for trace in page_of(made).data if trace.type == "surface" and trace.z is not None)
    drawn = relief_of(grid_of(), field_of(bowl()), PAGE_FINE)
    np.testing.assert_allclose(np.asarray(surface.z, np.float64), drawn.heights, atol=1e-4)
    curve = next(trace for trace in page_of(made).data if trace.name == "way")
    np.testing.assert_allclose(np.asarray(curve.z) - HAIR, drawn.at(curve.x, curve.y), atol=1e-9)


def test_values_of_lines_follow_the_scale_of_the_field_below() -> None:
    scale = Scale(np.linspace(0.0, 4.0, 9), log=False, even=True)
    made = picture(bowl(), Line(x=[0.0, 0.5], y=[1.0, 2.0], z=[1.0, 3.0], label="own"), scale=scale)
    line = next(line for line in in_space(made).lines if line.get_label() == "own")
    np.testing.assert_allclose(line.get_data_3d()[2], [0.25, 0.75])


def test_nothing_but_the_surface_stands_in_the_space() -> None:
    ax = in_space(picture(bowl(), Line(x=[0.0], y=[1.0], z="surface", dash="", marker="star", level=6)))
    assert all(axis.pane.get_facecolor()[3] == axis.pane.get_edgecolor()[3] == 0 for axis in (ax.xaxis, ax.yaxis, ax.zaxis))
    assert not ax._draw_grid
    (surface,) = (made for made in ax.collections if isinstance(made, Poly3DCollection))
    floor = next(made for made in ax.collections if made is not surface and len(getattr(made, "_segments3d", ())))
    assert {float(z) for line in floor._segments3d for z in np.asarray(line)[:, 2]} == {FLOOR}
    assert floor.get_zorder() < surface.get_zorder() < ax.lines[-1].get_zorder()
    assert not ax.computed_zorder
    assert {text.get_text() for text in ax.texts} >= {"along x", "along y"}
    scene = page_of(picture(bowl())).layout.scene
    assert not any(axis.showbackground or axis.showgrid for axis in (scene.xaxis, scene.yaxis, scene.zaxis))


def test_the_light_changes_colours_little() -> None:
    """A reader reads values off them."""
    (surface,) = (made for made in in_space(picture(bowl())).collections if isinstance(made, Poly3DCollection))
    colors = np.asarray(surface.get_facecolor())[:, :3]
    assert len(np.unique(colors, axis=0)) > 500
    found = relief(bowl()).normals
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1)
    assert (found[..., 2] > 0).all()


def test_a_surface_is_seen_from_where_no_wall_hides_its_basin() -> None:
    for flip, quarter in ((1, (180, 270)), (-1, (270, 360))):
        turn = best_view(relief(bowl()[:, ::flip]))[1] % 360
        assert quarter[0] < turn < quarter[1]
    pit = np.ones((25, 25))
    pit[9:16, 9:16] = 0.0
    wide = np.linspace(-1, 1, 25)
    flat = best_view(relief_of(grid_of(wide, wide), field_of(np.add.outer(wide, wide))))
    deep = best_view(relief_of(grid_of(wide, wide), field_of(pit)))
    assert deep[0] > flat[0]


def test_what_has_no_logarithm_is_cut_off_below() -> None:
    values = bowl() - 1
    found = relief(values, scale=Scale(np.geomspace(0.1, 2.0, 9), log=True, even=True))
    assert np.isfinite(found.heights).all()
    down, across = found.pieces
    assert (found.heights[::down, ::across][values <= 0] == 0).all()
    assert found.cut[::down, ::across][values <= 0].all()


def test_a_mark_may_say_from_where_it_is_seen() -> None:
    made = Panel(marks=[FieldMark(grid=grid_of(), field=field_of(bowl()), kind="3d", view=(20.0, 30.0))])
    whole = Picture(title="", notes=(), parts=Parts(parts=[made]), width=5, height=5)
    ax = in_space(whole)
    assert (ax.elev, ax.azim) == (20, 30)
    eye = page_of(whole).layout.scene.camera.eye
    np.testing.assert_allclose([np.degrees(np.arctan2(eye.y, eye.x)), np.degrees(np.arctan2(eye.z, np.hypot(eye.x, eye.y)))], [30, 20])


def test_a_file_of_vectors_holds_the_surface_as_an_image() -> None:
    ax, file = in_space(picture(bowl())), BytesIO()
    ax.figure.savefig(file, format="svg")
    text = file.getvalue().decode()
    assert text.count("<image") == 1
    assert len(text) < 300_000
