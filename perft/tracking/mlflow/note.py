"""The description on the page of a search's run, as Markdown; a pure function of the records."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import urlencode

from perft.home import default_storage
from perft.search_folder import PLOT_PNG
from perft.selection import (
    describe,
    describe_origin,
    format_score,
    pareto_front,
    picks,
)
from perft.selection.front import is_scored, size_and_report
from perft.selection.interval import format_base
from perft.tracking.records import SearchRecord
from perft.trial import TrialResult

NOTE_PNG = "pareto-small.png"
"""The plot as the note shows it: MLflow's page has no width for it, and a wide one would push all
else aside."""

MOST_ROWS = 20
"""Trials of the front in the note: MLflow refuses a tag of more than 8000 characters."""


def note_of(
    search: SearchRecord,
    results: Sequence[TrialResult],
    run: str,
    experiment: str,
    trials: Mapping[int, str],
) -> str:
    """The note of a search.

    Args:
        search: its record.
        results: its trials that have ended.
        run: id of its run.
        experiment: id of the experiment.
        trials: ids of the runs of trials, by number.
    """
    front = pareto_front(results)
    parts = [_state(search, len(results))]
    if front:
        links = {
            number: f"#/experiments/{experiment}/runs/{each}" for number, each in trials.items()
        }
        parts.append(_table(search, front, picks(results), links))
    parts.append(_commands(search, front))
    if front and PLOT_PNG in search.files:
        parts.append(_picture(run))
    return "\n\n".join(parts) + "\n"


def _state(search: SearchRecord, ended: int) -> str:
    trials = f"{ended} trial{'' if ended == 1 else 's'}"
    said = {
        "RUNNING": f"is running: {trials} so far",
        "FINISHED": f"has ended: {trials}",
        "FAILED": f"has failed after {trials}",
        "KILLED": f"was stopped after {trials}",
    }
    return f"perft search `{search.name}` {said[search.status]}."


def _table(
    search: SearchRecord,
    front: Sequence[TrialResult],
    picked: Mapping[int, str],
    links: Mapping[int, str],
) -> str:
    what, column = (
        ("validation accuracy", "accuracy (95% interval)")
        if is_scored(front)
        else ("validation loss", "loss")
    )
    lines = [
        f"### Pareto front: {what} against activated parameters",
        "",
        f"| trial | {column} | activated | % of base | configuration | pick |",
        "|---:|---:|---:|---:|---|---|",
    ]
    if search.base is not None:
        lines.append(f"| base | {format_base(search.base)} | 0 | 0% | no adapter | |")
    shown = _shown(front, {number for number, pick in picked.items() if pick})
    for trial in shown:
        size, report = size_and_report(trial)
        name = f"{trial.number:04d}"
        link = f"[{name}]({links[trial.number]})" if trial.number in links else name
        words = f"{describe(trial.config)} {describe_origin(trial.origin)}".strip()
        lines.append(
            f"| {link} | {format_score(report)} | {size.activated:,} | "
            f"{size.activated_percent:.3g}% | {words} | {picked[trial.number]} |"
        )
    if len(shown) < len(front):
        lines += ["", f"{len(front) - len(shown)} more trials of the front: `perft pareto`."]
    return "\n".join(lines)


def _shown(front: Sequence[TrialResult], picked: Collection[int]) -> list[TrialResult]:
    """The front, or if it is too long the picked trials and the largest of the others."""
    if len(front) <= MOST_ROWS:
        return list(front)
    others = [trial for trial in front if trial.number not in picked][-(MOST_ROWS - len(picked)) :]
    kept = {trial.number for trial in others} | set(picked)
    return [trial for trial in front if trial.number in kept]


def _picture(run: str) -> str:
    """The plot among the run's artifacts, as MLflow's server serves it."""
    address = "get-artifact?" + urlencode({"path": NOTE_PNG, "run_uuid": run})
    return f"![Pareto front]({address})"


def _commands(search: SearchRecord, front: Sequence[TrialResult]) -> str:
    root = search.place.removesuffix(f"/{search.name}")
    place = () if root == default_storage() else ("--storage", root)
    named = ("--name", search.name, *place)
    lines = [("search", "--resume", search.name, *place)]
    if front:
        lines = [("pareto", *named), ("export", *named, "--out", "adapter"), *lines]
    return "\n".join(["```", *(shlex.join(("perft", *line)) for line in lines), "```"])
