"""Exact theory of linear networks: spectral filters, overlap, generalization error, alignment."""
