"""Finding what a user's own file or module provides: ``file.py:function`` or ``module:function``."""

from __future__ import annotations

import hashlib
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
from thetascope.search_path import find_in

OWN = ("torch", "xarray", "zarr", "plotly.io", "jinja2")
"""What scoring and drawing load."""


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

    A file may import its neighbours: its folder is the last one that modules are found in, and the working folder if the file lies
    below it. A module is found in the working folder, if nowhere else. No folder that is examined is searched.

    Raises:
        UsageError: the specification, the file or the function is off.
        ThetascopeError: the file raises; the message says where and what.
    """
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise UsageError(f'{option} must be "file.py:function" or "module:function". Got "{spec}" instead.')
    for own in OWN:  # before a user's folder can be searched for what these would like to have and can do without
        importlib.import_module(own)
    module = _module(place, option)
    function: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(function):
        there = ", ".join(n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", None) == module.__name__)
        raise UsageError(f'{option}: "{place}" has no function "{name}"; there are: {there or "none"}')
    return function


def _module(place: str, option: str) -> Any:
    if not place.endswith(".py"):
        find_in(os.curdir)
        if _is_missing(place):
            raise UsageError(f'{option}: there is no module "{place}"; write "file.py:function" for a file')
        with _told(option, place):
            return importlib.import_module(place)
    file = Path(place)
    if not file.is_file():
        raise UsageError(f'{option}: "{file}" does not exist')
    unsearched = find_in(file.parent)
    if Path.cwd() in file.resolve().parents:
        find_in(os.curdir)
    spec = importlib.util.spec_from_file_location(_free_name(file), file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # so that what the file defines can be found again by its module's name
    with _told(option, place, unsearched):
        spec.loader.exec_module(module)
    return module


def _free_name(file: Path) -> str:
    """What the file's module is called: as the file, so that a worker process finds it by its name; unless another is called so."""
    known = sys.modules.get(file.stem)
    origin = _origin(file.stem) if known is None else getattr(known, "__file__", None) or "built in"
    if origin is None or (os.path.exists(origin) and file.samefile(origin)):
        return file.stem
    return f"{file.stem}_{hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:8]}"


def _origin(name: str) -> str | None:
    """Where a module of that name would be loaded from."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return None if spec is None else spec.origin or "a namespace"


def _is_missing(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is None
    except ModuleNotFoundError:  # a package on the way to it
        return True


@contextmanager
def _told(option: str, place: str, unsearched: str = "") -> Iterator[None]:
    """What the user's code raises as one line with its place; errors of our own stand as they are."""
    try:
        yield
    except ThetascopeError:
        raise
    except Exception as error:
        where = _line_of(error, place)
        said = " ".join(str(error).split()) or "no message"
        if unsearched and isinstance(error, ModuleNotFoundError):
            said += f" (the file's folder is not searched: {unsearched}; keep the file and its neighbours elsewhere)"
        raise ThetascopeError(f"{option}: {place}{where} raised {type(error).__name__}: {said}; --debug shows the traceback") from error


def _line_of(error: Exception, place: str) -> str:
    """The last line of the user's own file that the error came through."""
    if isinstance(error, SyntaxError):
        return f" line {error.lineno}"
    name = Path(place).name if place.endswith(".py") else f"{place.rpartition('.')[2]}.py"
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if Path(frame.f_code.co_filename).name == name]
    return f" line {lines[-1]}" if lines else ""
