"""The page of a study in Markdown: findings, what stays open, picture, numbers, the command."""

import shlex
from collections.abc import Iterator, Mapping, Sequence

from perft.base_score import BaseScore
from perft.errors import printable
from perft.files import Json
from perft.search_folder import STUDY_PAGE, STUDY_PNG
from perft.studies.answers import Answers, Cell
from perft.studies.study import Finding, Study, TextTable, factor
from perft.trial import TrialResult

_METHOD = (
    "An adapter is tuned by leaving one seed out: for each seed, its rate (of a method also its "
    "size) is the best of the other seeds, and the score of this seed counts. So the choice "
    "flatters no number. Means are given with the standard deviation of one training, and with a "
    "95% interval of other seeds and other examples. Differences are tested by Welch's test with "
    "the variance of a share of so many examples added; all adapters answer the same examples, "
    "which is not used, so small differences count as noise. Each sentence is tested alone: of "
    "twenty without any truth in them, one is shown."
)


def pages(
    study: Study,
    results: Sequence[TrialResult],
    base: BaseScore | None,
    settings: Mapping[str, Json],
) -> dict[str, bytes]:
    """The page and its picture, by file name; nothing before any training has ended.

    Args:
        study: the question.
        results: the trials of its design.
        base: the score of the base alone, if known.
        settings: of the search that has run it.
    """
    from perft.studies.picture import to_picture  # noqa: PLC0415 - plotting is slow to import

    answers = Answers.of(results)
    if not answers.seeds:
        return {}
    alone = None if base is None else _value(base)
    return {
        STUDY_PAGE: "\n".join(_lines(study, answers, alone, settings)).encode(),
        STUDY_PNG: to_picture(study.plot(answers), bool(answers.scored), alone),
    }


def _value(base: BaseScore) -> float:
    return -base.val_loss if base.accuracy is None else base.accuracy


def _lines(
    study: Study, answers: Answers, base: float | None, settings: Mapping[str, Json]
) -> Iterator[str]:
    yield f"# {study.question}"
    yield ""
    yield _design(study, answers, settings)
    if base is not None:
        score = f"{base:.1%}" if answers.scored else f"a loss of {-base:.4f}"
        yield f"The base alone scores {score}."
    yield ""
    findings = study.findings(answers)
    yield from finding_lines(findings)
    yield from (f"![the findings as a picture]({STUDY_PNG})", "")
    for table in study.tables(answers):
        yield from table_lines(table)
    yield from ("## How it was found", "", _METHOD, *_failures(answers.failed), "")
    yield from ("Repeat it by:", "", f"    {command_of(study, settings)}", "")


def _design(study: Study, answers: Answers, settings: Mapping[str, Json]) -> str:
    rates = ", ".join(f"{rate:.2g} ({factor(by)})" for by, rate in answers.rates.items())
    kind = (
        f"accuracy on {answers.scored} validation examples"
        if answers.scored
        else "loss on the validation examples"
    )
    base = settings["base_model"] or "the built-in base"
    return printable(
        f"{len(study.design.adapters)} adapters at the learning rates {rates}, "
        f"{len(answers.seeds)} seeds of each, {settings['max_steps']} steps, on the task "
        f"{settings['task']} and {base}; the score is the {kind}."
    )


def finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """The sections of what is shown and what stays open."""
    for title, shown in (("What is shown", True), ("What stays open", False)):
        yield from (f"## {title}", "")
        found = [f"- {each.text}" for each in findings if each.is_shown is shown]
        yield from (*(found or ["Nothing."]), "")


def table_lines(table: TextTable) -> Iterator[str]:
    """A section with a table."""
    yield from (f"## {table.title}", "")
    for row in (table.heading, ("---",) * len(table.heading), *table.rows):
        yield f"| {' | '.join(row)} |"
    yield ""


def _failures(failed: frozenset[Cell]) -> Iterator[str]:
    if failed:
        names = ", ".join(f"{cell.adapter} at {factor(cell.rate)}" for cell in sorted(failed))
        yield ""
        yield f"Trainings failed, and their cells are in no number: {names}."


def command_of(study: Study, settings: Mapping[str, Json]) -> str:
    """The command that trains the same trials.

    Args:
        study: the question.
        settings: of the search that has run it.
    """
    given = ("seed", "max_steps", "validation_size", "base_model", "data", "dtype", "quantize")
    seeds = -(-int(str(settings["num_trials"])) // study.design.cells)
    options = [
        part
        for name in given
        if settings.get(name) not in (None, "auto", "none")
        for part in (f"--{name.replace('_', '-')}", str(settings[name]))
    ]
    texts = settings.get("other_texts") or ()
    assert isinstance(texts, Sequence)
    if tuple(texts) != study.other_texts:
        options += [part for text in texts for part in ("--other-text", str(text))]
    return shlex.join(["perft", "study", str(settings["space"]), "--seeds", str(seeds), *options])
