"""States and the space they live in: named tensors, their layers, groups and ties."""

from thetascope.state.frozen import frozen_parameters
from thetascope.state.space import (
    BLOCKS,
    ROOT_LAYER,
    TRAINABLE,
    Kind,
    Layer,
    ParameterSpace,
    SpaceDifference,
    TensorSpec,
    named_tensors,
    unwrapped,
)
from thetascope.state.states import READ_AT_ONCE, State, TensorSource, digest_of, digest_of_source, tensor_bytes

__all__ = [
    "BLOCKS",
    "READ_AT_ONCE",
    "ROOT_LAYER",
    "TRAINABLE",
    "Kind",
    "Layer",
    "ParameterSpace",
    "SpaceDifference",
    "State",
    "TensorSource",
    "TensorSpec",
    "digest_of",
    "digest_of_source",
    "frozen_parameters",
    "named_tensors",
    "tensor_bytes",
    "unwrapped",
]
