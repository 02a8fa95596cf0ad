"""Choosing among the trials of a search: intervals, Pareto front, picks, table and plots.

Everything here is a pure function of `TrialResult`s; only `results` touches a file.
"""

from perft.selection.front import best, knee, objective, pareto_front, pick, picks, why_no_front
from perft.selection.interval import format_score, format_share, wilson
from perft.selection.limit import ActivatedLimit
from perft.selection.remarks import remarks
from perft.selection.results import (
    is_concluded,
    read_all_scores,
    read_record,
    read_results,
    read_scores,
    result_line,
    write_results,
    write_scores,
)
from perft.selection.table import describe, front_table, to_frame

__all__ = [
    "ActivatedLimit",
    "best",
    "describe",
    "format_score",
    "format_share",
    "front_table",
    "is_concluded",
    "knee",
    "objective",
    "pareto_front",
    "pick",
    "picks",
    "read_all_scores",
    "read_record",
    "read_results",
    "read_scores",
    "remarks",
    "result_line",
    "to_frame",
    "why_no_front",
    "wilson",
    "write_results",
    "write_scores",
]
