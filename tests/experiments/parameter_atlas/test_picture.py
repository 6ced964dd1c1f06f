from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy.stats import spearmanr

import thetascope as ts
from thetascope.errors import ResultError
from thetascope.experiments.framework.pictures import draw_matplotlib, draw_plotly, save_figure
from thetascope.experiments.parameter_atlas.images import marks_of, packed, urgency
from thetascope.experiments.parameter_atlas.panels import PATTERN_STYLES, colors_of, left_out
from thetascope.experiments.parameter_atlas.picture import KINDS
from thetascope.experiments.parameter_atlas.picture_info import AtlasInfo, correlation, info
from thetascope.experiments.parameter_atlas.tensor_images import ImageBlock
from thetascope.experiments.shared.patterns import PATTERNS

HOSTILE = "<img src=x onerror=alert(1)>"
NAMES = ("descending–convex", "ascending–concave", "flat", "bump", "wave", "other", "unresolved", "not finite")
LENET: dict[str, tuple[int, ...]] = {
    "conv1.weight": (6, 1, 3, 3), "conv1.bias": (6,), "conv2.weight": (16, 6, 3, 3), "conv2.bias": (16,), "fc1.weight": (120, 576),
    "fc1.bias": (120,), "fc2.weight": (84, 120), "fc2.bias": (84,), "fc3.weight": (10, 84), "fc3.bias": (10,),
}  # fmt: skip
SMALL: dict[str, tuple[int, ...]] = {"conv.weight": (2, 3, 2, 2), "conv.bias": (2,), "fc.weight": (3, 8), "fc.bias": (3,)}


Tensors = dict[str, tuple[int, ...]]


def labels_of(name: str, shape: tuple[int, ...]) -> list[str]:
    return [f"{name}[{','.join(map(str, index))}]" if shape else name for index in np.ndindex(*shape)]


def atlas(tensors: dict[str, tuple[int, ...]] | None = None, alphas: int = 11, patterns: bool = True, **attrs: Any) -> xr.Dataset:
    """Parameters whose loss is a parabola of their distance, steeper in some layers, with its minimum at the final state."""
    tensors = SMALL if tensors is None else tensors
    rng = np.random.default_rng(0)
    labels = [label for name, shape in tensors.items() for label in labels_of(name, shape)]
    layer = [name.rpartition(".")[0] or "(root)" for name, shape in tensors.items() for _ in range(prod(shape))]
    order = {name: i for i, name in enumerate(dict.fromkeys(layer))}
    scale = np.array([10.0 ** -(order[name] % 4) for name in layer])
    distance = np.abs(rng.normal(0, 0.05, len(labels))) + 1e-4
    curvature = scale * np.exp(rng.normal(0, 1.2, len(labels)))
    alpha = np.linspace(-0.5, 1.5, alphas)
    change = curvature[:, None] * distance[:, None] ** 2 * (1 - alpha) ** 2
    weights = np.array([0.3, 0.05, 0.1, 0.1, 0.05, 0.15, 0.25, 0.0])
    chosen = np.full(len(labels), "descending–convex")
    for i, name in enumerate(order):
        own = np.array(layer) == name
        chosen[own] = rng.choice(NAMES, own.sum(), p=np.roll(weights, i % 3))
    chosen[chosen == "not finite"] = "other"
    chosen = chosen if patterns else np.full(len(labels), "")
    variables = {
        "loss_change": (("parameter", "alpha"), change.astype(np.float32)),
        "status": (("parameter", "alpha"), np.ones(change.shape, np.int8)),
        "impact": ("parameter", np.abs(change).max(axis=1).astype(np.float32)),
        "distance": ("parameter", distance),
        "layer": ("parameter", np.array(layer)),
        "pattern": ("parameter", chosen),
        "midpoint": ("parameter", np.linspace(0, 1, len(labels))),
    }
    base = {
        "experiment": "parameter_atlas", "title": "every parameter moved alone", "kind": "quadratic", "mode": "exact", "final_loss": 0.0512,
        "loss_name": "nll", "samples_scored": 500, "tensors": {name: list(shape) for name, shape in tensors.items()},
        "pattern_shares": {name: float((chosen == name).mean()) for name in NAMES} if patterns else {},
        "subtitle": "the rest stays final; knots at steps 0, 470, 940; α from −0.5 to 1.5",
    }  # fmt: skip
    return xr.Dataset(variables, coords={"parameter": labels, "alpha": alpha}, attrs={**base, **attrs})


