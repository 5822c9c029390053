"""Many networks at once: one pure function trains a member, one layout batches the members."""

from jaxalign.ensemble.batch import GroupSpec, arguments, run_members
from jaxalign.ensemble.closed_form import is_solved
from jaxalign.ensemble.draws import GroupData, draw_group, draw_initial
from jaxalign.ensemble.layout import Layout, choose_layout
from jaxalign.ensemble.member import Outcome
from jaxalign.ensemble.placement import Program, compile_group
from jaxalign.ensemble.training import Training

__all__ = [
    "GroupData",
    "GroupSpec",
    "Layout",
    "Outcome",
    "Program",
    "Training",
    "arguments",
    "choose_layout",
    "compile_group",
    "draw_group",
    "draw_initial",
    "is_solved",
    "run_members",
]
