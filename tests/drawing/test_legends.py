from __future__ import annotations

from thetascope.drawing.legends import told_apart


def test_clipped_names_are_told_apart() -> None:
    assert told_apart(["conv1", "conv2"], 9) == ["conv1", "conv2"]
    assert told_apart(["a.long.name.of.one", "a.long.name.of.two"], 7) == ["…of.one", "…of.two"]
    assert told_apart(["net.layer.0.end", "net.layer.1.end"], 4) == ["…0.end", "…1.end"]  # longer, until they differ
    assert told_apart(["0.same.end", "1.same.end", "x"], 5) == ["0.same.end", "1.same.end", "x"]