def altered(data: xr.Dataset, **variables: Any) -> xr.Dataset:
    data = data.copy(deep=True)
    for name, values in variables.items():
        data[name] = (data[name].dims, np.asarray(values))
    return data


def drawn(data: xr.Dataset, **options: Any) -> Figure:
    figure = draw_matplotlib(data, **options)
    assert isinstance(figure, Figure)
    figure.savefig(BytesIO(), dpi=40)
    return figure


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))


def titled(figure: Figure, start: str) -> Axes:
    (axis,) = (axis for axis in figure.axes if axis.get_title(loc="left").startswith(start))
    return axis


def with_bad_values() -> xr.Dataset:
    """Parameter 4 is not finite at one point, parameter 30 was not scored to its end, parameter 2 did not move, 3 has no impact."""
    data = atlas()
    change, status = data["loss_change"].values.copy(), data["status"].values.copy()
    impact, distance = data["impact"].values.copy(), data["distance"].values.copy()
    change[4, 3], status[4, 3], change[30, 5:], status[30, 5:] = np.inf, 2, np.nan, 0
    impact[4], impact[30], impact[2], distance[2], impact[3] = np.inf, 0.5, 0.0, 0.0, 0.0
    return altered(data, loss_change=change, status=status, impact=impact, distance=distance)


def test_info_holds_what_the_result_holds() -> None:
    data = atlas()
    found = info(data)
    np.testing.assert_array_equal(found.impact, data["impact"].values)
    np.testing.assert_array_equal(found.distance, data["distance"].values)
    np.testing.assert_array_equal(found.curves, data["loss_change"].values)
    assert found.labels[[0, 7, -1]].tolist() == ["conv.weight[0,0,0,0]", "conv.weight[0,1,1,1]", "fc.bias[2]"]
    assert [(layer.name, layer.tensors, len(layer.members)) for layer in found.layers] == [
        ("conv", ("conv.weight", "conv.bias"), 26),
        ("fc", ("fc.weight", "fc.bias"), 27),
    ]
    assert found.tensors["fc.weight"] == ((3, 8), 26)
    assert found.title == "Every parameter moved alone"
    assert found.notes[0].endswith("quadratic path; 500 samples; loss of the final state 0.0512")
    assert found.impact_label == "impact: largest |change| of loss (NLL, nats)"
    assert found.place("fc.bias[1]") == 51


def test_alpha_is_put_in_order() -> None:
    data = atlas()
    shuffled = info(data.isel(alpha=[3, 0, 1, 2, *range(10, 3, -1)]))
    np.testing.assert_array_equal(shuffled.alphas, data["alpha"].values)
    np.testing.assert_array_equal(shuffled.curves, data["loss_change"].values)


def test_the_correlation_is_spearmans_over_what_moved() -> None:
    rng = np.random.default_rng(1)
    impact, distance = rng.integers(0, 9, 200).astype(float), rng.integers(1, 9, 200).astype(float)
    assert correlation(impact, distance) == pytest.approx(spearmanr(impact, distance).statistic)
    data = with_bad_values()
    found = info(data)
    known = np.isfinite(found.impact) & (found.distance > 0)
    assert known.sum() == 50
    expected = spearmanr(found.impact[known], found.distance[known]).statistic
    assert correlation(found.impact, found.distance) == pytest.approx(expected)
    for few in (np.array([1.0, 2.0]), np.zeros(9), np.full(9, np.nan)):
        assert np.isnan(correlation(few, np.arange(1.0, len(few) + 1)))


def test_what_is_not_finite_or_not_scored_has_no_impact_and_is_told() -> None:
    data = with_bad_values()
    found = info(data)
    assert np.flatnonzero(found.not_finite).tolist() == [4]
    assert np.flatnonzero(found.missing).tolist() == [30]
    assert np.flatnonzero(np.isnan(found.impact)).tolist() == [4, 30]
    assert {kind: places.tolist() for kind, places in marks_of(found, found.everything).items()} == {
        "impact 0": [2, 3],
        "not scored": [30],
        "not finite": [4],
    }
    assert "1 of 53 parameters have a value that is not finite; they are marked and take no part in what is reckoned" in found.notes
    assert left_out(found, found.everything) == "; not drawn: 1 unmoved, 1 of impact 0, 2 without a value"
    figure = drawn(data)
    for said in ("not finite: 1", "not scored: 1", "impact 0: 2", "; not drawn: 1 unmoved, 1 of impact 0, 2 without a value"):
        assert said in texts(figure)
    points = sum(len(np.asarray(line.get_xdata())) for line in titled(figure, "Spearman").lines)
    assert points == 49


