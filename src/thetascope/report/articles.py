"""The chapters of the page: an article for each result, in the order in which a reader asks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from thetascope.experiments.framework.catalog import entries, experiment_of
from thetascope.experiments.framework.declaration import Call, Specification, command_line, place_of, words_of
from thetascope.experiments.framework.phrases import plural
from thetascope.experiments.framework.pictures import picture as picture_data
from thetascope.experiments.framework.tables import Table
from thetascope.experiments.framework.words import CHAPTERS, Words
from thetascope.report.found import Found, problem_of
from thetascope.report.pictures import LARGEST, LARGEST_TOTAL, SMALL, PagePicture, drawn_for_print, picture_of, table_for_download
from thetascope.report.provenance import Origin, origin_of
from thetascope.report.run import Run
from thetascope.report.training import QUESTION, training_article_parts
from thetascope.results import Result
from thetascope.results.labelled import labels_in

OTHER = "other"
T = TypeVar("T")


@dataclass(frozen=True)
class Article:
    """What one experiment found, or why that is not known."""

    name: str
    question: str
    headline: str = ""
    problems: tuple[str, ...] = ()
    how: str = ""
    shows: tuple[str, ...] = ()
    does_not_show: str = ""
    picture: PagePicture | None = None
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
    chapters["training"].articles.append(_training(run))
    last: tuple[int, str | None] = (10**6, None)
    placed = sorted(((_tried(partial(_place, one), last), one) for one in found), key=lambda pair: (pair[0][0], pair[1].name))
    answered, taken = set[str | None](), dict[str, int]()
    for (_, asked), one in placed:
        answered.add(asked)
        called = one.name if one.result is None else str(one.result.data.attrs.get("key", one.name))
        taken[called] = taken.get(called, 0) + 1
        name = called if taken[called] == 1 else f"{called}-{taken[called]}"
        words = _tried(partial(_words_of, one), None)
        chapters[words.chapter if words else OTHER].articles.append(_article(run, one, name, words))
    known = next((text for one in found if isinstance(text := _tried(partial(_specification, one.result), None), str)), "SPEC")
    for key, call in entries().items():
        if key not in answered:
            words = call.words
            chapters[words.chapter].not_run.append(NotRun(words.question, call.command_line(run.name, known)))
    shown = [chapter for chapter in chapters.values() if chapter.articles or chapter.not_run or chapter.name == "sure"]
    return _bounded(shown)


def _training(run: Run) -> Article:
    """What was recorded; numbers of a log may be any."""
    problems: list[str] = []
    nothing: dict[str, Any] = {"name": "training", "question": QUESTION}
    article = Article(**_tried(lambda: training_article_parts(run), nothing, problems))
    return replace(article, problems=tuple(f"What was recorded cannot be shown: {text}." for text in problems) or article.problems)


def _place(found: Found) -> tuple[int, str | None]:
    """Where a result stands among all, and the key of the entry whose question it answers; last what is of no experiment."""
    experiment = None if found.result is None else experiment_of(found.result.data.attrs)
    if found.result is None or experiment is None:
        called = _without_options(found.name)
        return (list(entries()).index(called) if called in entries() else 10**6, called)
    entry = experiment.entry_of(found.result.data.attrs) if _words_of(found) else None
    key = None if entry is None else Call(experiment, entry.options).key
    return (10**5 if key is None else list(entries()).index(key), key)


def _without_options(name: str) -> str:
    """What the key of an entry begins with; ``option=value`` comes after it."""
    return re.split(r"-\w+=", name, maxsplit=1)[0]


def _words_of(found: Found) -> Words | None:
    """What is said of a result, by what it is; where it cannot be read, by what it is called."""
    if found.result is None:
        call = entries().get(_without_options(found.name))
        return None if call is None else call.words
    experiment = experiment_of(found.result.data.attrs)
    return None if experiment is None else _tried(partial(words_of, experiment, found.result.data.attrs), None)


def _specification(result: Result | None) -> Specification | None:
    """How a command line named the objective that a result was scored by; by label where there are several."""
    if result is None:
        return None
    attrs = result.data.attrs
    known, labels = attrs.get("specification"), labels_in(attrs)
    if labels:
        by_label = known if isinstance(known, Mapping) else dict.fromkeys(labels, known)
        return {label: text if isinstance(text, str) else "SPEC" for label, text in by_label.items()}
    return known if isinstance(known, str) else None


def _again(run: Run, result: Result) -> str:
    """The command that goes on with a result that is there, at its place."""
    attrs = result.data.attrs
    experiment = experiment_of(attrs)
    if experiment is None:
        return ""
    command = command_line(experiment, attrs.get("options", {}), run.name, _specification(result) or "SPEC")
    stands = result.path is None or result.path == place_of(run.path, str(attrs.get("key")))
    return command if stands else f"{command} --out {shlex.quote(str(result.path))}"


def _article(run: Run, found: Found, name: str, words: Words | None) -> Article:
    """What a result shows; what cannot be made of it is said."""
    title = found.result.title[:1].upper() + found.result.title[1:] if found.result else found.name
    question = words.question if words else title
    if words is not None and question == CHAPTERS[words.chapter]:
        question = title  # the chapter asks it already
    if found.result is None:
        return Article(name, question, problems=(f"This result cannot be read: {found.problem}.",))
    result, data = found.result, found.result.data
    problems: list[str] = []
    command = _tried(lambda: _again(run, result), "", problems)
    tabled = words.table if words else None
    article = Article(
        name,
        question,
        headline=_tried(lambda: words.headline(data), "", problems) if words else result.title,
        how=_tried(lambda: words.how(data), "", problems) if words else "",
        shows=(*(_tried(lambda: list(words.shows(data)), list[str](), problems) if words else ()), *_before(found)),
        does_not_show=words.caveat if words else "",
        picture=_tried(lambda: _picture(result, name), None, problems),
        table=_tried(lambda: tabled(data), None, problems) if tabled else None,
        origin=_tried(lambda: origin_of(found, result, command), None, problems),
        result=result,
    )
    return replace(article, problems=_told(found, problems, command))


def _before(found: Found) -> list[str]:
    """What the same call found before the training went on, the newest first."""
    told = []
    for older in reversed(found.older):
        if older.result is None or older.missing:
            continue
        headline = _tried(partial(getattr, older.result, "headline"), "")
        told += [f"Before the training went on, at step {older.last_step:,}: {headline}"] if headline else []
    return told


def _told(found: Found, problems: Sequence[str], command: str) -> tuple[str, ...]:
    """Whether the result is finished; if not, what fails in it is no wonder."""
    if found.missing and found.result is not None:
        total = sum(found.result.status_counts().values())
        if found.result.in_progress:
            missing = f"{found.missing:,} of {plural(total, 'point')}"
            return (f"This result is in progress, another process is filling it: {missing} are not there yet.",)
        goes_on = f" {command} goes on from there." if command else ""
        return (f"This result is not finished: {found.missing:,} of {plural(total, 'point')} are missing.{goes_on}",)
    return _cannot_be_shown(problems)


def _cannot_be_shown(problems: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"Part of this result cannot be shown: {problem}." for problem in dict.fromkeys(problems))


def _tried(make: Callable[[], T], otherwise: T, problems: list[str] | None = None) -> T:
    """What is made of a result that may hold anything: what it raises is told of, and the rest of the page is made."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001
        if problems is not None:
            problems.append(problem_of(error))
        return otherwise


def _picture(result: Result, name: str) -> PagePicture:
    csv, note = table_for_download(result, name)
    picture = replace(picture_of(picture_data(result.data, "page"), name), csv=csv, csv_note=note)
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
        problems: list[str] = []
        drawn = _tried(partial(drawn_for_print, largest.result, largest.picture), None, problems)
        smaller = replace(largest, picture=drawn, problems=(*largest.problems, *_cannot_be_shown(problems)))
        for chapter in chapters:
            chapter.articles = [smaller if article is largest else article for article in chapter.articles]
