"""The store of a sweep: a zarr group that is written cell by cell and grows, its lock, and the weights beside it."""