def test_the_table_s_error_is_told() -> None:
    data = atlas(mode="tabulated", table_error={"parameters": 200, "places": 1000, "largest": 0.0031, "unit": "share of the final loss"})
    table = info(altered(data, status=np.full((53, 11), 3)))
    read = "all values are read from tables or between scored places"
    seen = "at 1,000 of these places, of 200 parameters, they were off by at most 0.31 % of the final loss"
    assert table.notes[1] == f"{read}; {seen}; what is narrower than the way between scored places is not seen"
    assert len(info(data).notes) == 1  # nothing was read from it


def test_shares_of_patterns() -> None:
    data = atlas()
    data["pattern"].values[:] = ["flat"] * 26 + ["wave"] * 20 + [""] * 7
    found = info(data)
    assert found.shares(found.everything)["flat"] == pytest.approx(26 / 46)
    assert found.shares(found.layers[1].members) == {name: float(name == "wave") for name in NAMES}
    axis = draw_matplotlib(data, Figure().subplots(), kind="patterns")
    assert isinstance(axis, Axes)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["all (53)", "conv (26)", "fc (27)"]
    widths = {bars.get_label(): [bar.get_width() for bar in bars.patches] for bars in axis.containers if isinstance(bars, BarContainer)}
    assert widths["flat"] == pytest.approx([100 * 26 / 46, 100, 0])
    assert widths["wave"] == pytest.approx([100 * 20 / 46, 0, 100])
    assert axis.get_xlabel() == "% of the parameters"  # an earlier result does not know how sure its shares are
    data.attrs["pattern_shares_interval"] = {"flat": [0.45, 0.70], "wave": [0.30, 0.55], "bump": [0.0, 0.9]}
    found = info(data)
    assert found.widest == pytest.approx(20 / 46 - 0.30)  # of a pattern that there is
    axis = draw_matplotlib(data, Figure().subplots(), kind="patterns")
    assert isinstance(axis, Axes)
    assert axis.get_xlabel() == "% of the parameters (of all: ± 13 at most, bootstrap, 95 %)"


def test_without_patterns_there_is_no_such_panel() -> None:
    data = atlas(patterns=False)
    found = info(data)
    assert not found.has_patterns
    assert "patterns" not in texts(drawn(data))
    assert not any(trace.type == "bar" for trace in draw_plotly(data).data)
    with pytest.raises(ResultError, match="no patterns: they need a state in the middle"):
        draw_matplotlib(data, kind="patterns")


def test_every_known_pattern_has_a_style_of_its_own() -> None:
    assert set(PATTERN_STYLES) == set(PATTERNS)  # the names that the experiment gives
    assert len({str(style) for style in PATTERN_STYLES.values()}) == len(PATTERNS)


def shown(found: AtlasInfo, name: str) -> dict[str, ImageBlock]:
    return {block.tensor: block for block in found.named(name).picture.blocks}


def test_a_matrix_has_outputs_as_rows_and_its_biases_beside_them() -> None:
    blocks = shown(info(atlas()), "fc")
    np.testing.assert_array_equal(blocks["fc.weight"].index, np.arange(26, 50).reshape(3, 8))
    assert blocks["fc.bias"].index.tolist() == [[50], [51], [52]]
    np.testing.assert_array_equal(blocks["fc.bias"].y, blocks["fc.weight"].y)
    assert blocks["fc.bias"].x[0] > blocks["fc.weight"].x[-1]


