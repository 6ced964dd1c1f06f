from __future__ import annotations

import numpy as np

from thetascope.experiments.shared.layer_rows import LINE, NAMES, inches, row_names


def test_few_layers_have_their_names_and_blocks_their_borders() -> None:
    names = ["stem", "0.a", "0.b", "1.a", "1.b", "head"]
    (places, texts), ends = row_names(names, ["stem", "0", "0", "1", "1", "head"])
    assert (places, texts) == ([0.5, 1.5, 2.5, 3.5, 4.5, 5.5], names)
    assert ends == [1, 3, 5]
    assert row_names(names, [""] * 6)[1] == []
    assert row_names(["only"], ["only"]) == (([0.5], ["only"]), [])


def test_many_layers_are_called_by_their_blocks() -> None:
    blocks = ["conv1", *(f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3) for _ in range(4)), "bn1", "linear"]
    (places, texts), ends = row_names([str(place) for place in range(len(blocks))], blocks)
    assert texts == ["conv1", *(f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3)), "linear"]  # bn1 would run into it
    assert places == [0.5, *(3.0 + 4 * block for block in range(9)), 38.5]
    assert ends == [1, *range(5, 38, 4), 38]


def test_more_blocks_than_there_is_room_for_are_called_by_what_they_lie_in() -> None:
    blocks = ["features.0.0", *(f"features.{stage}.{block}" for stage in range(1, 8) for block in range(6) for _ in range(3)), "head"]
    (places, texts), ends = row_names(blocks, blocks)
    assert texts == [*(f"features.{stage}" for stage in range(8)), "head"]
    assert places[:2] == [0.5, 10.0]
    assert places[-1] == len(blocks) - 0.5
    assert len(ends) == 8


def test_names_never_run_into_each_other_and_the_last_one_stays() -> None:
    names = [f"layer_{place}" for place in range(500)]
    (places, texts), ends = row_names(names, [""] * 500)
    assert texts[-1] == "layer_499"
    assert np.diff(places).min() * inches(500, len(texts)) / 500 > LINE
    assert len(texts) > NAMES
    assert ends == []
