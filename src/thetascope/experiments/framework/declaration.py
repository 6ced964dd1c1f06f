"""What makes a function an experiment: one declaration, beside it, from which all else follows.

The public name, the command with its options and their help, the place in `examine` and in the report, the folder of results and
the docs' tables come from here and from the function's signature and docstring. Loads no torch: the body is imported when it runs.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Literal

from thetascope.errors import ResultError, UsageError
from thetascope.experiments.framework.call_options import changed_options, key_of, key_part, options_of, subjects_of
from thetascope.safe_paths import check_below

if TYPE_CHECKING:
    from thetascope.experiments.framework.job import Job
    from thetascope.experiments.framework.source import Source
    from thetascope.experiments.framework.words import Words
    from thetascope.results.result import Result

SUBJECTS = ("objective", "trajectory", "trajectory_or_state", "state", "training")
"""What arguments without a default are called, so that `examine` and the command know what to pass."""

Specification = str | Mapping[str, str]
"""How a command line names the objective; by label where there are several."""

RUN = "run"
"""As ``out``: the place of the call in the run directory that the states are of."""


@dataclass(frozen=True)
class Entry:
    """A call that `thetascope examine` makes, and that the report has a place for.

    Attributes:
        place: among all entries, in the order in which a reader asks.
        options: of the call, where they are not the defaults.
        by_name_only: it takes minutes, so it runs only where it is asked for by its name.
    """

    place: int
    options: Mapping[str, Any] = field(default_factory=dict)
    by_name_only: bool = False


@dataclass(frozen=True)
class SubjectOption:
    """An option of a command that says what the experiment is about.

    Attributes:
        type: what the parser makes of the words.
        help: what it is.
        chosen: the subject, from the run's trajectory and what was given.
        told: what would be given for a subject; None for that which the command takes without the option.
    """

    type: Any
    help: str
    chosen: Callable[[Any, Any], Any]
    told: Callable[[Any], Any]


@dataclass(frozen=True)
class Declaration:
    """An experiment.

    Attributes:
        function: what users call: its signature holds all options and their defaults, its docstring what they mean.
        entries: the calls that `examine` makes.
        examples: command lines for the help, without the program's name; RUN stands for the run, SPEC for the objective.
        examine_with: options that `examine` and the demo choose otherwise than the function's defaults.
        demo_with: likewise for a demo ("digits", "digits quick", "mnist quick"), besides.
        grid: the options that make a grid of so many values an axis, where there is one.
        subject_options: by name: options of the command that choose what it is about.
        keeps: options that mean something else than what `examine` calls so, and keep their defaults there.
        levels: options that have a meaning at some levels only, with these.
        buffers: the policy for buffers by default, for models that keep running statistics: "recalibrate", or "final" where
            recalibrating would hide or cost more than it shows; by level where levels differ.
        one_objective: whether it takes one objective only, and not several by label.
    """

    function: Callable[..., Result]
    entries: tuple[Entry, ...]
    examples: tuple[str, ...]
    examine_with: Mapping[str, Any] = field(default_factory=dict)
    demo_with: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    grid: Callable[[int], Mapping[str, Any]] | None = None
    subject_options: Mapping[str, SubjectOption] = field(default_factory=dict)
    keeps: tuple[str, ...] = ()
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buffers: Literal["recalibrate", "final"] | Mapping[str, Literal["recalibrate", "final"]] = "recalibrate"
    one_objective: bool = False

    def __post_init__(self) -> None:
        strange = [name for name in subjects_of(self.function) if name not in SUBJECTS]
        if strange or not self.entries:
            wrong = f"takes {', '.join(strange)} without a default" if strange else "has no entry"
            raise UsageError(f"{self.name} {wrong}; it is about one or more of {', '.join(SUBJECTS)}, and has at least one entry")

    @property
    def name(self) -> str:
        """Of the function; results keep it."""
        return self.function.__name__

    @property
    def command(self) -> str:
        """The function's name as a command has it."""
        return self.name.replace("_", "-")

    @property
    def trains(self) -> bool:
        """Whether it runs a training, so that it needs a `ts.Training`."""
        return "training" in subjects_of(self.function)

    @property
    def scores(self) -> bool:
        """Whether it scores a model, so that there is an engine to choose."""
        return self.trains or "objective" in subjects_of(self.function)

    def run(self, arguments: Mapping[str, Any]) -> Result:
        """Make the call with these arguments."""
        return self.job(arguments).run()

    def job(self, arguments: Mapping[str, Any], chosen: Mapping[str, Any] | None = None) -> Job:
        """The call as a Job: `plan` says what it would do, `run` does it. `chosen` are the subject options, where they are known."""
        from thetascope.experiments.framework.job import Job
        from thetascope.results.portions import asked

        given = dict(arguments)
        out, engine = given.pop("out", None), given.pop("engine", "auto")
        how: dict[str, Any] = {"progress": given.pop("progress", True), "fresh": given.pop("fresh", False), "portion": asked()}
        call = Call(self, given)
        source = self._source(given)
        chosen = self._chosen(given) if chosen is None else chosen
        key = call.key_with(chosen)
        path = None if out is None else self._place(out, key, given)
        return Job(source, self.name, key, {**chosen, **call.changed}, path, engine, **how)

    def _source(self, given: Mapping[str, Any]) -> Source:
        """The work, with one objective or with several by label."""
        make = import_module(f"{self.function.__module__}.experiment").source
        policy = self.buffers if isinstance(self.buffers, str) else self.buffers.get(str(given.get("level")), "recalibrate")

        def made(objective: Any) -> Source:
            under = objective.under(policy) if callable(getattr(objective, "under", None)) else objective
            source: Source = make(**{**given, "objective": under})
            return source

        if "objective" not in given:
            source: Source = make(**given)
            return source
        if not isinstance(given["objective"], Mapping):
            return made(given["objective"])
        from thetascope.experiments.framework.labelled import checked_objectives, labelled_source

        if self.one_objective:
            raise UsageError(f"{self.name} takes one objective, not several by label; call it once for each")
        return labelled_source(made, checked_objectives(given["objective"]))

    def _subject(self, given: Mapping[str, Any]) -> Any:
        return given[next(name for name in subjects_of(self.function) if name != "objective")]

    def _chosen(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The subject options that a command would need for what is given."""
        told = {name: option.told(self._subject(given)) for name, option in self.subject_options.items()}
        return {name: value for name, value in told.items() if value is not None}

    def _place(self, out: Any, key: str, given: Mapping[str, Any]) -> Path:
        if out != RUN:
            return Path(out)
        subject = self._subject(given)
        several = subject.values() if isinstance(subject, Mapping) else subject
        first = next(iter(several), None) if isinstance(subject, list | tuple | Mapping) else None
        run = getattr(subject, "run", None) or getattr(first, "run", None)
        if not isinstance(run, Path):
            raise UsageError(
                f'out="{RUN}" stores the result in the run directory of the states, and these are of none: pass a path, or the states '
                "of a run that a ts.Recorder recorded"
            )
        return place_to_write(run, key)

    def of(self, **options: Any) -> Call:
        """A call with those of the options that the function has, and that have a meaning at the call's level."""
        own = {name: value for name, value in options.items() if name in options_of(self.function)}
        level = Call(self, own).all_options.get("level")
        return Call(self, {name: value for name, value in own.items() if level in self.levels.get(name, (level,))})

    def entry_of(self, attrs: Mapping[Any, Any]) -> Entry | None:
        """The entry whose question a result with these attributes answers."""
        question = words_of(self, attrs).question
        asked = [entry for entry in self.entries if Call(self, entry.options).words.question == question]
        return asked[0] if asked else None


@dataclass(frozen=True)
class Call:
    """An experiment and the options that it is called with, those that differ from the defaults or all."""

    experiment: Declaration
    options: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What its result is known by."""
        return key_of(self.experiment.function, self.options)

    def key_with(self, chosen: Mapping[str, Any]) -> str:
        """The key, with what was chosen of what it is about."""
        return "-".join([self.key, *(key_part(name, value) for name, value in chosen.items())])

    @property
    def changed(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        return changed_options(self.experiment.function, self.options)

    @property
    def all_options(self) -> dict[str, Any]:
        """Every option, by default or as given."""
        return {**{name: option.default for name, option in options_of(self.experiment.function).items()}, **self.options}

    @property
    def words(self) -> Words:
        """What is said of it."""
        return words_of(self.experiment, self.all_options)

    def job(self, objective: Any, trajectory: Any, training: Any, chosen: Mapping[str, Any] | None = None, **how: Any) -> Job:
        """The call as a Job, on a run: its trajectory, or what the subject options choose; its last state; its training."""
        options, chosen = self.experiment.subject_options, chosen or {}
        subject = next((options[name].chosen(trajectory, value) for name, value in chosen.items()), None)
        told = trajectory if subject is None else subject
        about = {"objective": objective, "trajectory": told, "trajectory_or_state": told, "training": training}
        about["state"] = subject or (None if trajectory is None else trajectory[-1])
        subjects = {name: about[name] for name in subjects_of(self.experiment.function)}
        return self.experiment.job({**self.all_options, **subjects, **how}, chosen)

    def command_line(self, run: str, objective: Specification = "SPEC") -> str:
        """What a terminal makes the call with; an option that cannot be typed is left out."""
        return command_line(self.experiment, self.changed, run, objective)


def command_line(experiment: Declaration, options: Mapping[str, Any], run: str, objective: Specification = "SPEC") -> str:
    """The command of an experiment with some options."""
    subjects = subjects_of(experiment.function)
    words = ["thetascope", experiment.command]
    words += [run] if run else []
    words += ["--training SPEC"] if experiment.trains else []
    words += _objective_words(objective) if "objective" in subjects else []
    own = options_of(experiment.function)
    for name, given in ((name, options[name]) for name in [*experiment.subject_options, *own] if name in options):
        option, value = f"--{name.replace('_', '-')}", own[name].typed.shown(given) if name in own else given
        if isinstance(value, Mapping):
            continue
        if isinstance(value, bool):
            words += [option] if value else [f"--no-{option[2:]}"]
        else:
            several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
            words.append(" ".join([option, *(shlex.quote("none" if part is None else str(part)) for part in several)]))
    return " ".join(words)


def _objective_words(objective: Specification) -> list[str]:
    given = [objective] if isinstance(objective, str) else [f"{label}={text}" for label, text in objective.items()]
    return [f"--objective {one if one == 'SPEC' else shlex.quote(one)}" for one in given]


def words_of(experiment: Declaration, attrs: Mapping[Any, Any]) -> Words:
    """What is said of a call or a result with these options or attributes; a level has words of its own."""
    package, level = import_module(experiment.function.__module__), attrs.get("level")
    levels = [module.name for module in iter_modules(package.__path__) if module.ispkg]
    if bool(levels) != (level in levels):
        raise ResultError(f"{experiment.name} has no level {level!r}; there are: {', '.join(levels) or 'none'}")
    words: Words = import_module(f"{package.__name__}.{level}.words" if levels else f"{package.__name__}.words").WORDS
    return words.of(attrs)


def place_of(home: Path, key: str) -> Path:
    """Where the result of a call lies."""
    return home / "results" / key


def place_to_write(home: Path, key: str) -> Path:
    """The same, to write there.

    Raises:
        PlaceError: a link lies on the way from `home`.
    """
    return _to_write(home, place_of(home, key))


def figure_to_write(home: Path, name: str) -> Path:
    """Where a picture goes.

    Raises:
        PlaceError: a link lies on the way from `home`.
    """
    return _to_write(home, home / "figures" / name)


def _to_write(home: Path, place: Path) -> Path:
    check_below(home, place)
    return place
