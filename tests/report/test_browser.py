"""The report in a browser: what moves, filters, plays and downloads does what it says, in light and dark, on a phone and on paper."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest

import thetascope as ts
from tests.report.pages import key_of, sorted_export
from tests.report.test_escaping import HOSTILE, KEYS, hostile
from thetascope.cli import main

__all__ = ["hostile"]

GENEROUS = 15.0
"""Seconds to the first picture that no machine should need; what was measured is printed."""
DRIVERS = ("GL Driver Message", "willReadFrequently")
"""What the browser's drawing says of itself, which is no matter of the page."""
LINE, CURVE, COMPARISON = key_of("interpolate"), key_of("interpolate-quadratic"), key_of("compare_paths")
LAYERS, CURVED_LAYERS, ROLES = key_of("interpolate-layer"), key_of("interpolate-quadratic-layer"), key_of("layer_roles")
PARAMETERS, PATTERNS = key_of("interpolate-parameter"), key_of("compare_paths-parameter")
SURFACE, PLANE = key_of("surface"), key_of("trajectory_plane")


class Opened:
    """A report in a browser, with all that it asked for and said."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self._hear(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self._hear(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self._hear(f"dialog: {dialog.message}"))
        self.url = path.as_uri()
        self.page.goto(self.url)
        self.wait(lambda: self.page.evaluate("performance.getEntriesByName('first-picture').length > 0"))

    def _hear(self, text: str) -> None:
        if not any(driver in text for driver in DRIVERS):
            self.said.append(text)

    def wait(self, reached: Callable[[], Any], seconds: float = 30.0) -> None:
        """Until something is so. The page's policy forbids playwright's own way."""
        end = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < end, f"not reached in {seconds:g} s; the page said {self.said}"
            time.sleep(0.03)

    def of(self, name: str, expression: str) -> Any:
        """The value of an expression of a picture's `plot` and `picture`."""
        asked = f"(name) => {{ const picture = thetascope.pictures.get(name); const plot = picture.plot; return {expression}; }}"
        return self.page.evaluate(asked, name)

    def wait_for(self, name: str, expression: str, wanted: Any) -> None:
        """Until an expression of a picture has a value."""
        self.wait(lambda: self.of(name, expression) == wanted)

    def show(self, name: str) -> Any:
        """Scroll to a picture, wait until it is drawn, and return its element."""
        figure = self.page.locator(f'[id="p-{name}"]')
        figure.scroll_into_view_if_needed()
        self.wait(lambda: self.of(name, "Boolean(plot._fullLayout && plot.querySelector('.main-svg') && picture.drawn)"))
        return figure

    def is_quiet(self) -> None:
        """Nothing was fetched, nothing complained."""
        assert [url for url in self.requests if not url.startswith(("blob:", "data:"))] == [self.url]
        assert self.said == []

    def overflows(self) -> bool:
        """Whether anything scrolls sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Opened]:
    page = Opened(browser, report)
    yield page
    page.is_quiet()
    page.context.close()


@pytest.mark.slow
def test_the_slider_moves_a_marker_on_all_paths(opened: Opened) -> None:
    slider = opened.page.locator("#alpha")
    marked = "plot.layout.shapes.filter((shape) => shape.name === 'α').map((shape) => shape.x0)"
    for name in (LINE, CURVE, COMPARISON, LAYERS, CURVED_LAYERS, PARAMETERS):
        figure = opened.show(name)
        slider.fill("0.25")
        opened.wait_for(name, marked, [0.25] * (3 if name == COMPARISON else 2))  # whose loss stands by place and by clock
        assert opened.of(name, "plot.data.filter((trace) => trace.meta === 'α').every((trace) => trace.x.every((x) => x === 0.25))")
        assert "At α = 0.25" in figure.locator(".readout").inner_text() or name == PARAMETERS
        slider.fill("0.75")
    assert opened.page.locator("#alpha-value").inner_text() == "0.75"


def test_the_marker_lies_on_the_curves(opened: Opened, examined: Path) -> None:
    opened.show(LINE)
    opened.page.locator("#alpha").fill("0.25")
    opened.wait_for(LINE, "picture.marked", 0.25)
    data = ts.load_result(examined / "results" / LINE).data
    marks = opened.of(LINE, "plot.data.filter((trace) => trace.meta === 'α').map((trace) => trace.y[0])")
    assert marks == pytest.approx([float(data["loss"].sel(alpha=0.25)), float(data["accuracy"].sel(alpha=0.25))])


def test_the_keyboard_moves_the_slider(opened: Opened) -> None:
    opened.page.locator("#alpha").focus()
    opened.page.keyboard.press("ArrowRight")
    assert opened.page.locator("#alpha-value").inner_text() == "0.51"


def test_a_chosen_layer_filters_pictures_and_tables(opened: Opened) -> None:
    opened.page.locator("#layer").select_option("out")
    visible = "plot.data.filter((trace) => trace.meta?.layer).map((trace) => [trace.meta.layer, trace.visible !== false])"
    for name in (LAYERS, CURVED_LAYERS, PARAMETERS):
        opened.show(name)
        opened.wait_for(name, "picture.layer", "out")
        shown = opened.of(name, visible)
        assert {layer for layer, _ in shown} == {"hidden", "out"}
        assert all(is_shown == (layer == "out") for layer, is_shown in shown)
    opened.show(ROLES)
    opened.wait_for(ROLES, "picture.layer", "out")
    assert opened.of(
        ROLES, "plot.data.filter((t) => t.meta?.layers).every((t) => t.selectedpoints.every((i) => t.meta.layers[i] === 'out'))"
    )
    draws = "plot.data.filter((t) => t.mode === 'markers' && t.meta?.layers).map((t) => t.selectedpoints.length)"
    assert opened.of(ROLES, draws) == [2, 2]  # all draws of the layer, of each quantity
    assert dict(opened.of(ROLES, visible)) == {"hidden": False, "out": True}  # from lowest to highest
    opened.show(PATTERNS)
    opened.wait_for(PATTERNS, "picture.layer", "out")
    assert opened.of(PATTERNS, "Array.from(plot.data[0].x)") == opened.of(PATTERNS, "plot.data[0].meta.x_of_layers.out")
    assert opened.page.locator("tr[data-layer=hidden]:visible").count() == 0
    assert opened.page.locator("tr[data-layer=out]:visible").count() > 3
    opened.page.locator("#layer").select_option("")
    opened.wait_for(PATTERNS, "picture.layer", "")
    assert opened.page.locator("tr[data-layer=hidden]:visible").count() > 3
    opened.show(LAYERS)
    opened.wait(lambda: all(is_shown for _, is_shown in opened.of(LAYERS, visible)))


def test_the_optimizer_walks_when_play_is_pressed(opened: Opened, examined: Path) -> None:
    figure = opened.show(PLANE)
    data = ts.load_result(examined / "results" / PLANE).data
    places = data["path_x"].values.tolist()
    walker = "plot.data[picture.frames[0].traces[1]].x[0]"
    assert opened.of(PLANE, walker) == pytest.approx(places[-1])
    opened.of(PLANE, f"(window.seen = [], setInterval(() => window.seen.push({walker}), 5))")  # there, so that no step is missed
    figure.get_by_role("button", name="let the optimizer walk").click()
    opened.wait(lambda: figure.locator(".walk button").inner_text() == "▶ play")
    seen = [place for place, _ in groupby(opened.page.evaluate("window.seen"))]
    assert seen == pytest.approx([places[-1], *places])
    assert figure.locator(".walk output").inner_text() == "epoch 3"
    figure.locator(".walk input").fill("0")
    opened.wait_for(PLANE, walker, pytest.approx(places[0]))
    assert figure.locator(".walk output").inner_text() == "epoch 0"


def test_the_surface_turns_and_changes(opened: Opened) -> None:
    figure = opened.show(SURFACE)
    if not opened.of(SURFACE, "picture.is3d"):
        pytest.skip("this browser has no WebGL")
    eye = "Object.values(plot._fullLayout.scene.camera.eye)"
    before = opened.of(SURFACE, eye)
    figure.get_by_role("button", name="turn right").click()
    opened.wait(lambda: opened.of(SURFACE, eye) != before)
    (x, y, z), (old_x, old_y, old_z) = opened.of(SURFACE, eye), before
    assert [math.hypot(x, y), z] == pytest.approx([math.hypot(old_x, old_y), old_z])  # round the upright axis
    assert math.atan2(y, x) - math.atan2(old_y, old_x) == pytest.approx(0.26)
    figure.get_by_role("button", name="accuracy").click()
    opened.wait(lambda: "accuracy" in str(opened.of(SURFACE, "plot.layout.scene.zaxis.title.text")))
    figure.get_by_role("button", name="contours").click()
    opened.wait(lambda: not opened.of(SURFACE, "picture.is3d"))
    assert figure.get_by_role("button", name="contours").get_attribute("aria-pressed") == "true"
    assert not figure.get_by_role("button", name="turn right").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_downloads_are_what_they_say(scheme: str, browser: Any, report: Path, examined: Path, tmp_path: Path) -> None:
    opened = Opened(browser, report, color_scheme=scheme)
    for name in (LINE, ROLES):
        figure = opened.show(name)
        for kind in ("png", "svg", "csv"):
            with opened.page.expect_download() as got:
                figure.locator(f"[data-format={kind}]").click()
            assert got.value.suggested_filename == f"{name}.{kind}"
            got.value.save_as(tmp_path / f"{name}.{kind}")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        drawn = (tmp_path / f"{name}.svg").read_text()
        assert drawn.startswith("<svg")
        assert "fill: rgb(255, 255, 255)" in drawn.split("<rect", 1)[1].split("/>", 1)[0]  # on white, whatever the page is
        assert (tmp_path / f"{name}.csv").read_bytes() == sorted_export(examined / "results" / name, tmp_path / "exported.csv")
    opened.is_quiet()
    opened.context.close()


def test_light_and_dark(browser: Any, report: Path) -> None:
    opened = Opened(browser, report, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = opened.page.evaluate(ground)
    opened.show(ROLES)
    ink, hatch, edge = (
        "plot.data[0].marker.line.color",
        "plot.data[1].marker.pattern.fgcolor",
        "plot.data.find((t) => t.mode === 'markers').marker.line.color",
    )
    assert opened.of(ROLES, ink) == "#e6eaee"
    assert opened.of(ROLES, f"[{hatch}, {edge}]") == ["#333333", "#333333"]  # they lie on a fill of their own
    opened.page.locator("#theme").click()
    assert opened.page.evaluate(ground) == "rgb(255, 255, 255)" != dark
    opened.wait_for(ROLES, ink, "#1d2733")
    assert opened.page.locator("#theme").get_attribute("aria-pressed") == "false"
    opened.page.locator("#theme").click()
    assert opened.page.evaluate(ground) == dark
    opened.is_quiet()
    opened.context.close()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_nothing_scrolls_sideways_on_a_phone(scheme: str, browser: Any, report: Path) -> None:
    opened = Opened(browser, report, color_scheme=scheme, viewport={"width": 390, "height": 844})
    assert not opened.overflows()
    for name in opened.page.evaluate("[...thetascope.pictures.keys()]"):
        opened.show(name)
        assert not opened.overflows(), name
        assert opened.of(name, "plot.querySelector('.main-svg').getBoundingClientRect().right <= innerWidth"), name
    domains = opened.of(LAYERS, "[plot._fullLayout.yaxis.domain, plot._fullLayout.yaxis2.domain]")
    assert domains[0][0] > domains[1][1]  # panels below one another
    axes = "Object.keys(plot._fullLayout).filter((key) => /^yaxis\\d*$/.test(key))"
    domains = sorted(opened.of(PATTERNS, f"{axes}.map((key) => plot._fullLayout[key].domain)"), reverse=True)
    assert all(above[0] > below[1] for above, below in pairwise(domains))  # a grid's too
    titles = opened.of(PATTERNS, "plot._fullLayout.annotations.map((note) => [note.name, note.text, note.y])")
    assert all(text.startswith(f"{name}: ") for name, text, _ in titles)  # which say then whose example they are
    assert sorted(y for *_, y in titles) == sorted(top for _, top in domains[1:])
    opened.is_quiet()
    opened.context.close()


def test_pictures_follow_the_window(opened: Opened) -> None:
    for name in (LINE, PLANE):
        opened.show(name)
    for width in (1000, 1280):
        opened.page.set_viewport_size({"width": width, "height": 900})
        for name in (LINE, PLANE):
            opened.wait_for(name, "Math.abs(plot._fullLayout.width - plot.clientWidth) < 1", True)
            opened.wait_for(name, "Math.abs(plot._fullLayout.height - plot.clientHeight) < 1", True)
        assert not opened.overflows()


def test_what_buttons_chose_stays_when_the_window_becomes_narrow(opened: Opened) -> None:
    figure, axes = opened.show(SURFACE), "[plot._fullLayout.xaxis.visible, plot._fullLayout.yaxis.visible]"
    if not opened.of(SURFACE, "picture.is3d"):
        pytest.skip("this browser has no WebGL")
    assert opened.of(SURFACE, axes) == [False, False]
    for width in (390, 1280):
        opened.page.set_viewport_size({"width": width, "height": 900})
        opened.wait_for(SURFACE, "picture.narrow", width == 390)
        opened.wait_for(SURFACE, "Math.abs(plot._fullLayout.width - plot.clientWidth) < 1", True)
        assert opened.of(SURFACE, "picture.is3d")
        assert opened.of(SURFACE, axes) == [False, False]
    figure.get_by_role("button", name="contours").click()
    opened.wait_for(SURFACE, axes, [True, True])


@pytest.mark.slow
def test_logarithmic_axes_have_the_numbers_that_the_picture_says(opened: Opened) -> None:
    logarithmic = "Object.entries(picture.layout).filter(([, axis]) => axis?.type === 'log').map(([key]) => key)"
    shown = 0
    for name in opened.page.evaluate("[...thetascope.pictures.keys()]"):
        opened.show(name)
        for key in opened.of(name, logarithmic):
            opened.of(name, f"Plotly.relayout(plot, {{'{key}.range': [0, 1]}}).then(() => thetascope.planes.fit(picture))")
            assert opened.of(name, f"[plot._fullLayout.{key}.tickmode, plot.layout.{key}.dtick ?? null]") == ["array", None]
            shown += 1
    assert shown


def test_tables_sort_by_value(opened: Opened) -> None:
    table = opened.page.locator(f'[id="a-{COMPARISON}"] table')
    column = "(table) => [...table.tBodies[0].rows].map((row) => Number(row.cells[1].dataset.value))"
    head = table.get_by_role("button", name="measured loss")
    head.click()
    falling = table.evaluate(column)
    assert falling == sorted(falling, reverse=True) != sorted(falling)
    head.click()
    assert table.evaluate(column) == sorted(falling)
    assert table.locator("th").nth(1).get_attribute("aria-sort") == "ascending"


@pytest.mark.slow
def test_all_pictures_are_on_paper(browser: Any, report: Path, tmp_path: Path) -> None:
    opened = Opened(browser, report, color_scheme="dark")
    assert opened.page.evaluate("document.querySelectorAll('figure .main-svg').length") < 3 * opened.page.locator("figure .plot").count()
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    names = opened.page.evaluate("[...thetascope.pictures.keys()]")
    for name in names:
        opened.wait_for(name, "Boolean(plot.querySelector('.main-svg')) && plot._fullLayout.font.color === '#33404d'", True)
    opened.page.emulate_media(media="print")
    assert not opened.page.locator(".bar").is_visible()
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    opened.page.evaluate("dispatchEvent(new Event('afterprint'))")
    opened.page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").stat().st_size > 100_000
    opened.is_quiet()
    opened.context.close()


def test_hostile_names_show_as_text(browser: Any, hostile: Path) -> None:
    opened = Opened(browser, hostile)
    assert opened.page.locator("#layer option").nth(1).inner_text() == HOSTILE
    figure = opened.show(KEYS["layers"])
    assert HOSTILE in figure.locator(".legendtext").first.text_content()
    opened.of(KEYS["layers"], "Plotly.Fx.hover(plot, [{ curveNumber: 0, pointNumber: 1 }])")
    opened.wait(lambda: figure.locator(".hoverlayer .hovertext").count() > 0)
    assert HOSTILE in figure.locator(".hoverlayer").text_content()
    opened.page.locator("#layer").select_option(HOSTILE)
    opened.wait_for(KEYS["layers"], "picture.layer", HOSTILE)
    assert HOSTILE in figure.locator(".readout").inner_text()
    opened.show(KEYS["roles"])
    assert opened.page.locator("img").count() == 0
    opened.is_quiet()
    opened.context.close()


@pytest.mark.slow
def test_the_demo_s_report(browser: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--quick", "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "report.html")
    assert (out / "report.html").stat().st_size < 12e6
    opened = Opened(browser, out / "report.html")
    first = opened.page.evaluate("performance.getEntriesByName('first-picture')[0].startTime") / 1000
    with capsys.disabled():
        print(f"\nthe demo's report: {(out / 'report.html').stat().st_size / 1e6:.1f} MB, first picture after {first:.2f} s")
    assert first < GENEROUS
    names = opened.page.evaluate("[...thetascope.pictures.keys()]")
    assert set(names) == {"training", *(path.name for path in (out / "results").iterdir())}
    for name in names:
        opened.show(name)
    assert re.search(r"5 \(epoch 5\)|epoch 5", opened.page.locator("#glance").inner_text())
    opened.is_quiet()
    opened.context.close()
