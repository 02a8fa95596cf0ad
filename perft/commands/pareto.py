"""Prints the Pareto front of a search: what more activated parameters buy, and what mattered.

Only reads: it can be called while the search runs.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence

from perft.base_score import BaseScore
from perft.errors import SearchError
from perft.files import Json
from perft.options import JsonOption, NameOption, QuietOption, StorageOption
from perft.screen import Output
from perft.searches import find_search
from perft.searching.chance import chance_note
from perft.searching.settings import SearchSettings
from perft.selection import (
    OPTIONAL_COLUMNS,
    best_line,
    front_table,
    read_base,
    read_results,
    remarks,
    to_frame,
    why_no_front,
)
from perft.selection.hypervolume import Reference, hypervolume_of, reference_for
from perft.selection.importance import importance_table, importances
from perft.trial import TrialResult


def main(
    *,
    name: NameOption,
    storage: StorageOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Print the Pareto front of a search.

    One row for every trial that no other one beats in both validation accuracy and activated
    PEFT parameters, smallest first, under the score of the base alone. Only full-length trials
    count. Then the front's hypervolume, and how much each parameter mattered.

    Examples:
      perft pareto --name first
      perft pareto --name first --json
      perft pareto --name first --storage s3://bucket/searches
    """
    output = Output(as_json=as_json, quiet=quiet)
    search = find_search(name, storage)
    results, base = read_results(search), read_base(search)
    if not any(result.outcome == "complete" for result in results):
        raise SearchError(why_no_front(results))
    is_builtin = SearchSettings.read(search).base_model is None
    reference = reference_for(results, is_builtin=is_builtin)
    if as_json:
        output.document(_to_json(name, results, base, reference))
        return
    output.table(front_table(results, base), OPTIONAL_COLUMNS)
    for remark in [*remarks(results, base), *chance_note(search, results, base)]:
        output.say(remark)
    outcomes = Counter(result.outcome for result in results)
    ended = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    output.say(f"{len(results)} trials ended: {ended}")
    if reference is not None:
        output.say(f"hypervolume {hypervolume_of(results, reference):.4f}: {reference}")
    if mattered := importances(results):
        output.table(importance_table(mattered))
    output.last(best_line(results))


def _to_json(
    name: str,
    results: Sequence[TrialResult],
    base: BaseScore | None,
    reference: Reference | None,
) -> dict[str, Json]:
    """The front with every setting; hypervolume and reference are None where there is none."""
    frame = to_frame(results, base)
    front = frame[frame["on_front"]].sort_values("activated")
    return {
        "search": name,
        "base": base.to_json() | {"accuracy": base.accuracy} if base is not None else None,
        "front": json.loads(front.to_json(orient="records")),
        "hypervolume": None if reference is None else hypervolume_of(results, reference),
        "reference": None if reference is None else dataclasses.asdict(reference),
        "importances": [dataclasses.asdict(each) for each in importances(results)],
    }
