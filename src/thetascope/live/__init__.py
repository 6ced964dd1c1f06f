"""A view of a training while it runs: what its recording says so far, as a page that renews itself and in the terminal."""

from __future__ import annotations
