"""The fault suite. A process that is to do without one of its guards does so before anything else of it is loaded."""

from __future__ import annotations

import os

from tests.faults.guards import GUARDS, WITHOUT

if os.environ.get(WITHOUT):
    GUARDS[os.environ[WITHOUT]].take_away()
