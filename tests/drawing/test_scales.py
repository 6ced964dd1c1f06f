from __future__ import annotations

import numpy as np
import pytest

from thetascope.arrays import Floats
from thetascope.drawing.scales import even_scale, least_range, scale_of, text_of, texts_of


def test_wide_positive_values_get_a_logarithmic_scale_with_levels_in_equal_ratios() -> None:
    scale = scale_of(np.geomspace(1e-6, 1e4, 500))
    assert scale.log
    assert scale.even
    np.testing.assert_allclose(np.diff(np.log(scale.levels)), np.diff(np.log(scale.levels))[0])
    assert (scale.levels[0], scale.levels[-1]) == (1e-6, 1e4)
    assert set(scale.tick_texts) >= {"0.01", "1", "10,000"}
    assert scale.remark == ", log scale"


def test_levels_show_the_basin_and_the_wall() -> None:
    values = np.append(np.linspace(-1, 1, 400), [1e8, 2e8])
    scale = scale_of(values)
    assert not scale.log
    assert not scale.even
    assert ((scale.levels > -1) & (scale.levels < 1)).sum() >= 5
    assert (scale.levels > 1e6).sum() >= 5
    assert scale.remark == ", uneven scale"
    spike = scale_of(np.append(np.linspace(0.1, 2, 400), 1e-12))
    assert ((spike.levels > 0.1) & (spike.levels < 2)).sum() >= 5


def test_quantiles_draw_no_noise_on_a_plateau() -> None:
    noisy = 2.3 + 1e-7 * np.sin(np.arange(400.0))
    noisy[:8] = 0.1
    levels = scale_of(noisy).levels
    assert ((levels > 2.29) & (levels < 2.31)).sum() <= 2


@pytest.mark.parametrize("values", [np.linspace(-3, 5, 50), np.geomspace(0.01, 100, 50), np.append(np.linspace(-1, 1, 90), 1e9)])
def test_positions_rise_from_0_to_1_and_lead_back(values: Floats) -> None:
    scale = scale_of(values)
    places = scale.position(values)
    assert (places.min(), places.max()) == (0, 1)
    assert (np.diff(places) > 0).all()
    np.testing.assert_allclose(scale.value(places), values, rtol=1e-6, atol=1e-6)
    assert scale.position(np.array([values.max() * 1.5]))[0] > 1
    assert np.isnan(scale.position(np.array([np.nan, np.inf]))).all()


def test_numbers_are_written_so_that_they_differ() -> None:
    assert texts_of(np.array([1e-6, 0.5, 1000.0, 2e10])) == ["10⁻⁶", "0.5", "1,000", "2·10¹⁰"]
    assert texts_of(np.array([1.00001, 1.00002])) == ["1.00001", "1.00002"]
    assert [text_of(value) for value in (2e10, 0.1234567, -3.0)] == ["2·10¹⁰", "0.123", "−3"]
    assert texts_of(np.array([-0.25, 0.0])) == ["−0.25", "0"]


def test_an_even_scale_spreads_values_alike_wherever_they_lie() -> None:
    scale = even_scale(np.append(np.full(400, 0.5) + np.linspace(0, 1e-3, 400), [9.0]))
    assert (scale.even, scale.log) == (True, False)
    np.testing.assert_allclose(np.diff(scale.levels), np.diff(scale.levels)[0])
    far = even_scale(np.append(np.geomspace(1e-3, 2e-3, 400), [9.0]))
    assert far.log
    np.testing.assert_allclose(np.diff(np.log(far.levels)), np.diff(np.log(far.levels))[0])
    assert (far.levels[0], far.levels[-1]) == pytest.approx((1e-3, 9.0))
    assert even_scale(np.array([np.nan])).levels.size == 0


def test_what_hardly_differs_has_a_range_of_a_hundredth_to_each_side() -> None:
    assert least_range(np.array([0.98, 0.98]), np.array([np.nan])) == pytest.approx((0.97, 0.99))
    assert least_range(np.array([0.0, 0.0])) == (-0.01, 0.01)
    assert least_range(np.array([200.0, 201.0])) == pytest.approx((198.495, 202.505))
    assert least_range(np.array([0.5, 0.53])) is None
    assert least_range(np.array([np.nan])) is None
    bounded = even_scale(np.array([0.9999, 1.0]), bounded=True)
    assert bounded.levels[0] < 0.991 < 1.009 < bounded.levels[-1]
