"""A command for each experiment, made of its declaration: its options, their defaults and their help are the function's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_origin

from cyclopts import Parameter

from thetascope.cli.application import app, examples
from thetascope.cli.options import (
    FLAG,
    Checkpoints,
    Drawn,
    ObjectiveSpec,
    Output,
    Run,
    ScoredOutput,
    TrainingSpec,
    home_of,
    load_torch,
    scored_by,
    trained_by,
)
from thetascope.cli.printing import print_plan, put
from thetascope.experiments.framework.call_options import Option, options_of, subjects_of
from thetascope.experiments.framework.catalog import experiments
from thetascope.experiments.framework.declaration import Call, Declaration, SubjectOption, place_to_write

LONGEST_HELP = 170
"""An option's help is the first sentences of what the docstring says of it, at most so many characters of them."""

Home = Annotated[list[Path] | None, Parameter(help="The run directory that the result goes to (default: the working folder).")]


def command_of(experiment: Declaration) -> Callable[..., None]:
    """The function behind an experiment's command."""

    def command(*run: Any, **given: Any) -> None:
        carry_out(experiment, run[0] if run else None, **given)

    function, subjects = experiment.function, subjects_of(experiment.function)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("run", inspect.Parameter.POSITIONAL_ONLY, annotation=Home, default=None)
        if experiment.trains
        else inspect.Parameter("run", inspect.Parameter.POSITIONAL_ONLY, annotation=Run)
    ]
    if "objective" in subjects:
        parameters.append(inspect.Parameter("objective", keyword, annotation=ObjectiveSpec))
    if experiment.trains:
        parameters.append(inspect.Parameter("training", keyword, annotation=TrainingSpec))
    parameters += [_subject_parameter(name, option) for name, option in experiment.subject_options.items()]
    parameters += [_parameter(option) for option in options_of(function).values()]
    parameters += [
        inspect.Parameter(name, keyword, annotation=kind | None, default=None)
        for name, kind in (("checkpoints", Checkpoints), ("output", ScoredOutput if experiment.scores else Output), ("drawn", Drawn))
        if name != "checkpoints" or not experiment.trains
    ]
    told: Any = command
    told.__signature__ = inspect.Signature(parameters)
    told.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    told.__doc__ = (inspect.getdoc(function) or "").partition("\n\n")[0]
    return command


def carry_out(experiment: Declaration, run: Sequence[Path] | None, **given: Any) -> None:
    """Load what the experiment is about, make the call, print and draw what it found; for a dry run only say what it would do."""
    checkpoints, output = (
        given.pop("checkpoints", None) or Checkpoints(),
        given.pop("output", None) or (ScoredOutput if experiment.scores else Output)(),
    )
    drawn = given.pop("drawn", None) or Drawn()
    drawn.check()
    load_torch()
    options = options_of(experiment.function)
    chosen = {name: given[name] for name in experiment.subject_options if given.get(name) is not None}
    trajectory = None if experiment.trains or run is None else checkpoints.trajectory(run)
    training = trained_by(given["training"]) if experiment.trains else None
    call = Call(experiment, {n: options[n].typed.read(given[n], trajectory) for n in options if given.get(n) is not None})
    objective = scored_by(given["objective"]) if "objective" in given else None
    key = call.key_with(chosen)
    home = Path() if not run else run[0] if experiment.trains else home_of(run)
    place = output.out or place_to_write(home, key)
    with output.share:
        job = call.job(objective, trajectory, training, chosen, out=place, **output.how)
    if output.dry_run:
        print_plan(job.plan(), job.path or place)
        return
    with output.where:
        result = job.run()
    if job.portion is None:
        output.finish(result, home, drawn)
    else:
        put(f'part {job.portion} is stored in "{job.path}"; once all parts are, thetascope merge "{place}" joins them')


def _subject_parameter(name: str, option: SubjectOption) -> inspect.Parameter:
    kind: Any = option.type | None
    annotation = Annotated[kind, Parameter(help=option.help, **_several(option.type))]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=None)


def _parameter(option: Option) -> inspect.Parameter:
    """An option as the parser knows it. What is typed in another way than it is held is left out by default, and the default told."""
    typed, default = option.typed, option.default
    shown: Mapping[str, Any] = {}
    if get_origin(typed.type) is list or typed.type is str:
        annotation, default = typed.type | None, None
        shown = {"show_default": False} if option.default is None else {"show_default": lambda _: _plain(option.default)}
    elif isinstance(default, bool):
        annotation, shown = bool, {} if default else FLAG
    else:
        annotation = typed.type
        shown = {"show_default": lambda value: " ".join(map(str, value))} if isinstance(default, tuple) else {}
        if default is None and None not in getattr(annotation, "__args__", ()):
            annotation = annotation | None
    told = Parameter(help=_help(option), **{**_several(typed.type), **shown})
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[annotation, told], default=default)


def _several(kind: Any) -> dict[str, Any]:
    """Lists take all words up to the next option; neither they nor ranges can be negated."""
    if get_origin(kind) is list:
        return {"consume_multiple": True, "negative": ()}
    return {"negative": ()} if get_origin(kind) is tuple else {}


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)


def _help(option: Option) -> str:
    text = option.typed.help or option.help
    cut = text.find(". ", LONGEST_HELP // 4)
    told = text if cut < 0 or len(text) <= LONGEST_HELP else text[: cut + 1]
    return told[:1].upper() + told[1:]


def register() -> None:
    """Register the commands of all experiments."""
    for place, experiment in enumerate(experiments().values()):
        shown = (f"thetascope {line.replace('RUN', 'runs/mine').replace('SPEC', 'objective.py:objective')}" for line in experiment.examples)
        app.command(
            command_of(experiment),
            name=experiment.command,
            sort_key=30 + place,
            help_epilogue=examples(*(_training(line) for line in shown)),
        )


def _training(line: str) -> str:
    return line.replace("--training objective.py:objective", "--training objective.py:training")


register()
