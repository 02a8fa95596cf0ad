"""Compares runs of one study: on several bases, or by other seeds.

Only reads: a study that still runs can be among them.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from perft.errors import ConfigError, SearchError
from perft.files import resolved
from perft.options import JsonOption, QuietOption, StorageOption, search_names, space_names
from perft.screen import Output
from perft.searches import find_search
from perft.searching.settings import SearchSettings
from perft.searching.space import find_study
from perft.selection import read_results
from perft.storage import Storage
from perft.studies import Study
from perft.studies.answers import Answers
from perft.studies.compare import Comparison
from perft.studies.compare_page import comparison_page
from perft.studies.study import counted, said


def main(
    study: Annotated[
        str,
        typer.Argument(
            help="The study, as of perft study: a space with one, or a file.",
            show_default=False,
            autocompletion=space_names,
        ),
    ],
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME",
            help="Two or more searches that have run it.",
            show_default=False,
            autocompletion=search_names,
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="File for the page in Markdown.", show_default="write none"),
    ] = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare runs of one study: what holds on all bases or seeds, and what turns round.

    Examples:
      perft compare generality on-olmoe on-mixtral on-switch
      perft compare baselines first again --out again.md
    """
    output = Output(as_json=as_json, quiet=quiet)
    compared = find_study(study)
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"found the runs {', '.join(names)}, wanted two or more different ones")
    searches = {name: find_search(name, storage) for name in names}
    runs = {name: _answers(compared, study, name, each) for name, each in searches.items()}
    comparison = Comparison.of(compared, runs)
    if out is not None:
        settings = {name: SearchSettings.read(each).to_json() for name, each in searches.items()}
        place = resolved(out)
        page = comparison_page(compared, comparison, settings)
        Storage(str(place.parent)).write(place.name, page.encode())
    _show(study, comparison, output)


def _answers(compared: Study, study: str, name: str, search: Storage) -> Answers:
    """What a search's trials answer to a study.

    Raises:
        SearchError: if it is no run of the study, or no seed has all trials yet.
    """
    answers = Answers.of(read_results(search))
    if not any(cell.adapter in compared.design.adapters for cell in answers.values):
        raise SearchError(
            f"search {name!r} has no trial of the study {study!r}; name searches that have run it"
        )
    if len(answers.seeds) < 2:
        raise SearchError(
            f"search {name!r} has not trained two seeds of every adapter yet, of which the study "
            "needs two at least"
        )
    return answers


def _show(study: str, comparison: Comparison, output: Output) -> None:
    findings, table = comparison.findings(), comparison.table()
    output.document(
        {
            "study": study,
            "findings": [vars(each) for each in findings],
            "kinds": [dict(zip(table.heading, row, strict=True)) for row in table.rows],
        }
    )
    shown = Table(*table.heading, title=table.title)
    for row in table.rows:
        shown.add_row(*row)
    output.table(shown)
    for line in said(findings):
        output.say(line)
    output.last(counted(findings))
