"""When states were, as the names of their files and folders say."""

from __future__ import annotations

import re
from pathlib import Path

from thetascope.checkpoints.opened import Moment

_STEP = re.compile(r"(?<![a-z])(?:(?:global[-_ ]?)?steps?|checkpoint|iter(?:ation)?s?)[-_= ]?(\d{1,15})(?![\d.]*[a-z%])", re.IGNORECASE)
_EPOCH = re.compile(r"(?<![a-z])ep(?:och)?s?[-_= ]?(\d{1,9}(?:\.\d{1,9})?)(?![a-z%])", re.IGNORECASE)


def moment_in_name(path: Path) -> Moment:
    """The step and the epoch that a file's name tells, as in ``checkpoint-500`` and ``epoch=3-step=120.ckpt``; of a folder its own."""
    name = path.name if path.is_dir() else path.name.removesuffix(path.suffix) if not path.suffix[1:].isdecimal() else path.name
    step, epoch = _STEP.search(name), _EPOCH.search(name)
    return Moment(int(step[1]) if step else None, float(epoch[1]) if epoch else None)
