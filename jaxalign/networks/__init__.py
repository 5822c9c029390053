"""Flax networks; each call gives the output and the named representations."""

from jaxalign.networks.base import Network, digest, layer_units, layers, n_parameters, normalizes_batches
from jaxalign.networks.cnn import CNN
from jaxalign.networks.dense import MLP, LinearNetwork
from jaxalign.networks.module import FlaxNetwork, as_networks

__all__ = [
    "CNN",
    "MLP",
    "FlaxNetwork",
    "LinearNetwork",
    "Network",
    "as_networks",
    "digest",
    "layer_units",
    "layers",
    "n_parameters",
    "normalizes_batches",
]
