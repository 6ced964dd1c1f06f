"""Finding what a user's own file or module provides: ``file.py:function`` or ``module:function``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thetascope.errors import ThetascopeError, UsageError


def provided(spec: str, wanted: type, option: str) -> Any:
    """Call the function that `spec` names, without arguments, and check that it returns a `wanted`.

    Raises:
        UsageError: the specification, the file, the function or what it returns is off.
        ThetascopeError: the file or the function raises; the message says where and what.
    """
    function, place = function_named(spec, option), spec.rpartition(":")[0]
    with _told(option, place):
        found = function()
    if not isinstance(found, wanted):
        raise UsageError(f"{option}: {spec}() must return a ts.{wanted.__name__}. Got {type(found).__name__} instead.")
    return found


def function_named(spec: str, option: str) -> Callable[..., Any]:
    """The function that `spec` names.

    The working folder is on the path, so that the file may import its neighbours.

    Raises:
        UsageError: the specification, the file or the function is off.
        ThetascopeError: the file raises; the message says where and what.
    """
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise UsageError(f'{option} must be "file.py:function" or "module:function". Got "{spec}" instead.')
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module = _module(place, option)
    function: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(function):
        there = ", ".join(n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", None) == module.__name__)
        raise UsageError(f'{option}: "{place}" has no function "{name}"; there are: {there or "none"}')
    return function


def _module(place: str, option: str) -> Any:
    if not place.endswith(".py"):
        if _is_missing(place):
            raise UsageError(f'{option}: there is no module "{place}"; write "file.py:function" for a file')
        with _told(option, place):
            return importlib.import_module(place)
    file = Path(place)
    if not file.is_file():
        raise UsageError(f'{option}: "{file}" does not exist')
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # so that what the file defines can be found again by its module's name
    with _told(option, place):
        spec.loader.exec_module(module)
    return module


def _is_missing(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is None
    except ModuleNotFoundError:  # a package on the way to it
        return True


@contextmanager
def _told(option: str, place: str) -> Iterator[None]:
    """What the user's code raises as one line with its place; errors of our own stand as they are."""
    try:
        yield
    except ThetascopeError:
        raise
    except Exception as error:
        where = _line_of(error, place)
        said = " ".join(str(error).split()) or "no message"
        raise ThetascopeError(f"{option}: {place}{where} raised {type(error).__name__}: {said}; --debug shows the traceback") from error


def _line_of(error: Exception, place: str) -> str:
    """The last line of the user's own file that the error came through."""
    if isinstance(error, SyntaxError):
        return f" line {error.lineno}"
    name = Path(place).name if place.endswith(".py") else f"{place.rpartition('.')[2]}.py"
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if Path(frame.f_code.co_filename).name == name]
    return f" line {lines[-1]}" if lines else ""
