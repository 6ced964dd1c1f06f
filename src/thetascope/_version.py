"""The version, alone in a file so that the build can read it without importing anything."""

__version__ = "0.1.0"
DIRECTIONS = 2
"""Of how random directions are drawn: the same seed gives others in another version. The first one drew each tensor from a generator of
its own in a row, so that a part of it could not be drawn alone."""
