"""Exports the adapter of one trial of a search as a folder.

Only reads the search: it can be called while the search runs.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from perft.export import Score, export_adapter
from perft.options import JsonOption, NameOption, QuietOption, StorageOption
from perft.screen import Output
from perft.searches import find_search
from perft.searching.settings import SearchSettings
from perft.selection import (
    ActivatedLimit,
    confirmed,
    describe,
    format_score,
    pick,
    read_base,
    read_results,
    read_scores,
    remarks,
    wilson,
)
from perft.storage import Storage
from perft.trial import Report, TrialResult


def main(
    *,
    name: NameOption,
    out: Annotated[Path, typer.Option(help="Folder to make.", show_default=False)],
    picked: Annotated[
        str,
        typer.Option(
            "--pick",
            metavar="best|knee|RUN_ID",
            help="The most accurate trial, the one where more parameters begin to pay less, or "
            "one given by its MLflow run id or number.",
        ),
    ] = "best",
    max_activated: Annotated[
        str | None,
        typer.Option(
            metavar="LIMIT",
            help="Leave out trials that activate more parameters per token: 0.1% of the base's, "
            "or a number such as 590000.",
            show_default=False,
        ),
    ] = None,
    storage: StorageOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier export in --out.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Export one trial of a search: adapter, configuration and model card in one folder.

    Examples:
      perft export --name first --out adapter
      perft export --name first --out small --pick knee --max-activated 0.5%
      perft export --name first --out adapter --pick 7 --force
    """
    output = Output(as_json=as_json, quiet=quiet)
    search = find_search(name, storage)
    limit = ActivatedLimit.parse(max_activated) if max_activated else None
    results = read_results(search)
    trial = pick(results, picked, limit)
    if picked in ("best", "knee"):
        for remark in remarks(results):
            output.note(remark)
    settings = SearchSettings.read(search)
    scores = scores_of(search, trial)
    folder = export_adapter(
        search,
        trial,
        settings.to_json(),
        out,
        scores=scores,
        base_score=read_base(search),
        again=confirmed(results).get(trial.number),
        force=force,
    )
    assert trial.last is not None, "a full-length trial has a report"
    output.document(
        {
            "search": name,
            "trial": trial.number,
            "config": trial.config.to_flat(),
            "scores": [dataclasses.asdict(score) for score in scores],
            "folder": str(folder),
        }
    )
    output.last(
        f"trial {trial.number} ({describe(trial.config)}), validation {_result(trial.last)}, "
        f"is in {folder}"
    )


def _result(report: Report) -> str:
    return f"accuracy {format_score(report)}" if report.scored else format_score(report)


def scores_of(search: Storage, trial: TrialResult) -> list[Score]:
    """The trial's accuracies with their intervals, the validation split's first; may be empty."""
    assert trial.last is not None, "a full-length trial has a report"
    counts = {"validation": (trial.last.correct, trial.last.scored)} if trial.last.scored else {}
    counts |= read_scores(search, trial.number)
    scores = []
    for split, (correct, scored) in counts.items():
        low, high = wilson(correct, scored)
        scores.append(Score(split=split, correct=correct, scored=scored, low=low, high=high))
    return scores
