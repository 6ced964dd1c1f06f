"""A training in several processes: which of them writes, and tensors of which each process holds a part.

Under DDP every process has the whole model, and the first one writes alone. Under FSDP2 each holds a part of each tensor, so that all must
take part where a tensor is put together: the first one leads and the others follow, from the beginning of each call to its end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from thetascope.errors import RecordingError
from thetascope.recording.safetensors_files import copied
from thetascope.shown import warn

_END = None
"""Said to those that follow when a call ends."""


def is_first() -> bool:
    """Whether this process is the one that writes: the first of its process group, or of those that a launcher started."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    if os.environ.get("WORLD_SIZE", "1") == "1":  # a rank alone may be that of a job in a scheduler's array
        return True
    if "RANK" in os.environ:
        return os.environ["RANK"] == "0"
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK"))


def is_part(tensor: Tensor) -> bool:
    """Whether it is a DTensor, of which this process holds a part."""
    return hasattr(tensor, "full_tensor")


def check_gatherable(model: nn.Module) -> None:
    """Whether the model's tensors are whole, or can be put together one at a time.

    Raises:
        RecordingError: they cannot; the message says what to do instead.
    """
    if any(kind.__name__ == "FullyShardedDataParallel" for module in model.modules() for kind in type(module).__mro__):
        raise RecordingError(
            "the model is wrapped in FullyShardedDataParallel, whose tensors cannot be put together one at a time. Shard it with "
            "torch.distributed.fsdp.fully_shard (FSDP2), or save checkpoints and read them with ts.Trajectory.from_files"
        )
    if any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
        raise RecordingError(
            "the parameters are divided among processes by DeepSpeed (ZeRO-3). Use ZeRO-2, or save checkpoints, merge each with "
            "zero_to_fp32.py and read them with ts.Trajectory.from_files"
        )


class Ranks:
    """The processes of a training, as its Recorder sees them.

    Attributes:
        writes: whether this process is the one that writes.
        sharded: whether tensors lie in parts, so that all processes must make each call.
    """

    def __init__(self, model: nn.Module) -> None:
        check_gatherable(model)
        self.writes, self.sharded = is_first(), any(is_part(parameter) for parameter in model.parameters())
        self._model = model
        self._led = 0

    def check_group(self) -> None:
        """Warn where this process did not write because of what its launcher said, and no process group bore it out."""
        if not (dist.is_available() and dist.is_initialized()):
            warn(
                "this process recorded nothing: its environment names it as a later one of several (WORLD_SIZE, RANK or LOCAL_RANK), "
                "of which the first writes, but there is no process group. Where it trained a model of its own, unset these",
                stacklevel=3,
            )

    def reshard(self) -> None:
        """As a state dict of the model begins: what was put together for the last pass is in parts again, in its own precision."""
        for module in self._model.modules() if self.sharded else ():
            if hasattr(module, "reshard"):
                module.reshard()  # type: ignore[operator]

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Around a call of the process that writes. Others are told when it ends, or the error that it ends with."""
        self._led += 1
        said: object = _END
        try:
            yield
        except Exception as error:
            said = str(error)
            raise
        finally:
            self._led -= 1
            if self.sharded and not self._led:
                _say(said)

    def follow(self, tensors: Mapping[str, Tensor]) -> None:
        """The same call in the other processes: give their parts of what is asked for until it ends.

        Raises:
            RecordingError: it ended with an error in the process that writes.
        """
        while self.sharded:
            match _say(None):
                case None:
                    return
                case str(error):
                    raise RecordingError(f"the process that writes ended with: {error}")
                case names:
                    for name in names:
                        _whole(tensors[name])

    def copied(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Copies on the CPU of whole tensors; of a sharded model one is put together at a time."""
        if not self.sharded:
            return copied(tensors)
        _say(list(tensors))
        return {name: copied({name: _whole(tensor)})[name] for name, tensor in tensors.items()}

    def whole(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Whole tensors to look at: the same ones, or copies where these are parts."""
        return self.copied(tensors) if self.sharded else tensors


def _whole(tensor: Tensor) -> Tensor:
    return tensor.detach().full_tensor() if is_part(tensor) else tensor  # type: ignore[attr-defined]


def _say(what: Any) -> Any:
    """What the first process says, in all of them."""
    said = [what]
    dist.broadcast_object_list(said, src=0)
    return said[0]
