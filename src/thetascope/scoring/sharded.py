"""Models whose parameters are elsewhere: sharded over processes, or put in place by hooks, so that no state can take their place."""

from __future__ import annotations

from torch import nn

from thetascope.errors import ObjectiveError

SHARDED = ("FSDPModule", "FullyShardedDataParallel")
"""Classes of modules whose parameters are parts of tensors."""


def check_whole(model: nn.Module) -> None:
    """Whether a model holds its parameters whole, itself.

    Raises:
        ObjectiveError: it does not; the message says how to get a model that does.
    """
    for name, module in model.named_modules():
        if any(kind.__name__ in SHARDED for kind in type(module).__mro__):
            raise ObjectiveError(
                f"{_named(name)} is sharded (FSDP), so that a state could not take the place of its weights. Pass a model "
                "that is made anew and not sharded; states of the sharded one come from "
                "get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))"
            )
        hook = getattr(module, "_hf_hook", None)
        if any(getattr(each, "offload", False) for each in (hook, *getattr(hook, "hooks", ()))):
            raise ObjectiveError(
                f"{_named(name)} gets its weights from an offloading hook (accelerate), which puts its own in the place "
                "of a state's. Load the model without device_map, or call "
                "accelerate.hooks.remove_hook_from_module(model, recurse=True) and load its weights"
            )
    for name, parameter in model.named_parameters():
        if type(parameter).__name__ == "DTensor" or type(parameter.data).__name__ == "DTensor":
            raise ObjectiveError(
                f'the parameter "{name}" is a DTensor, of which this process holds a part. Pass a model that is made anew and '
                "not distributed; a state of whole tensors comes from parameter.full_tensor()"
            )


def _named(name: str) -> str:
    return f'the module "{name}"' if name else "the model"
