"""Prints the Pareto front of a search: what more activated parameters buy.

Only reads: it can be called while the search runs.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for a tree that is not installed

import typer

from perft.cli import StorageOption, run
from perft.errors import SearchError
from perft.home import default_storage
from perft.screen import print_table, screen
from perft.selection import (
    find_search,
    front_table,
    read_results,
    remarks,
    to_frame,
    why_no_front,
)


def main(
    *,
    name: Annotated[str, typer.Option(help="Name of the search.")],
    storage: StorageOption = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the front as JSON, with every setting.")
    ] = False,
) -> None:
    """Print the Pareto front of a search.

    One row for every trial that no other one beats in both validation accuracy and activated
    PEFT parameters, smallest first. Only full-length trials count.
    """
    results = read_results(find_search(storage or default_storage(), name))
    if not any(result.outcome == "complete" for result in results):
        raise SearchError(why_no_front(results))
    frame = to_frame(results)
    if as_json:
        front = frame[frame["on_front"]].sort_values("activated")
        rows: list[dict[str, Any]] = json.loads(front.to_json(orient="records"))
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


if __name__ == "__main__":
    run(main)
