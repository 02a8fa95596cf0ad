"""What `perft search` prints when a search has ended."""

from collections.abc import Iterator

from rich.console import Console

from perft.errors import SearchError
from perft.invocation import command_line
from perft.masking import masked
from perft.packing.messages import Scored
from perft.screen import print_table
from perft.search_folder import PLOT_HTML
from perft.searches import name_options
from perft.searching.prepare import SearchPlan
from perft.searching.run import Finished
from perft.selection import format_share, front_table, pareto_front, remarks, why_no_front
from perft.tracking import tracker_of
from perft.trial import SplitScores


def show(plan: SearchPlan, finished: Finished, console: Console) -> None:
    """Prints the front, and the commands and pages to look at next.

    Raises:
        SearchError: if no trial ran to its full length.
    """
    name = plan.settings.name
    results = finished.results
    if not pareto_front(results):
        raise SearchError(why_no_front(results))
    print_table(console, front_table(results, finished.scored.base))
    for remark in remarks(results):
        console.print(remark, soft_wrap=True)
    outcomes = [result.outcome for result in results]
    counts = ", ".join(f"{outcomes.count(o)} {o}" for o in ("complete", "pruned", "failed"))
    console.print(f"{len(results)} trials: {counts}", highlight=False)
    for who, scores in _tested(finished.scored):
        for split, (correct, scored) in scores.items():
            console.print(
                f"{who} on test split {split}: {correct}/{scored}, {format_share(correct, scored)}",
                soft_wrap=True,
            )
    named = name_options("--name", name, plan.root)
    tracker = tracker_of(plan.settings.tracker)
    look = tracker.where_to_look(finished.tracking_uri, plan.search.shown)
    console.print(
        f"\nlook:    {masked(look)}\n"
        f"plot:    {plan.search.shown}/{PLOT_HTML}\n"
        f"front:   {command_line('pareto', *named)}\n"
        f"export:  {command_line('export', *named, '--out', 'adapter')}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _tested(scored: Scored) -> Iterator[tuple[str, SplitScores]]:
    """Who was scored on test splits, and how."""
    if scored.base is not None:
        yield "the base alone", scored.base.tests
    for number, scores in sorted(scored.trials.items()):
        yield f"trial {number}", scores
