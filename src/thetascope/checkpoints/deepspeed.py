"""Folders that DeepSpeed writes: ``mp_rank_00_model_states.pt`` holds the weights, unless ZeRO-3 or tensor parallelism cut them."""

from __future__ import annotations

from pathlib import Path

from thetascope.checkpoints.opened import Format, How, Opened, check_inside, inside
from thetascope.checkpoints.pickled import PICKLED
from thetascope.errors import CheckpointError

LATEST, STATES = "latest", "_model_states.pt"
TOGETHER = "Make one file of it with DeepSpeed's zero_to_fp32.py, which lies in the checkpoint's folder, and pass that"


def _states_in(folder: Path) -> list[Path]:
    """The files of model states in a folder, or in the one that its file `latest` names."""
    if not folder.is_dir():
        return []
    latest = folder / LATEST
    if latest.is_file() and latest.stat().st_size < 1024:
        folder = inside(folder, latest.read_text(encoding="utf-8", errors="replace").strip(), latest)
    return sorted(file for file in folder.glob(f"*{STATES}") if file.is_file())


def _opened(folder: Path, how: How) -> Opened:
    states = _states_in(folder)
    if len(states) > 1 or not states[0].name.startswith("mp_rank"):
        raise CheckpointError(f'"{folder}" holds {len(states)} files of model states, none of which is the whole model. {TOGETHER}')
    check_inside(folder, states[0])
    found = PICKLED.open(states[0], How("module" if how.key is None else how.key, allow=how.allow))
    return Opened(folder, found.source, "DeepSpeed", own=found.own)


DEEPSPEED = Format("a checkpoint folder of DeepSpeed", lambda path: bool(_states_in(path)), _opened)
