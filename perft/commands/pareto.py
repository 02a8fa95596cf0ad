"""Prints the Pareto front of a search: what more activated parameters buy.

Only reads: it can be called while the search runs.
"""

import json
from typing import Annotated

import typer

from perft.errors import SearchError
from perft.options import StorageOption
from perft.screen import print_table, screen
from perft.searches import find_search
from perft.selection import front_table, read_results, remarks, to_frame, why_no_front


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
    PEFT parameters, smallest first. Only full-length trials count.
    """
    results = read_results(find_search(name, storage))
    if not any(result.outcome == "complete" for result in results):
        raise SearchError(why_no_front(results))
    frame = to_frame(results)
    if as_json:
        front = frame[frame["on_front"]].sort_values("activated")
        rows: list[dict[str, object]] = json.loads(front.to_json(orient="records"))
        print(json.dumps({"search": name, "front": rows}, indent=1))
        return
    console = screen()
    print_table(console, front_table(results))
    for remark in remarks(results):
        console.print(remark, soft_wrap=True)
    ended = ", ".join(
        f"{count} {outcome}" for outcome, count in frame["outcome"].value_counts().items()
    )
    console.print(f"{len(results)} trials ended: {ended}")
