"""The page has the findings, every number of its tables, and a command that repeats it."""

import shlex

from perft.cli import program_of
from perft.commands.study import main
from perft.search_folder import STUDY_PAGE, STUDY_PNG
from perft.selection.confirm import format_mean
from perft.studies.answers import Answers
from perft.studies.page import pages
from pretend import BASE
from studies.planted import CURVES, DESIGN, METHODS, PUBLISHED, SETTINGS, trained


def page(study, results, **settings: object) -> str:
    return pages(study, results, BASE, {**SETTINGS, **settings})[STUDY_PAGE].decode()


def test_every_finding_and_every_mean_is_on_it() -> None:
    results = trained(lambda width, rate: width / 20 + rate / 50)
    answers = Answers.of(results)
    for study in (CURVES, METHODS):
        text = page(study, results)
        assert text.startswith(f"# {study.question}\n")
        for finding in study.findings(answers):
            assert f"- {finding.text}" in text
        for cell in answers.values:
            assert format_mean(answers.at(cell)) in text
        for name in DESIGN.adapters:
            assert format_mean(answers.tuned([name]).found) in text


def test_rows_of_a_table_have_as_many_cells_as_its_heading() -> None:
    text = page(METHODS, trained(lambda width, rate: 0.5))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    counts = {line.count("|") for line in rows}
    assert len(rows) == 2 + 2 + 2 + 4
    assert len(counts) <= 2


def test_its_command_parses_and_asks_for_the_same() -> None:
    text = page(CURVES, trained(lambda width, rate: 0.5), base_model="some/base", dtype="bfloat16")
    (line,) = [line.strip() for line in text.splitlines() if line.startswith("    perft")]
    program, name, *args = shlex.split(line)
    assert (program, name) == ("perft", "study")
    given = program_of(main).make_context("study", args).params
    assert given["study"] == "planted"
    assert {name: given[name] for name in ("seeds", "seed", "max_steps", "validation_size")} == {
        "seeds": 3, "seed": 7, "max_steps": 40, "validation_size": 2000,
    }  # fmt: skip
    assert (given["base_model"], given["dtype"]) == ("some/base", "bfloat16")


def test_the_picture_is_there_also_of_losses_and_without_a_base() -> None:
    results = trained(lambda width, rate: 0.5)
    assert "The base alone scores 10.0%." in page(CURVES, results)
    for base in (BASE, None):
        for study in (CURVES, METHODS, PUBLISHED):
            assert pages(study, results, base, SETTINGS)[STUDY_PNG].startswith(b"\x89PNG")


def test_before_one_seed_is_complete_there_is_no_page() -> None:
    assert pages(CURVES, [], BASE, SETTINGS) == {}


def test_cells_that_failed_are_named() -> None:
    import dataclasses

    results = trained(lambda width, rate: 0.5)
    results[3] = dataclasses.replace(results[3], outcome="failed")
    cell = results[3].params
    assert f"{cell['adapter']} at {cell['rate']:g}x" in page(CURVES, results)
