from __future__ import annotations

import numpy as np

from thetascope.drawing.fields import edges, lonely


def test_cells_around_their_centers() -> None:
    np.testing.assert_allclose(edges(np.array([0.0, 1.0, 2.0]), np.zeros(1)), [-0.5, 0.5, 1.5, 2.5])
    np.testing.assert_allclose(edges(np.array([3.0]), np.array([0.0, 1.0])), [2.5, 3.5])


def test_cells_that_no_surface_shows() -> None:
    heights = np.full((4, 4), np.nan)
    heights[:2, :2] = 1
    heights[3, 3] = 1
    assert np.argwhere(lonely(heights)).tolist() == [[3, 3]]
