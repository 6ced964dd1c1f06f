"""The optimizer walking over the plane of its training, as a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.spec import Line
from thetascope.drawing.with_matplotlib import as_text, draw_line, draw_panel, texts_of
from thetascope.errors import UsageError
from thetascope.experiments.trajectory_plane.picture import plane_of
from thetascope.experiments.trajectory_plane.walks import COLORS, MARKERS, PlaneInfo, info, reached, times_of
from thetascope.files import write_atomically

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.animation import AbstractMovieWriter
    from matplotlib.axes import Axes

DPI = 80
HELD = 1.0
"""Seconds that the last frame stays."""


def save_animation(data: xr.Dataset, path: str | Path, *, fps: int = 12, seconds: float = 6.0, variable: str = "loss") -> Path:
    """Write the optimizer walking on the plane to a .gif or .mp4 file, whole or not at all.

    Between states it moves straight; what is written on a frame is measured at the state last reached. ``.mp4``
    needs ``pip install thetascope[video]``.

    Args:
        data: of a result of `trajectory_plane`.
        path: ends in .gif or .mp4.
        fps: frames a second, 1 to 50.
        seconds: length of the walk; the last frame stays one second more.
        variable: what the colours show.

    Raises:
        ResultError: the data are of no plane of a training, or have no such variable.
        UsageError: another suffix, numbers that make no film, or what writes .mp4 is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in (".gif", ".mp4"):
        raise UsageError(f'an animation is a .gif or .mp4 file; got "{path.name}"')
    if not 1 <= fps <= 50 or not 0 < seconds <= 120:
        raise UsageError(f"fps must be 1 to 50 and seconds above 0, at most 120; got {fps} and {seconds:g}")
    found = info(data)
    found.grid.field(variable)
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.concatenate([np.linspace(0, 1, max(round(fps * seconds), 2)), np.ones(round(HELD * fps))])

    def write(partial: Path) -> None:
        with TemporaryDirectory() as folder, _writer(path.suffix.lower(), fps) as writer:  # writers go by the suffix
            film = Path(folder) / f"film{path.suffix.lower()}"
            _film(found, variable, writer, film, times)
            copyfile(film, partial)

    write_atomically(path, write)
    return path


@contextmanager
def _writer(suffix: str, fps: int) -> Iterator[AbstractMovieWriter]:
    from matplotlib import rc_context
    from matplotlib.animation import FFMpegWriter, PillowWriter

    if suffix == ".gif":
        yield PillowWriter(fps)
        return
    try:
        ffmpeg = import_module("imageio_ffmpeg").get_ffmpeg_exe()
    except ImportError as error:
        raise UsageError("an .mp4 file needs ffmpeg: pip install thetascope[video], or write a .gif") from error
    with rc_context({"animation.ffmpeg_path": ffmpeg}):
        even = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]  # what players ask for
        yield FFMpegWriter(fps, extra_args=even)


def _film(found: PlaneInfo, variable: str, writer: AbstractMovieWriter, path: Path, times: Floats) -> None:
    """Draw and store every frame; nothing but the walkers and what is told of them changes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, found.grid.height(5.2) + 1.1 + 0.2 * len(found.walks)), layout="constrained")
    ax = figure.subplots()
    draw_panel(ax, plane_of(found, found.grid.field(variable)))
    walkers = [_Walker(ax, found, i, variable) for i in range(len(found.walks))]
    lines = [walker.line for walker in walkers]
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.01), "borderaxespad": 0, "frameon": False}
    told = ax.legend(lines, ["M" * 8] * len(lines), fontsize="small", **place)
    figure.suptitle(found.grid.title, fontsize="medium")
    as_text(texts_of(figure))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # nothing may jump
    with writer.saving(figure, str(path), DPI):
        for time in times.tolist():
            for walker, text in zip(walkers, told.get_texts(), strict=True):
                text.set_text(walker.move(time))
            writer.grab_frame()


class _Walker:
    """The optimizer of one training on the axes: the path so far and where it is."""

    def __init__(self, ax: Axes, found: PlaneInfo, i: int, variable: str) -> None:
        self._walk, self._variable, self._several = found.walks[i], variable, len(found.walks) > 1
        self._times = times_of(self._walk)
        style: dict[str, Any] = {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)]}
        self.line = draw_line(
            ax, Line(x=self._walk.x, y=self._walk.y, dash=found.dash(), width=2.0, edge="white", size=4.5, halo=True, level=5, **style)
        )
        self._head = draw_line(ax, Line(x=[], y=[], dash="", size=11, edge="black", level=8, **style))

    def move(self, time: float) -> str:
        """Go to that share of the way; returns what is told of the state last reached."""
        walk, k = self._walk, reached(self._times, time)
        x, y = (float(np.interp(time, self._times, at)) for at in (walk.x, walk.y))
        self.line.set_data([*walk.x[: k + 1], x], [*walk.y[: k + 1], y])
        self.line.set_markevery(list(range(k + 1)))
        self._head.set_data([x], [y])
        told = walk.told(k, self._variable)
        return f"{walk.label}: {told}" if self._several else told
