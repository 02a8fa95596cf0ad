"""Choosing among the trials of a search: intervals, Pareto front, picks, table and plots.

Everything here is a pure function of `TrialResult`s; only `results` touches a file.
"""

from perft.selection.confirm import (
    Confirmed,
    Gain,
    confirmed,
    confirmed_columns,
    confirmed_rows,
    format_confirmed,
    format_interval,
    format_mean,
    gains,
)
from perft.selection.front import (
    best,
    complete,
    knee,
    objective,
    pareto_front,
    why_no_front,
)
from perft.selection.interval import format_score, format_share, wilson
from perft.selection.limit import ActivatedLimit
from perft.selection.pick import pick, picked_of, picks
from perft.selection.remarks import remarks
from perft.selection.results import (
    is_concluded,
    read_all_scores,
    read_base,
    read_record,
    read_results,
    read_scores,
    result_line,
    write_base,
    write_results,
    write_scores,
)
from perft.selection.table import (
    OPTIONAL_COLUMNS,
    best_line,
    describe,
    describe_origin,
    front_table,
    to_frame,
)

__all__ = [
    "OPTIONAL_COLUMNS",
    "ActivatedLimit",
    "Confirmed",
    "Gain",
    "best",
    "best_line",
    "complete",
    "confirmed",
    "confirmed_columns",
    "confirmed_rows",
    "describe",
    "describe_origin",
    "format_confirmed",
    "format_interval",
    "format_mean",
    "format_score",
    "format_share",
    "front_table",
    "gains",
    "is_concluded",
    "knee",
    "objective",
    "pareto_front",
    "pick",
    "picked_of",
    "picks",
    "read_all_scores",
    "read_base",
    "read_record",
    "read_results",
    "read_scores",
    "remarks",
    "result_line",
    "to_frame",
    "why_no_front",
    "wilson",
    "write_base",
    "write_results",
    "write_scores",
]
