"""Finding what a user's own file or module provides: ``file.py:function`` or ``module:function``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from thetascope.errors import UsageError


def provided(spec: str, wanted: type, option: str) -> Any:
    """Call the function that `spec` names, without arguments, and check that it returns a `wanted`.

    The working folder is on the path, so that the file may import its neighbours.

    Raises:
        UsageError: the specification, the file, the function or what it returns is off.
    """
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise UsageError(f'{option} must be "file.py:function" or "module:function". Got "{spec}" instead.')
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module = _module(place, option)
    function = getattr(module, name, None)
    if not callable(function):
        there = ", ".join(n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", None) == module.__name__)
        raise UsageError(f'{option}: "{place}" has no function "{name}"; there are: {there or "none"}')
    found = function()
    if not isinstance(found, wanted):
        raise UsageError(f"{option}: {spec}() must return a ts.{wanted.__name__}. Got {type(found).__name__} instead.")
    return found


def _module(place: str, option: str) -> Any:
    if not place.endswith(".py"):
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise UsageError(f'{option}: no module "{place}" ({error}); write "file.py:function" for a file') from error
    file = Path(place)
    if not file.is_file():
        raise UsageError(f'{option}: "{file}" does not exist')
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # so that what the file defines can be found again by its module's name
    spec.loader.exec_module(module)
    return module
