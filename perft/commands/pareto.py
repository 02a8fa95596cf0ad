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
from perft.selection import front_table, read_base, read_results, remarks, to_frame, why_no_front


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
    count.
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
        print(json.dumps({"search": name, "base": alone, "front": rows}, indent=1))
        return
    console = screen()
    print_table(console, front_table(results, base))
    for remark in remarks(results):
        console.print(remark, soft_wrap=True)
    ended = ", ".join(
        f"{count} {outcome}" for outcome, count in frame["outcome"].value_counts().items()
    )
    console.print(f"{len(results)} trials ended: {ended}")
