"""The command line: parse, call the API, print. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from thetascope._version import __version__

app = App(
    name="thetascope",
    version=__version__,
    suppress_keyboard_interrupt=False,
    help="Look at the training of a neural network through its parameters.",
    help_epilogue="First look:  thetascope demo      Your own run:  thetascope interpolate runs/mine --objective mine.py:objective",
)

Run = Annotated[list[Path], Parameter(help="A run directory, or checkpoint files in the order of the training.")]
ObjectiveSpec = Annotated[
    str,
    Parameter(
        name="--objective", help='What to score: "file.py:function" or "module:function", called without arguments, returns a ts.Objective.'
    ),
]


@app.command
def demo(
    *,
    data: Annotated[Literal["digits", "mnist"], Parameter(help="The images: scikit-learn's digits, or MNIST from --data-dir.")] = "digits",
    data_dir: Annotated[Path | None, Parameter(help="The folder of MNIST's four IDX files, gzipped or not.")] = None,
    out: Annotated[Path, Parameter(help="The run directory to make; an earlier demo there is replaced.")] = Path("thetascope-demo"),
    quick: Annotated[bool, Parameter(help="Fewer epochs and points.", negative=())] = False,
    seed: Annotated[int, Parameter(help="Of the initial weights and the order of the images.")] = 0,
) -> None:
    """Train a small network, record it, examine it and draw what was found.

    Examples:
        thetascope demo
        thetascope demo --data mnist --data-dir ~/mnist
    """
    from thetascope.demo.run import run_demo

    for picture in run_demo(data, data_dir, out, quick=quick, seed=seed):
        print(picture)  # noqa: T201 - the command's output


@app.command
def interpolate(
    run: Run,
    /,
    *,
    objective: ObjectiveSpec,
    kind: Annotated[str, Parameter(help='"linear", "quadratic", or a degree.')] = "linear",
    level: Annotated[Literal["model"], Parameter(help="What moves: the whole model.")] = "model",
    alphas: Annotated[
        list[float] | None,
        Parameter(help="How many values of α (default 41), or the values themselves.", consume_multiple=True, negative=()),
    ] = None,
    out: Annotated[
        Path | None, Parameter(help="Where the result is stored (default: RUN/results/interpolate-KIND); the same call goes on there.")
    ] = None,
    figure: Annotated[
        Path | None, Parameter(help="Where the picture goes: .png, .svg, .pdf or .html (default: RUN/figures/interpolate-KIND.png).")
    ] = None,
    engine: Annotated[str, Parameter(help='"auto", or the name of a backend.')] = "auto",
    progress: Annotated[bool, Parameter(help="Say what is scored and show how far it is.")] = True,
    key: Annotated[str | None, Parameter(help="Checkpoint files: where in them the state dict lies.")] = None,
    prefix: Annotated[str | None, Parameter(help="Checkpoint files: take only names that start so, and leave it out.")] = None,
    allow: Annotated[
        list[str] | None,
        Parameter(help="Checkpoint files: classes that weights-only loading may build.", consume_multiple=True, negative=()),
    ] = None,
) -> None:
    """Score the model along a path through its training, and draw it.

    Examples:
        thetascope interpolate runs/lenet --objective mine.py:objective
        thetascope interpolate e*.pt --objective mine.py:objective --kind quadratic --alphas 101
    """
    import thetascope as ts
    from thetascope.specification import provided

    trajectory = (
        ts.Trajectory(run[0])
        if len(run) == 1 and run[0].is_dir()
        else ts.Trajectory.from_files(run, key=key, prefix=prefix, allow=allow or ())
    )
    home = run[0] if run[0].is_dir() else run[0].parent
    scored = provided(objective, ts.Objective, "--objective")
    name = f"interpolate-{kind}"
    result = ts.interpolate(
        scored,
        trajectory,
        _kind(kind),
        level,
        _alphas(alphas),
        out=out or home / "results" / name,
        engine=engine,
        progress=progress,
    )
    print(result)  # noqa: T201
    print(_draw(result, figure or home / "figures" / f"{name}.png"))  # noqa: T201


def _kind(kind: str) -> Any:
    return int(kind) if kind.isdigit() else kind


def _alphas(given: Sequence[float] | None) -> Any:
    if given is None:
        return 41
    return int(given[0]) if len(given) == 1 and float(given[0]).is_integer() and given[0] > 1 else list(given)


def _draw(result: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".html":
        result.figure().write_html(path, include_plotlyjs=True, config={"showSendToCloud": False})
    else:
        result.plot().savefig(path, dpi=150)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0, 1 for an error in what was asked or found, 2 for a wrong use of the command, 130 for Ctrl-C.
    """
    from thetascope.errors import ThetascopeError, UsageError

    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    try:
        app(tokens, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        return 2
    except (ThetascopeError, OSError) as error:
        if debug:
            raise
        print(f"thetascope: {error}", file=sys.stderr)  # noqa: T201
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("thetascope: stopped. What was finished is stored; the same command goes on from there", file=sys.stderr)  # noqa: T201
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
