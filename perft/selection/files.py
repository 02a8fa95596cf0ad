"""The result files of a search: the table of all trials, the Pareto plot and the importances.

All files show the same trials.
"""

import io
from collections.abc import Sequence

from perft.base_score import BaseScore
from perft.search_folder import IMPORTANCE_PNG, PLOT_HTML, PLOT_PNG, TABLE_CSV, TABLE_PARQUET
from perft.selection.importance import importances
from perft.selection.plots.front import front_png
from perft.selection.plots.importance import importance_png
from perft.selection.plots.page import to_html
from perft.selection.table import to_frame
from perft.trial import TrialResult


def result_files(
    results: Sequence[TrialResult], title: str, base: BaseScore | None = None
) -> dict[str, bytes]:
    """The table (Parquet and CSV) and the plots (interactive HTML and PNG), by file name.

    The picture of the importances is left out if too few trials have reported.
    """
    frame = to_frame(results, base)
    parquet = io.BytesIO()
    frame.to_parquet(parquet, index=False)
    files = {
        TABLE_PARQUET: parquet.getvalue(),
        TABLE_CSV: frame.to_csv(index=False).encode(),
        PLOT_HTML: to_html(results, title, base).encode(),
        PLOT_PNG: front_png(results, title, base),
    }
    if found := importances(results):
        files[IMPORTANCE_PNG] = importance_png(found, title)
    return files