def test_kernels_are_tiles_with_gaps() -> None:
    blocks = shown(info(atlas()), "conv")
    index = blocks["conv.weight"].index
    assert index.shape == (2 * 2 + 1, 3 * 2 + 2)
    kernels = np.arange(24).reshape(2, 3, 2, 2)
    np.testing.assert_array_equal(index[:2, :2], kernels[0, 0])
    np.testing.assert_array_equal(index[3:, 6:], kernels[1, 2])
    assert (index[2] == -1).all()
    assert (index[:, [2, 5]] == -1).all()
    widths = np.diff(blocks["conv.weight"].x)
    assert widths.tolist() == pytest.approx([1, 1, 0.3, 1, 1, 0.3, 1, 1])
    assert blocks["conv.bias"].index.tolist() == [[24], [-1], [25]]
    assert blocks["conv.bias"].y.tolist() == pytest.approx([0, 2, 2.3, 4.3])  # a bias is as high as its kernels


@pytest.mark.parametrize(
    "tensors",
    [
        {"lstm.weight_ih": (8, 3), "lstm.weight_hh": (8, 2), "lstm.bias_ih": (8,), "lstm.bias_hh": (8,)},
        {"attention.in_proj_weight": (12, 4), "attention.in_proj_bias": (12,)},
        {"embedding.weight": (50, 3)},
        {"norm.weight": (7,), "norm.bias": (7,)},
        {"conv3.weight": (2, 3, 2, 2, 2), "conv3.bias": (2,)},
        {"conv1.weight": (4, 2, 5), "conv1.bias": (4,)},
        {"mixed.a": (4, 7), "mixed.b": (9, 2), "mixed.c": (5,), "mixed.scale": ()},
        {"weight": (1,)},
        {"scale": ()},
    ],
    ids=lambda tensors: next(iter(tensors)),
)
def test_every_parameter_has_one_cell_and_no_two_share_one(tensors: dict[str, tuple[int, ...]]) -> None:
    data = atlas(tensors)
    found = info(data)
    blocks = [block for layer in found.layers for block in layer.picture.blocks]
    places = np.concatenate([block.index[block.index >= 0] for block in blocks])
    assert sorted(places.tolist()) == list(range(len(found.labels)))
    for block in blocks:
        assert [found.labels[i].startswith(block.tensor) for i in block.index[block.index >= 0]]
        assert (np.diff(block.x) > 0).all()
        assert (np.diff(block.y) > 0).all()
    corners = [(block.x[0], block.x[-1], block.y[0], block.y[-1]) for block in blocks]
    for i, (left, right, up, down) in enumerate(corners):
        for other in corners[i + 1 :]:
            assert left >= other[1] or right <= other[0] or up >= other[3] or down <= other[2]
    drawn(data)
    drawn(data, layer=found.layers[0].name)
    draw_plotly(data).to_json()


def test_a_picture_has_the_impacts_at_their_places() -> None:
    data = atlas()
    found = info(data)
    axis = draw_matplotlib(data, Figure().subplots(), kind="images", layer="fc")
    assert isinstance(axis, Axes)
    weights, biases = (mesh for mesh in axis.collections if isinstance(mesh, QuadMesh))
    np.testing.assert_allclose(np.asarray(weights.get_array()), found.impact[26:50].reshape(3, 8))
    np.testing.assert_allclose(np.asarray(biases.get_array()), found.impact[50:53].reshape(3, 1))
    assert weights.norm.vmin == found.colors.levels[0] if found.colors else False
    assert axis.get_ylim() == (3, 0)  # the first row on top
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("second index", "first index")


def test_layers_share_one_scale_of_colours() -> None:
    figure = drawn(atlas(), kind="images")
    limits = {
        (mesh.norm.vmin, mesh.norm.vmax)
        for mesh in figure.findobj(QuadMesh)
        if isinstance(mesh, QuadMesh) and mesh.get_cmap().name == "viridis"
    }
    assert len(limits) == 1


def test_thinning_keeps_the_largest_impact_and_what_is_not_finite() -> None:
    data = atlas({"fc.weight": (40, 30)})
    found = info(data)
    (block,) = found.layers[0].picture.blocks
    small = block.thinned(urgency(found), 10, 7)
    assert small.index.shape == (10, 6)
    assert small.x.tolist() == [0, 5, 10, 15, 20, 25, 30]
    np.testing.assert_allclose(found.impact[small.index[0, 0]], found.impact.reshape(40, 30)[:4, :5].max())
    assert block.thinned(urgency(found), 40, 30) is block
    uneven = block.thinned(urgency(found), 9, 100)
    assert uneven.index.shape == (8, 30)
    assert uneven.y[-1] == 40
    not_finite = replace(found, not_finite=np.arange(1200) == 35)
    assert (block.thinned(urgency(not_finite), 1, 1).index == 35).all()
    missing = np.arange(1200) != 77
    unfinished = replace(found, missing=missing, impact=np.where(missing, np.nan, found.impact))
    assert (block.thinned(urgency(unfinished), 1, 1).index == 77).all()  # what was not scored hides nothing that was


