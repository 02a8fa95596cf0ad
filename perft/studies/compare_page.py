"""The page of a comparison in Markdown: findings, ranks, and the commands that repeat its runs."""

from collections.abc import Iterator, Mapping

from perft.errors import printable
from perft.files import Json
from perft.studies.compare import Comparison
from perft.studies.page import command_of, finding_lines, table_lines
from perft.studies.study import Study

_METHOD = (
    "In each run every kind is tuned by leaving one seed out, and two kinds are compared by "
    "Welch's test over the seeds, as on the page of each run. A sentence of one run is shown at "
    "95% confidence, alone: of twenty without any truth in them, one is. That all runs show it is "
    "far stronger; that one run among many does is weaker."
)


def comparison_page(
    study: Study, comparison: Comparison, settings: Mapping[str, Mapping[str, Json]]
) -> str:
    """The page.

    Args:
        study: the question.
        comparison: its runs.
        settings: of the searches that have run it, by name.
    """
    return "\n".join(_lines(study, comparison, settings))


def _lines(
    study: Study, comparison: Comparison, settings: Mapping[str, Mapping[str, Json]]
) -> Iterator[str]:
    yield from (f"# {study.question}", "", f"{len(settings)} runs of one study:", "")
    for name, each in settings.items():
        base = each["base_model"] or "the built-in base"
        yield printable(f"- **{name}**: {base}, task {each['task']}, seed {each['seed']}")
    yield ""
    yield from finding_lines(comparison.findings())
    yield from table_lines(comparison.table())
    yield from ("## How it was found", "", _METHOD, "", "Repeat the runs by:", "")
    for name, each in settings.items():
        yield f"    {command_of(study, each)} --name {name}"
    yield ""
