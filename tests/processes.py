"""Work in several processes of one group (gloo, over the loopback), bounded."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

SECONDS = 120
"""What runs longer hangs."""


def _process(rank: int, count: int, work: Callable[..., None], folder: Path, arguments: tuple[Any, ...]) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    # as torchrun says it to what it starts; the group is there already, so that nobody listens at the port
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0"}
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=count)
        work(*arguments)
        dist.destroy_process_group()
    except BaseException:  # noqa: BLE001 - the parent shows it
        (folder / f"error-{rank}").write_text(traceback.format_exc())


def together(folder: Path, work: Callable[..., None], *arguments: Any, count: int = 2) -> list[str]:
    """What was raised in each process that failed, in their order."""
    (folder / "meet").unlink(missing_ok=True)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_process, args=(rank, count, work, folder, arguments)) for rank in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join(SECONDS)
    alive = [child for child in children if child.is_alive()]
    for child in alive:
        child.kill()
    assert not alive, "a process hangs"
    return [file.read_text() for file in sorted(folder.glob("error-*"))]