def test_rows_of_pictures_fill_the_width() -> None:
    data = atlas(LENET)
    found = info(data)
    rows = packed(found, found.layers, 9.7)
    assert [layer.name for row in rows for layer in row.layers] == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert len(rows) == 2
    for row in rows:
        assert sum(row.widths) == pytest.approx(9.7, abs=0.3)
        assert 1.1 < row.height < 2.5


def test_the_ranking_and_the_largest() -> None:
    data = with_bad_values()
    found = info(data)
    figure = drawn(data, top=4)
    best = np.argsort(-np.nan_to_num(found.impact), kind="stable")[:4]
    top = titled(figure, "the 4 largest impacts")
    assert [label.get_text() for label in top.get_yticklabels()] == found.labels[best].tolist()
    (bars,) = (c for c in top.containers if isinstance(c, BarContainer))
    assert [bar.get_width() for bar in bars.patches] == pytest.approx(found.impact[best].tolist())
    ranking = titled(figure, "impact by rank; 2 of impact 0 are not drawn")
    curve = ranking.lines[0]  # all parameters
    np.testing.assert_allclose(np.asarray(curve.get_ydata()), np.sort(found.impact[found.impact > 0])[::-1])
    assert np.asarray(curve.get_xdata()).tolist() == list(range(1, 50))


def test_one_layer_tensor_or_parameter() -> None:
    data = atlas()
    found = info(data)
    figure = drawn(data, layer="fc", top=3)
    (curves,) = (axis for axis in figure.axes if axis.get_title(loc="left") == "the parameters with the largest impacts")
    best = found.ranked(found.layers[1].members)[:3]
    lines = {str(line.get_label()): line for line in curves.lines}
    for i in best:
        np.testing.assert_allclose(np.asarray(lines[found.labels[i]].get_ydata()), found.curves[i])
    assert "fc.weight (24)" in texts(drawn(data, layer="fc.weight"))
    assert "fc (27)" not in texts(drawn(data, layer="fc.weight"))
    one = texts(drawn(data, parameter="conv.bias[1]"))
    i = found.place("conv.bias[1]")
    assert "conv.bias[1]\n" in one
    assert found.patterns[i] in one
    assert "middle state at 0.481 of its way" in one
    assert [label.get_text() for label in titled(drawn(data, layer="fc", kind="top", top=2), "the 2").get_yticklabels()] == found.labels[
        best[:2]
    ].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_alone_or_on_an_axis(kind: str) -> None:
    data = atlas()
    drawn(data, kind=kind)
    own = Figure().subplots()
    assert draw_matplotlib(data, own, kind=kind, layer="fc") is own
    own.figure.savefig(BytesIO(), dpi=40)  # type: ignore[union-attr]


def test_wrong_options_say_what_there_is() -> None:
    data = atlas()
    with pytest.raises(ResultError, match="images, scatter, ranking, top, patterns"):
        draw_matplotlib(data, kind="3d")
    with pytest.raises(ResultError, match='no layer or tensor "fc9" in this result; there are: conv, fc'):
        draw_matplotlib(data, layer="fc9")
    with pytest.raises(ResultError, match=r"there are 53, such as .conv.weight\[0,0,0,0\]"):
        draw_matplotlib(data, parameter="fc.weight[9,9]")
    with pytest.raises(ResultError, match=r"name the layer of the image.*conv, fc"):
        draw_matplotlib(data, Figure().subplots(), kind="images")
    with pytest.raises(ResultError, match="top must be at least 1; got 0"):
        draw_matplotlib(data, top=0)


