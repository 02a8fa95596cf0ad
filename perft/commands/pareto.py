"""Prints the Pareto front of a search: what more activated parameters buy, and what mattered.

Only reads: it can be called while the search runs.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Annotated

import typer

from perft.errors import SearchError
from perft.options import StorageOption
from perft.screen import print_table, screen
from perft.searches import find_search
from perft.searching.settings import SearchSettings
from perft.selection import (
    complete,
    front_table,
    read_base,
    read_results,
    remarks,
    to_frame,
    why_no_front,
)
from perft.selection.front import is_scored
from perft.selection.hypervolume import BUILTIN, Reference, hypervolume_of, reference_of
from perft.selection.importance import importance_table, importances
from perft.storage import Storage
from perft.trial import TrialResult


def main(
    *,
    name: Annotated[str, typer.Option(help="Name of the search.")],
    storage: StorageOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the front as JSON, with every setting.")
    ] = False,
) -> None:
    """Print the Pareto front of a search.

    One row for every trial that no other one beats in both validation accuracy and activated
    PEFT parameters, smallest first, under the score of the base alone. Only full-length trials
    count. Then the front's hypervolume, and how much each parameter mattered.
    """
    search = find_search(name, storage)
    results, base = read_results(search), read_base(search)
    if not any(result.outcome == "complete" for result in results):
        raise SearchError(why_no_front(results))
    frame = to_frame(results, base)
    if as_json:
        front = frame[frame["on_front"]].sort_values("activated")
        rows: list[dict[str, object]] = json.loads(front.to_json(orient="records"))
        alone = base.to_json() | {"accuracy": base.accuracy} if base is not None else None
        found: dict[str, object] = {"search": name, "base": alone, "front": rows}
        found |= _hypervolume(search, results)
        found["importances"] = [dataclasses.asdict(each) for each in importances(results)]
        print(json.dumps(found, indent=1))
        return
    console = screen()
    print_table(console, front_table(results, base))
    for remark in remarks(results):
        console.print(remark, soft_wrap=True)
    ended = ", ".join(
        f"{count} {outcome}" for outcome, count in frame["outcome"].value_counts().items()
    )
    console.print(f"{len(results)} trials ended: {ended}")
    if (reference := _reference(search, results)) is not None:
        area = hypervolume_of(results, reference)
        console.print(f"hypervolume {area:.4f}: {reference}", highlight=False, soft_wrap=True)
    if mattered := importances(results):
        print_table(console, importance_table(mattered))


def _hypervolume(search: Storage, results: Sequence[TrialResult]) -> dict[str, object]:
    """The hypervolume with its reference; both None where there is none."""
    reference = _reference(search, results)
    area = None if reference is None else hypervolume_of(results, reference)
    return {
        "hypervolume": area,
        "reference": None if reference is None else dataclasses.asdict(reference),
    }


def _reference(search: Storage, results: Sequence[TrialResult]) -> Reference | None:
    """The reference of the built-in base's spaces, or one that encloses this search's trials."""
    if is_scored(complete(results)) and SearchSettings.read(search).base_model is None:
        return BUILTIN
    return reference_of(results)
