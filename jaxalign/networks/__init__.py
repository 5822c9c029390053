"""Flax networks; each call gives the output and the named representations."""

from jaxalign.networks.base import Network, layer_units, layers, n_parameters, normalizes_batches
from jaxalign.networks.cnn import CNN
from jaxalign.networks.dense import MLP, LinearNetwork

__all__ = ["CNN", "MLP", "LinearNetwork", "Network", "layer_units", "layers", "n_parameters", "normalizes_batches"]