def test_a_result_that_is_no_atlas_or_not_whole() -> None:
    data = atlas()
    with pytest.raises(ResultError, match=r"lacks distance, impact.*same out="):
        info(data.drop_vars(["impact", "distance"]))
    with pytest.raises(ResultError, match=r'"conv.weight" has 22 parameters in a row, expected the 24 of shape \[2, 3, 2, 2\]'):
        info(data.isel(parameter=slice(2, None)))
    with pytest.raises(ResultError, match=r'"fc.bias" has 3 parameters in a row, expected none'):
        info(data.assign_attrs(tensors={k: v for k, v in data.attrs["tensors"].items() if k != "fc.bias"}))


def test_nothing_to_show_still_draws() -> None:
    data = atlas()
    zero = altered(data, impact=np.zeros(53), loss_change=np.zeros((53, 11)))
    assert info(zero).colors is None
    assert "no impact above 0" in texts(drawn(zero))
    nothing = altered(data, impact=np.full(53, np.nan), loss_change=np.full((53, 11), np.nan), status=np.full((53, 11), 2))
    assert "not finite: 53" in texts(drawn(nothing))
    for bad in (zero, nothing):
        drawn(bad, layer="fc")
        for kind in KINDS:
            drawn(bad, kind=kind)
        draw_plotly(bad).to_json()
    unmoved = altered(data, distance=np.zeros(53))
    assert "nothing above 0" in texts(drawn(unmoved, kind="scatter"))


def test_of_many_layers_those_with_the_largest_impacts_are_shown() -> None:
    data = atlas({f"encoder.layers.{i}.linear.{kind}": shape for i in range(20) for kind, shape in (("weight", (3, 4)), ("bias", (3,)))})
    found = info(data)
    layers = found.prominent
    assert len(layers) == 12
    least = min(found.impact[layer.members].max() for layer in layers)
    assert all(found.impact[layer.members].max() <= least for layer in found.layers if layer not in layers)
    assert [layer.name for layer in layers] == [layer.name for layer in found.layers if layer in layers]
    figure = drawn(data)
    assert "images and patterns show 12 of 20 layers, those with the largest impacts" in texts(figure)
    assert "other layers" in texts(figure)
    assert len(set(colors_of(found).values())) == 7  # seven and the grey of the rest
    assert sum(trace.name == "other layers" and trace.showlegend for trace in draw_plotly(data).data) == 1


def test_short_names_are_told_apart() -> None:
    names: Tensors = {f"encoder.layers.{i}.self_attention.output.dense.weight": (2, 3) for i in range(12)}
    data = atlas(names)
    found = info(data)
    assert len({found.short_names[layer.name] for layer in found.layers}) == 12
    assert len({found.short_label(i) for i in range(72)}) == 72


def test_panels_do_not_overlap_and_stay_inside() -> None:
    names: Tensors = {f"encoder.layers.{i}.self_attention.output.dense.weight": (6, 5) for i in range(4)}
    figure = drawn(atlas(names))
    boxes = [box for axis in figure.axes if (box := axis.get_tightbbox()) is not None]
    for i, box in enumerate(boxes):
        assert box.x0 >= figure.bbox.x0 - 1
        assert box.x1 <= figure.bbox.x1 + 1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_hostile_names_are_shown_as_text() -> None:
    data = atlas({f"{HOSTILE}.weight": (3, 4), "$a_{b}$.weight": (60, 50), "_%{x}.bias": (5,)})
    page = draw_plotly(data)
    assert "<img" not in page.to_html(include_plotlyjs=False)
    templates = [str(trace.hovertemplate) for trace in page.data] + [str(trace.name) for trace in page.data]
    assert not any("%{x}." in text for text in templates)
    assert any("&lt;img src=x onerror=alert(1)&gt;" in text for text in templates)
    figure = drawn(data)
    drawn(data, layer="$a_{b}$")
    drawn(data, parameter="$a_{b}$.weight[1,2]")
    assert not any(text.get_parse_math() for text in figure.findobj(Text) if isinstance(text, Text) and "$a_" in text.get_text())
    assert f"{HOSTILE}.weight[" in texts(figure)
    assert " _%{x}: ρ" in texts(figure)  # matplotlib hides what begins with an underscore


