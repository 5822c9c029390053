"""Many networks at once: one pure function trains a member, one layout batches the members."""

from jaxalign.ensemble.batch import GroupData, GroupSpec, choose_chunk, compile_group, draw_group, is_solved, run_group
from jaxalign.ensemble.member import Outcome
from jaxalign.ensemble.training import Training

__all__ = [
    "GroupData",
    "GroupSpec",
    "Outcome",
    "Training",
    "choose_chunk",
    "compile_group",
    "draw_group",
    "is_solved",
    "run_group",
]
