"""Flax networks; each call gives the output and the named representations."""
