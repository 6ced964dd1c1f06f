"""A process of its own with a process group of one, because a group changes what the whole process does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

import thetascope as ts
from thetascope.errors import ObjectiveError


def model() -> nn.Sequential:
    """The same each time."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def main() -> None:
    """Shard in two ways; print what is said, and the score of the sharded model's state on a whole one."""
    dist.init_process_group("gloo", init_method=f"file://{Path(sys.argv[1]).resolve()}", rank=0, world_size=1)
    torch.manual_seed(1)
    data = (torch.randn(20, 4), torch.randint(3, (20,)))
    mesh = init_device_mesh("cpu", (1,))
    sharded: Any = fully_shard(model(), mesh=mesh)
    parallel = parallelize_module(model(), mesh, {"0": ColwiseParallel()})
    for wrong in (sharded, parallel):
        try:
            ts.Objective(wrong, data)
        except ObjectiveError as error:
            print(str(error).replace("\n", " "))
    state: Any = get_model_state_dict(sharded, options=StateDictOptions(full_state_dict=True))
    print(ts.Objective(model(), data).score(state) == ts.Objective(model(), data).score(model().state_dict()))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
