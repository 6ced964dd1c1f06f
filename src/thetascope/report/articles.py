"""The chapters of the page: an article for each result, in the order in which a reader asks."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from thetascope.errors import ThetascopeError
from thetascope.experiments.catalog import CATALOG, Examination
from thetascope.report.found import Found
from thetascope.report.pictures import LARGEST, LARGEST_TOTAL, SMALL, Picture, drawn_for_print, notes_of, picture_of, table_for_download
from thetascope.report.provenance import Origin, origin_of
from thetascope.report.run import Run
from thetascope.report.sections import CHAPTERS, SECTIONS, Section
from thetascope.report.tables import Table
from thetascope.report.training import training_article_parts
from thetascope.report.words import plural
from thetascope.results import Result

OTHER = "other"
FAILURES = (ThetascopeError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a result raises that does not hold what it should: it is told of, and the rest of the page is made."""

T = TypeVar("T")


@dataclass(frozen=True)
class Article:
    """What one experiment found, or why that is not known."""

    name: str
    question: str
    headline: str = ""
    problems: tuple[str, ...] = ()
    how: str = ""
    reads: tuple[str, ...] = ()
    cannot: str = ""
    picture: Picture | None = None
    table: Table | None = None
    origin: Origin | None = None
    result: Result | None = None


@dataclass(frozen=True)
class NotRun:
    """An experiment without a result, and what runs it."""

    question: str
    command: str


@dataclass
class Chapter:
    """A question of the reader, and what answers it."""

    name: str
    title: str
    articles: list[Article] = field(default_factory=list)
    not_run: list[NotRun] = field(default_factory=list)


def chapters_of(run: Run, found: Sequence[Found]) -> list[Chapter]:
    """All chapters; where nothing answers one it says what would."""
    chapters = {name: Chapter(name, title) for name, title in CHAPTERS.items()} | {OTHER: Chapter(OTHER, "What else was found?")}
    chapters["training"].articles.append(Article(**training_article_parts(run)))
    answered = set()
    places = {section.name: place for place, section in enumerate(SECTIONS)}
    sections = [(one, _section_of(one)) for one in found]
    taken: dict[str, int] = {}
    for one, section in sorted(sections, key=lambda pair: (places[pair[1].name] if pair[1] else len(places), pair[0].name)):
        answered.add(section.name if section else one.name)
        unstored = section is not None and one.result is not None and one.result.path is None
        called = section.name if section is not None and unstored else one.name
        taken[called] = taken.get(called, 0) + 1
        name = called if taken[called] == 1 else f"{called}-{taken[called]}"
        chapters[section.chapter if section else OTHER].articles.append(_article(run, one, name, section))
    known = next((text for one in found if (text := _specification(one.result))), None)
    for name, examination in CATALOG.items():
        if name not in answered:
            section = _named(name)
            command = _specified(_command(run, name, section), known)
            chapters[section.chapter if section else OTHER].not_run.append(NotRun(examination.question, command))
    shown = [chapter for chapter in chapters.values() if chapter.articles or chapter.not_run or chapter.name == "sure"]
    return _bounded(shown)


def _section_of(found: Found) -> Section | None:
    """By what a result is; where that is not known, by what it is called."""
    if found.result is not None:
        attrs = found.result.data.attrs
        for section in SECTIONS:
            if section.fits(attrs):
                return section
    return _named(found.name)


def _named(name: str) -> Section | None:
    return next((section for section in SECTIONS if section.name == name), None)


def _command(run: Run, name: str, section: Section | None) -> str:
    if section is not None:
        return section.command.replace("RUN", run.name)
    return _examine(run, name)


def _examine(run: Run, name: str) -> str:
    trains = name in CATALOG and CATALOG[name].trains
    return f"thetascope examine {run.name} {name} --objective SPEC{' --training SPEC' if trains else ''}"


