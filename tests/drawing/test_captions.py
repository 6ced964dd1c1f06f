from __future__ import annotations

from typing import Any

import pytest

from thetascope.drawing.captions import buffers_note, scored_notes, tails_note

OWN = {"calibration_is_own_data": True}
GIVEN = {"calibration_is_own_data": False}


def attrs(**more: Any) -> dict[str, Any]:
    return {"floating_buffers": 6, "buffers": "recalibrate", "statistics_left": [], "reference": {"top_share": 0.02}, **more}


def calibration(rows: int | None, batches: int, batch: int, layers: int = 2) -> dict[str, Any]:
    return {"calibration": {"rows": rows, "batches": batches, "batch": batch, "layers": layers}}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (calibration(2000, 8, 250) | OWN, "from 2,000 of the objective's own inputs (8 batches of 250)"),
        (calibration(90, 1, 250) | OWN, "from 90 of the objective's own inputs (1 batch)"),  # fewer rows are one batch
        (calibration(750, 4, 250) | GIVEN, "from calibration data (750 rows, 4 batches)"),  # a loader's own, of whatever size
        (calibration(500, 2, 250) | GIVEN, "from calibration data (500 rows, 2 batches of 250)"),
        (calibration(None, 3, 250) | GIVEN, "from calibration data (3 batches)"),
        (calibration(None, 3, 250) | OWN, "from the objective's own inputs (3 batches)"),
    ],
)
def test_captions_say_what_statistics_were_estimated_from(more: dict[str, Any], said: str) -> None:
    assert scored_notes(attrs(**more)) == [f"running statistics estimated anew at each point {said}"]


def test_what_is_left_is_named() -> None:
    some = attrs(**calibration(500, 2, 250), **GIVEN) | {"statistics_left": ["norm.peak", "norm.low"]}
    said = buffers_note(some, "", "")
    assert said.endswith("(500 rows, 2 batches of 250); statistics of norm.peak, norm.low are left as they are: not understood")
    many = attrs(**calibration(500, 2, 250, layers=0)) | {"statistics_left": [f"n{i}" for i in range(6)]}
    assert buffers_note(many, "", "") == "statistics of n0, n1, n2, n3 and 2 more are left as they are: not understood"
    assert buffers_note(some | {"buffers": "path"}, "they move", "") == "they move"  # nothing was estimated, nothing left


def test_whose_buffers_are_held() -> None:
    assert scored_notes(attrs(buffers="final")) == ["buffers of the last state"]
    assert scored_notes(attrs(buffers="final"), held="center") == ["buffers of the center"]
    assert scored_notes(attrs(buffers="path")) == ["running statistics move along the path"]
    for policy in ("path", "final", "recalibrate"):
        assert scored_notes(attrs(buffers=policy, floating_buffers=0)) == []


def test_heavy_tails_are_said() -> None:
    said = "the 1 % of the samples with the largest losses carry 43 % of the loss: standard errors are rough"
    assert tails_note({"reference": {"top_share": 0.432}}) == said
    assert scored_notes(attrs(floating_buffers=0, reference={"top_share": 0.432})) == [said]
    for none in ({}, {"reference": {"top_share": 0.25}}, {"reference": {"top_share": None}}):
        assert tails_note(none) == ""
