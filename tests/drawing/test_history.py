from __future__ import annotations

import numpy as np

from thetascope.drawing.history import MOST_PANELS, history, picture
from thetascope.drawing.with_plotly import page_of


def test_metrics_stand_by_what_they_measure_the_loss_first() -> None:
    metrics = [{"test_accuracy": 0.1, "test_loss": 2.0}, {"test_accuracy": 0.9, "test_loss": 0.5, "train_loss": 0.4}]
    found = history([0, 10], [0.0, 1.0], metrics)
    assert [panel.y_label for panel in picture(found).parts.panels] == ["loss", "accuracy"]
    assert list(found.kinds["loss"]) == ["test_loss", "train_loss"]
    np.testing.assert_array_equal(found.kinds["loss"]["train_loss"], [np.nan, 0.4])
    assert (found.x_label, found.x.tolist()) == ("epoch", [0.0, 1.0])


def test_steps_where_epochs_do_not_rise() -> None:
    metrics = [{"loss": 1.0}] * 3
    assert history([0, 5, 9], [0.0, 0.0, 1.0], metrics).x_label == "step"
    assert history([0, 5, 9], [0.0, None, 1.0], metrics).x.tolist() == [0.0, 5.0, 9.0]


def test_the_loss_is_logarithmic_where_it_spans_much() -> None:
    wide = history([0, 1], [None, None], [{"loss": 100.0, "accuracy": 0.001}, {"loss": 0.1, "accuracy": 1.0}])
    assert [panel.y_log for panel in picture(wide).parts.panels] == [True, False]


def test_curves_of_one_data_set_share_colour_and_legend() -> None:
    metrics = [{"test_loss": 2.0, "train_loss": 3.0, "test_accuracy": 0.5}, {"test_loss": 1.0, "test_accuracy": float("nan")}]
    figure = page_of(picture(history([0, 1], [0.0, 1.0], metrics)))
    assert [(trace.name, trace.showlegend, trace.yaxis) for trace in figure.data] == [
        ("test", True, "y"), ("train", True, "y"), ("test", False, "y2"),
    ]  # fmt: skip
    assert figure.data[0].line.color == figure.data[2].line.color != figure.data[1].line.color
    assert list(figure.data[2].y) == [0.5]  # what is not finite is not drawn


def test_too_many_kinds_are_named() -> None:
    metrics = [{f"test_{kind}": 1.0 for kind in ("loss", "a", "b", "c", "d", "<i>")}]
    found = picture(history([0], [0.0], metrics))
    assert len(list(found.parts.panels)) == MOST_PANELS
    assert found.notes == ("not drawn: test_d, test_<i>",)
    assert "not drawn: test_d, test_&lt;i&gt;" in page_of(found).layout.title.text
