"""``python -m thetascope.cli``."""

from __future__ import annotations

import sys

from thetascope.cli import main

if __name__ == "__main__":
    sys.exit(main())
