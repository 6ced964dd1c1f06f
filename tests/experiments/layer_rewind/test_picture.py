"""The picture and the words of when layers were finished."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thetascope as ts
from thetascope.drawing.scales import SymmetricLog
from thetascope.drawing.spec import Image, Line
from thetascope.errors import ResultError
from thetascope.experiments.framework.catalog import declaration
from thetascope.experiments.framework.declaration import words_of
from thetascope.experiments.framework.pictures import picture
from thetascope.experiments.layer_rewind.words import headline


def learnt(model: nn.Module, inputs: Tensor, targets: Tensor, count: int) -> Iterator[dict[str, Tensor]]:
    """The states of a training that gains something, ten steps apart."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for step in range(10 * count + 1):
        if step % 10 == 0:
            yield {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def made(layers: int = 3, steps: int = 6, **options: Any) -> ts.Result:
    torch.manual_seed(0)
    middle = [part for _ in range(layers - 2) for part in (nn.Linear(6, 6), nn.Tanh())]
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), *middle, nn.Linear(6, 3))
    inputs = torch.randn(80, 4)
    data = inputs, inputs[:, :3].argmax(1)
    trajectory = ts.Trajectory.from_states(list(learnt(model, *data, steps)), steps=[0, 1, 10, 20, 100, 200, 1000])
    return ts.layer_rewind(ts.Objective(model, data), trajectory, progress=False, **options)


@pytest.mark.parametrize("layers", [2, 5, 39])
def test_any_number_of_layers_is_drawn(layers: int) -> None:
    result = made(layers)
    for spacing in ("states", "steps", "log"):
        figure: Any = result.plot(spacing=spacing)
        assert len(figure.axes) >= 3
    page = result.figure()
    assert any(button.args for menu in page.layout.updatemenus for button in menu.buttons), "a page switches between the variables"


def test_cells_that_count_as_nothing_are_white() -> None:
    data = made().data
    found = picture(data, "figure")
    panel = list(found.parts.panels)[-1]
    (image,) = (mark for mark in panel.marks if isinstance(mark, Image))
    excess, error = data["excess"].values, data["excess_se"].values
    nothing = np.abs(excess) <= np.maximum(2 * error, data.attrs["least"])
    np.testing.assert_array_equal(image.values == 0, nothing)
    np.testing.assert_allclose(image.values[~nothing], (excess / data.attrs["gain"])[~nothing])
    assert image.scale is not None
    assert image.scale.position(np.zeros(1))[0] == pytest.approx(0.5)


def test_the_line_goes_where_layers_were_finished() -> None:
    data = made().data
    panel = list(picture(data, "figure").parts.panels)[-1]
    line = next(mark for mark in panel.marks if isinstance(mark, Line) and mark.label == "finished from here on")
    columns = np.searchsorted(data["state"].values, data["finished"].values)
    assert np.asarray(line.x)[::2].tolist() == columns.tolist()


def test_a_symmetric_scale_is_one_to_one_and_has_zero_in_its_middle() -> None:
    scale = SymmetricLog.of(np.array([-3.0, 0.0, 0.4]), 0.01)
    values = np.array([-3.0, -0.1, -0.005, 0.0, 0.02, 5.0])
    places = scale.position(values)
    assert (np.diff(places) > 0).all()
    np.testing.assert_allclose(scale.value(places), values, atol=1e-12)
    np.testing.assert_allclose(places[3], 0.5)
    np.testing.assert_allclose(scale.ticks, [-10, -1, -0.1, -0.01, 0.01, 0.1, 1, 10])


def test_the_headline_names_layers_and_moments() -> None:
    result = made()
    data = result.data
    text = headline(data)
    for layer, state in zip(data["layer"].values, data["finished"].values, strict=True):
        assert str(layer) in text or len(set(data["finished"].values)) == 1
        assert 0 <= state <= data.sizes["state"] - 1
    assert "linearly connected" in text
    words = words_of(declaration("layer_rewind"), data.attrs)
    assert words.shows(data)
    assert words.table is not None
    assert len(words.table(data).rows) == 3


def test_another_variable_has_its_own_cells_and_wrong_options_are_refused() -> None:
    result = made(states=3, barriers=False)
    assert result.plot(variable="accuracy")
    with pytest.raises(ResultError, match="spacing must be"):
        result.plot(spacing="years")
