"""What `perft search` prints when a search has ended."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import get_args

from perft.errors import SearchError
from perft.files import Json
from perft.invocation import command_line
from perft.masking import masked
from perft.packing.messages import Scored
from perft.screen import Output
from perft.search_folder import PLOT_HTML
from perft.searches import name_options
from perft.searching.chance import chance_note
from perft.searching.prepare import SearchPlan
from perft.searching.run import Finished
from perft.selection import (
    OPTIONAL_COLUMNS,
    best_line,
    format_share,
    front_table,
    pareto_front,
    picked_of,
    remarks,
    why_no_front,
)
from perft.tracking import tracker_of
from perft.trial import Outcome, SplitScores, TrialResult


def show(plan: SearchPlan, finished: Finished, output: Output) -> None:
    """Shows the front, and the commands and pages to look at next.

    Raises:
        SearchError: if no trial ran to its full length.
    """
    results = finished.results
    if not pareto_front(results):
        raise SearchError(why_no_front(results))
    look = tracker_of(plan.settings.tracker).where_to_look(finished.tracking_uri, plan.search.shown)
    output.event("end", **_to_json(plan, finished), look=masked(look))
    base = finished.scored.base
    output.table(front_table(results, base), OPTIONAL_COLUMNS)
    for remark in [*remarks(results, base), *chance_note(plan.search, results, base)]:
        output.say(remark)
    output.say(f"{len(results)} trials: {_counts(results)}")
    for who, scores in _tested(finished.scored):
        for split, (correct, scored) in scores.items():
            share = format_share(correct, scored)
            output.say(f"{who} on test split {split}: {correct}/{scored}, {share}")
    named = name_options("--name", plan.settings.name, plan.root)
    output.say(
        f"\nlook:    {masked(look)}\n"
        f"plot:    {plan.search.shown}/{PLOT_HTML}\n"
        f"front:   {command_line('pareto', *named)}\n"
        f"export:  {command_line('export', *named, '--out', 'adapter')}"
    )
    output.last(f"search {plan.settings.name}, {best_line(results)}")


def _to_json(plan: SearchPlan, finished: Finished) -> dict[str, Json]:
    """The result of a search: its front, what was picked and scored, how the trials ended."""
    results, scored = finished.results, finished.scored
    picked = picked_of(results)
    assert picked is not None, "the front is not empty"
    outcomes = Counter(result.outcome for result in results)
    return {
        "search": plan.settings.name,
        "folder": plan.search.shown,
        "plot": f"{plan.search.shown}/{PLOT_HTML}",
        "trials": {outcome: outcomes[outcome] for outcome in get_args(Outcome)},
        "front": [trial.to_json() for trial in pareto_front(results)],
        "best": picked.best.number,
        "knee": picked.knee.number,
        "base": scored.base.to_json() if scored.base else None,
        "tests": {
            str(number): {split: count._asdict() for split, count in splits.items()}
            for number, splits in scored.trials.items()
        },
    }


def _counts(results: Sequence[TrialResult]) -> str:
    """How the trials ended, such as "4 complete, 2 pruned, 0 failed"."""
    outcomes = Counter(result.outcome for result in results)
    return ", ".join(f"{outcomes[outcome]} {outcome}" for outcome in get_args(Outcome))


def _tested(scored: Scored) -> Iterator[tuple[str, SplitScores]]:
    """Who was scored on test splits, and how."""
    if scored.base is not None:
        yield "the base alone", scored.base.tests
    for number, scores in sorted(scored.trials.items()):
        yield f"trial {number}", scores
