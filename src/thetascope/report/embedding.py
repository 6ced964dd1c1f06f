"""Putting data and scripts into a page so that nothing in them can break out, and nothing else can run."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterable
from typing import Any

BREAKERS = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})
"""Characters that end a script element, start a comment or end a line of a script; in JSON they stand only within strings."""


def safe_json(content: Any) -> str:
    """JSON that stands safely within a ``script`` element. What is not finite becomes null."""
    return json.dumps(_finite(content), ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(BREAKERS)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not (abs(content) <= 1.7976931348623157e308):
        return None
    return content


def packed(content: bytes) -> str:
    """Bytes as base64 of gzip, the same for the same bytes."""
    return base64.b64encode(gzip.compress(content, mtime=0)).decode("ascii")


def data_uri(content: bytes, kind: str) -> str:
    """A file within the page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def security_policy(scripts: Iterable[str]) -> str:
    """A policy under which only these scripts run and nothing is fetched.

    Styles may stand in the page, because pictures are styled by the library that draws them; pictures may be data of the page.
    """
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts)
    parts = {
        "default-src": "'none'",
        "script-src": hashes,
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items())
