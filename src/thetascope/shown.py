"""Text as it may be shown. Names come from strangers' files: on a terminal a control sequence would act, and a lone surrogate fits no file.

What is printed goes through `shown`, errors and `__repr__` with it; what is written as a file through `encoded`.
"""

from __future__ import annotations

import re
import warnings
from typing import IO

LONGEST_MESSAGE = 8_000
"""Characters of an error's message or a warning; a name may have any number."""

_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but for tabs and line ends, what turns the direction of writing or ends a line unseen, lone surrogates."""
_SURROGATE = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"


def is_fit(text: str) -> bool:
    """Whether `shown` leaves a text as it is."""
    return _UNFIT.search(text) is None


def shown(text: str) -> str:
    """The text with a replacement character for each character that would act, or that cannot be written."""
    return _UNFIT.sub(REPLACEMENT, text)


def message(text: str) -> str:
    """The text of an error or a warning: `shown`, and no longer than a person reads."""
    cut = len(text) - LONGEST_MESSAGE
    return shown(text if cut <= 0 else f"{text[: LONGEST_MESSAGE // 2]} … ({cut:,} characters) … {text[-LONGEST_MESSAGE // 2 :]}")


def warn(text: str, stacklevel: int) -> None:
    """Warn of something; `stacklevel` as for `warnings.warn` where that stood in place of this call."""
    warnings.warn(message(text), stacklevel=stacklevel + 1)


def encoded(text: str) -> bytes:
    """The text as UTF-8; a lone surrogate, which that has no bytes for, is replaced."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return _SURROGATE.sub(REPLACEMENT, text).encode("utf-8")


def fit_for(stream: IO[str], text: str) -> str:
    """The text as a stream can write it, in whatever encoding: it is not worth an error after hours of work."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return shown(text).encode(encoding, "replace").decode(encoding)
