from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.experiments.trajectory_plane.test_picture import plane
from thetascope.errors import ResultError, UsageError
from thetascope.experiments.trajectory_plane.animation import save_animation


def test_an_animation_is_a_small_gif(tmp_path: Path) -> None:
    path = save_animation(plane(2), tmp_path / "new" / "walk.gif", fps=5, seconds=1.0)
    assert path == tmp_path / "new" / "walk.gif"
    with Image.open(path) as film:
        assert getattr(film, "n_frames", 1) >= 5
        assert film.info["duration"] == 200
        first = np.asarray(film.convert("RGB"), np.float64)
        film.seek(3)
        assert np.abs(np.asarray(film.convert("RGB"), np.float64) - first).max() > 50  # it moves
    assert path.stat().st_size < 400_000
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_animated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.gif or \.mp4.*walk\.avi"):
        save_animation(plane(), tmp_path / "walk.avi")
    with pytest.raises(ResultError, match="lacks off_plane"):
        save_animation(plane().drop_vars("off_plane"), tmp_path / "walk.gif")
    with pytest.raises(UsageError, match="fps"):
        save_animation(plane(), tmp_path / "walk.gif", fps=0)
    with pytest.raises(UsageError, match="seconds"):
        save_animation(plane(), tmp_path / "walk.gif", seconds=-1)
    with pytest.raises(ResultError, match="loss, accuracy"):
        save_animation(plane(), tmp_path / "walk.gif", variable="recall")
    assert not list(tmp_path.iterdir())


def test_mp4_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    (tmp_path / "walk.mp4").write_bytes(b"old")
    with pytest.raises(UsageError, match=r"pip install thetascope\[video\]"):
        save_animation(plane(), tmp_path / "walk.mp4")
    assert (tmp_path / "walk.mp4").read_bytes() == b"old"


def test_mp4_is_written_by_the_ffmpeg_of_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for ffmpeg: it swallows the frames and writes its last argument."""
    program = tmp_path / "ffmpeg"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nframes = sys.stdin.buffer.read()\nopen(sys.argv[-1], 'wb').write(b'%d' % len(frames))\n"
    )
    program.chmod(0o755)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", SimpleNamespace(get_ffmpeg_exe=lambda: str(program)))
    path = save_animation(plane(), tmp_path / "walk.mp4", fps=4, seconds=1.0)
    assert int(path.read_bytes()) > 8 * 300 * 300 * 4  # eight frames


def test_a_failed_animation_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "walk.gif"
    path.write_bytes(b"old")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr("matplotlib.animation.PillowWriter.finish", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        save_animation(plane(), path, fps=2, seconds=1.0)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
