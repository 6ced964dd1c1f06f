from __future__ import annotations

import numpy as np

from thetascope.drawing.fields import edges, lonely, open_corner


def test_cells_around_their_centers() -> None:
    np.testing.assert_allclose(edges(np.array([0.0, 1.0, 2.0]), np.zeros(1)), [-0.5, 0.5, 1.5, 2.5])
    np.testing.assert_allclose(edges(np.array([3.0]), np.array([0.0, 1.0])), [2.5, 3.5])


def test_cells_that_no_surface_shows() -> None:
    heights = np.full((4, 4), np.nan)
    heights[:2, :2] = 1
    heights[3, 3] = 1
    assert np.argwhere(lonely(heights)).tolist() == [[3, 3]]


def test_surfaces_are_seen_from_their_lowest_corner() -> None:
    heights = np.array([[0.1, 0.5, 0.9], [0.5, 0.0, 0.5], [0.7, 0.5, 0.6]])
    assert open_corner(heights) == (-1, -1)
    assert open_corner(heights[:, ::-1]) == (1, -1)
    assert open_corner(heights[::-1]) == (-1, 1)
    assert open_corner(np.where(heights == 0.1, np.nan, heights)) == (1, 1)
    assert open_corner(np.full((2, 2), np.nan)) in {(x, y) for x in (-1, 1) for y in (-1, 1)}
