"""jaxalign: when do networks trained on noisy data end up with the same representation?"""

__version__ = "0.1.0"