def _specification(result: Result | None) -> str | None:
    """How a command line named the objective that a result was scored by."""
    known = None if result is None else result.data.attrs.get("specification")
    return known if isinstance(known, str) else None


def _specified(command: str, known: str | None) -> str:
    return command if known is None else command.replace("--objective SPEC", f"--objective {shlex.quote(known)}")


def _again(run: Run, found: Found, section: Section | None) -> str:
    """What goes on with a result that is there, at its place."""
    if found.name in CATALOG or section is None:
        return _examine(run, found.name)
    place = found.result.path if found.result else None
    return _command(run, section.name, section) + (f" --out {shlex.quote(str(place))}" if place else "")


def _article(run: Run, found: Found, name: str, section: Section | None) -> Article:
    """What a result shows; what cannot be made of it is said."""
    examination = CATALOG.get(section.name if section else found.name)
    title = found.result.title[:1].upper() + found.result.title[1:] if found.result else found.name
    question = examination.question if examination else title
    if section is not None and question == CHAPTERS[section.chapter]:
        question = title  # the chapter asks it already
    if found.result is None:
        return Article(name, question, problems=(f"This result cannot be read: {found.problem}.",))
    result = found.result
    command = _specified(_again(run, found, section), _specification(result)) if examination else ""
    tabled = section.table if section else None
    problems: list[str] = []
    article = Article(
        name,
        question,
        headline=_tried(lambda: examination.headline(result), "", problems) if examination else result.title,
        how=_tried(lambda: section.how(result), "", problems) if section else "",
        reads=tuple(_tried(lambda: section.reads(result), (), problems)) if section else (),
        cannot=section.cannot if section else "",
        picture=_tried(lambda: _picture(result, name, section), None, problems),
        table=_tried(lambda: tabled(result), None, problems) if tabled else None,
        origin=origin_of(found, result, command),
        result=result,
    )
    return replace(article, problems=_told(found, problems, command, examination))


def _told(found: Found, problems: Sequence[str], command: str, examination: Examination | None) -> tuple[str, ...]:
    """Whether the result is finished; if not, what fails in it is no wonder."""
    if found.missing and found.result is not None:
        total = sum(found.result.status_counts().values())
        goes_on = f" {command} goes on from there." if examination else ""
        return (f"This result is not finished: {found.missing:,} of {plural(total, 'point')} are missing.{goes_on}",)
    return tuple(f"Part of this result cannot be shown: {problem}." for problem in dict.fromkeys(problems))


def _tried(make: Callable[[], T], otherwise: T, problems: list[str]) -> T:
    try:
        return make()
    except FAILURES as error:
        problems.append(str(error) if isinstance(error, ThetascopeError) else repr(error))
        return otherwise


def _picture(result: Result, name: str, section: Section | None) -> Picture:
    figure = result.figure()
    if section is not None and section.tag is not None:
        section.tag(figure, result)
    start, over_alpha = (section.start, section.over_alpha) if section else ("", False)
    picture = picture_of(figure, name, notes_of(result), over_alpha=over_alpha, start=start)
    csv, note = table_for_download(result, name)
    picture = replace(picture, csv=csv, csv_note=note)
    return drawn_for_print(result, picture) if len(picture.data) > LARGEST else picture


def _bounded(chapters: list[Chapter]) -> list[Chapter]:
    """While all pictures together are too large, the largest becomes an image."""
    while True:
        pictures = [(article, article.picture) for chapter in chapters for article in chapter.articles if article.picture is not None]
        large = [(len(picture.data), article) for article, picture in pictures if len(picture.data) > SMALL and article.result is not None]
        if sum(picture.size for _, picture in pictures) <= LARGEST_TOTAL or not large:
            return chapters
        _, largest = max(large, key=lambda pair: pair[0])
        assert largest.result is not None
        assert largest.picture is not None
        smaller = replace(largest, picture=drawn_for_print(largest.result, largest.picture))
        for chapter in chapters:
            chapter.articles = [smaller if article is largest else article for article in chapter.articles]
