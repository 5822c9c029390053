"""Flax networks; each call gives the output and the named representations."""

from jaxalign.networks.base import Network, layers, n_parameters
from jaxalign.networks.dense import MLP, LinearNetwork

__all__ = ["MLP", "LinearNetwork", "Network", "layers", "n_parameters"]
