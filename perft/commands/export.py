"""Exports the adapter of one trial of a search as a folder.

Only reads the search: it can be called while the search runs.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from perft.api.publishing import Wanted, publish
from perft.export import scores_of
from perft.options import JsonOption, NameOption, QuietOption, StorageOption
from perft.screen import Output
from perft.searches import find_search
from perft.selection import (
    ActivatedLimit,
    describe,
    format_score,
    pick,
    read_results,
    remarks,
)
from perft.trial import Report


def main(
    *,
    name: NameOption,
    out: Annotated[Path, typer.Option(help="Folder to make.", show_default=False)],
    picked: Annotated[
        str,
        typer.Option(
            "--pick",
            metavar="best|knee|NUMBER|RUN_ID",
            help="The most accurate trial, the one where more parameters begin to pay less, or "
            "one given by its number or MLflow run id.",
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
    register: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Also make it the next version of this model of MLflow's registry, with the "
            "alias champion.",
            show_default=False,
        ),
    ] = None,
    storage: StorageOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier export in --out.")
    ] = False,
    license_name: Annotated[
        str | None,
        typer.Option(
            "--license",
            metavar="ID",
            help="Licence of the adapter on its card, as the hub names it: apache-2.0, mit, ...",
            show_default="the base's, where known",
        ),
    ] = None,
    no_example: Annotated[
        bool,
        typer.Option("--no-example", help="Show no example of the data on the card."),
    ] = False,
    repo: Annotated[
        str | None,
        typer.Option(
            "--push-to-hub",
            metavar="OWNER/NAME",
            help="Send the folder to this repository of the Hugging Face hub, too, with the token "
            "of its login or HF_TOKEN.",
            show_default=False,
        ),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository of the hub a private one.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Export one trial of a search: adapter, configuration and model card in one folder.

    Examples:
      perft export --name first --out adapter
      perft export --name first --out small --pick knee --max-activated 0.5%
      perft export --name first --out adapter --pick 7 --force
      perft export --name first --out adapter --register arithmetic
      perft export --name first --out adapter --push-to-hub me/adapter --private
    """
    output = Output(as_json=as_json, quiet=quiet)
    wanted = Wanted(
        out=out,
        force=force,
        license=license_name,
        example=not no_example,
        register=register,
        repo=repo,
        private=private,
    )
    search = find_search(name, storage)
    limit = ActivatedLimit.parse(max_activated) if max_activated else None
    results = read_results(search)
    trial = pick(results, picked, limit)
    if picked in ("best", "knee"):
        for remark in remarks(results):
            output.note(remark)
    done = publish(search, trial, wanted, tell=output.note, progress=output.progress.is_terminal)
    assert trial.last is not None, "a full-length trial has a report"
    output.document(
        {
            "search": name,
            "trial": trial.number,
            "config": trial.config.to_flat(),
            "scores": [dataclasses.asdict(score) for score in scores_of(search, trial)],
            "folder": str(done.folder),
            "registered": dataclasses.asdict(done.registered) if done.registered else None,
            "repo": done.repo,
        }
    )
    if done.registered:
        output.say(
            f"version {done.registered.version} of the registered model {done.registered.name}: "
            f"{done.registered.uri}"
        )
    output.last(
        f"trial {trial.number} ({describe(trial.config)}), validation {_result(trial.last)}, "
        f"is in {done.folder}{f' and at {done.repo}' if done.repo else ''}"
    )


def _result(report: Report) -> str:
    return f"accuracy {format_score(report)}" if report.scored else format_score(report)
