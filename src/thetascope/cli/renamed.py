"""What is called otherwise than it was: an old word is one error that names the new one."""

from __future__ import annotations

OLD_COMMANDS = {
    "compare": ("compare-paths",),
    "layers": ("layer-roles",),
    "atlas": ("parameter-atlas",),
    "plane": ("trajectory-plane",),
    "study": ("study-epochs", "study-train-size", "study-test-size"),
}
"""What the first version called commands, and what they are called now."""


COMPARES = "; results of several runs are compared by thetascope panels RESULT RESULT …"
"""What whoever types compare may have wanted."""


def renamed(word: str) -> str:
    """The error of a command that is called otherwise now."""
    names = " or ".join(f'"{name}"' for name in OLD_COMMANDS[word])
    return f'"{word}" is called {names} now'
