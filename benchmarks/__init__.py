"""Benchmarks of jaxalign against what one would use instead; `python -m benchmarks --list` names them."""