def test_plotly_shows_one_layer_at_a_time_with_its_values() -> None:
    data = with_bad_values()
    found = info(data)
    figure = draw_plotly(data)
    maps = [trace for trace in figure.data if trace.type == "heatmap"]
    assert [trace.visible for trace in maps] == [True, True, False, False]
    np.testing.assert_allclose(
        np.asarray(maps[2].z), np.where(np.arange(26, 50) == 30, np.nan, found.impact[26:50]).reshape(3, 8), rtol=1e-6
    )
    np.testing.assert_allclose(np.asarray(maps[2].customdata), found.distance[26:50].reshape(3, 8), rtol=1e-6)
    assert maps[2].text[1][3] == f"fc.weight[1,3]<br>{found.patterns[37]}"
    first, second = figure.layout.updatemenus[0].buttons
    assert (first.label, second.label) == ("conv (26)", "fc (27)")
    for button, chosen in ((first, 0), (second, 1)):
        visible = button.args[0]["visible"]
        assert len(visible) == len(figure.data)
        assert [on for on, trace in zip(visible, figure.data, strict=True) if trace.type == "heatmap"] == [chosen == 0] * 2 + [
            chosen == 1
        ] * 2
    assert second.args[1]["yaxis.range"] == [2.5, -0.5]
    marks = {trace.name: list(trace.text) for trace in figure.data if trace.type == "scatter" and trace.text is not None}
    assert marks == {"not finite: 1": ["conv.weight[0,1,0,0]: not finite"], "not scored: 1": ["fc.weight[0,4]: not scored"]}


def test_a_large_matrix_is_labelled_by_its_axes() -> None:
    data = atlas({"fc.weight": (60, 50), "fc.bias": (60,)})
    found = info(data)
    weight, bias = (trace for trace in draw_plotly(data).data if trace.type == "heatmap")
    assert weight.hovertemplate.startswith("fc.weight[%{y},%{x}]<br>")
    assert (weight.x0, weight.dx, weight.y0, weight.dy) == (0, 1, 0, 1)
    assert weight.text[3][4] == found.patterns[3 * 50 + 4]
    assert bias.text[7][0].startswith("fc.bias[7]<br>")


def test_points_of_the_scatter_tell_their_indices() -> None:
    data = with_bad_values()
    found = info(data)
    dots = [trace for trace in draw_plotly(data).data if trace.type.startswith("scatter")]
    scatter = next(trace for trace in dots if str(trace.hovertemplate).startswith("conv.weight["))
    assert scatter.hovertemplate.startswith(",".join(f"%{{customdata[{k}]}}" for k in range(4)).join(("conv.weight[", "]")))
    assert len(scatter.x) == 21  # 24, but for one unmoved, one of impact 0, one not finite
    for x, y, index in zip(scatter.x, scatter.y, np.asarray(scatter.customdata), strict=True):
        place = found.place(f"conv.weight[{','.join(map(str, index))}]")
        assert (x, y) == pytest.approx((found.distance[place], found.impact[place]), rel=1e-6)


def test_a_page_of_lenet_stays_small(tmp_path: Path) -> None:
    page = draw_plotly(atlas(LENET, alphas=41)).to_html(include_plotlyjs=False)
    assert len(page.encode()) < 4_000_000
    many = draw_plotly(atlas({"fc.weight": (700, 600)}, alphas=2))
    (image,) = (trace for trace in many.data if trace.type == "heatmap")
    assert np.asarray(image.z).size <= 110_000
    assert sum(len(trace.x) for trace in many.data if trace.type == "scattergl") == 100_000
    assert "100,000 of 420,000 points shown" in str(many.layout.annotations)


def test_the_result_draws_itself(tmp_path: Path) -> None:
    data = atlas()
    assert save_figure(data, tmp_path / "atlas.png").stat().st_size > 10_000
    assert ts.Result(data).figure().to_json() == draw_plotly(data).to_json()


def test_cells_smaller_than_dots_are_drawn_together_and_it_is_said() -> None:
    data = atlas({"embedding.weight": (2000, 3)})
    found = info(data)
    figure = drawn(data, kind="images", layer="embedding")
    rows, columns = np.asarray(figure.axes[0].collections[0].get_array()).shape
    assert rows < 700
    assert columns == 3
    assert f"a cell: the largest of {-(-2000 // rows)} × 1" in texts(figure)
    shown = np.asarray(figure.axes[0].collections[0].get_array())
    assert shown.max() == found.impact.max()
    assert "a cell:" not in texts(drawn(atlas(), kind="images"))
