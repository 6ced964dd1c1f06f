"""States and the space they live in: named tensors, their layers, groups and ties."""

from thetascope.state.space import (
    ROOT_LAYER,
    Kind,
    Layer,
    ParameterSpace,
    SpaceDifference,
    TensorSpec,
    named_tensors,
    unwrapped,
)
from thetascope.state.states import State, TensorSource, digest_of, tensor_bytes

__all__ = [
    "ROOT_LAYER",
    "Kind",
    "Layer",
    "ParameterSpace",
    "SpaceDifference",
    "State",
    "TensorSource",
    "TensorSpec",
    "digest_of",
    "named_tensors",
    "tensor_bytes",
    "unwrapped",
]
