"""The table of all trials, the front for a terminal, and the files that hold them."""

import dataclasses
import io

import pandas as pd
from rich.console import Console

from perft.base_score import BaseScore
from perft.config import RoutedConfig, TrainingConfig
from perft.selection import describe, front_table, to_frame, wilson
from perft.selection.files import result_files
from perft.trial import TrialConfig, TrialResult
from pretend import BASE, SCORED, search_of_six, trial


def test_frame_has_a_row_per_trial_with_every_setting():
    results = search_of_six()
    frame = to_frame(results[::-1])
    assert list(frame["number"]) == [0, 1, 2, 3, 4, 5]
    assert list(frame["on_front"]) == [True, True, False, True, False, False]
    assert list(frame["outcome"]) == ["complete"] * 4 + ["pruned", "failed"]
    for name in {name for result in results for name in result.config.to_flat()}:
        for result, found in zip(results, frame[name], strict=True):
            expected = result.config.to_flat().get(name)
            assert pd.isna(found) if expected is None else found == expected
    row = frame.loc[1]
    assert (row["accuracy_low"], row["accuracy_high"]) == wilson(300, SCORED)
    assert (row["step"], row["activated"], row["activated_percent"]) == (200, 4000, 0.2)
    assert row["num_experts"] == 4
    assert pd.isna(frame.loc[0, "num_experts"])
    assert str(frame["num_experts"].dtype) == "Int64"


def test_frame_survives_trials_that_never_reported():
    early = TrialResult(number=0, config=trial(0).config, outcome="failed", error="no memory")
    assert to_frame([early]).loc[0, "error"] == "no memory"
    assert pd.isna(to_frame([early, trial(1)]).loc[0, "accuracy"])
    assert to_frame([]).empty


def test_trials_that_were_not_scored_have_no_accuracy():
    pruned = trial(0, outcome="pruned")
    reports = tuple(dataclasses.replace(report, correct=0, scored=0) for report in pruned.reports)
    results = [dataclasses.replace(pruned, reports=reports), trial(1)]
    frame = to_frame(results)
    names = ["accuracy", "accuracy_low", "accuracy_high"]
    assert frame.loc[0, names].isna().all()
    assert frame.loc[1, names].notna().all()
    assert list(frame["scored"]) == [0, SCORED]
    assert set(result_files(results, "first")) == set(result_files([], "none"))


def test_files_hold_the_same_table():
    results = search_of_six()
    files = result_files(results, "first")
    assert set(files) == {"trials.parquet", "trials.csv", "pareto.html", "pareto.png"}
    pd.testing.assert_frame_equal(
        pd.read_parquet(io.BytesIO(files["trials.parquet"])), to_frame(results)
    )
    csv = pd.read_csv(io.BytesIO(files["trials.csv"]))
    assert list(csv["accuracy"]) == list(to_frame(results)["accuracy"])


def test_files_are_made_of_a_search_that_found_nothing():
    assert set(result_files(search_of_six()[4:], "none")) == set(result_files([], "none"))


def test_front_table_shows_accuracy_with_its_interval():
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(front_table(search_of_six()))
    text = console.export_text()
    low, high = wilson(300, SCORED)
    line = next(line for line in text.splitlines() if "75.0%" in line)
    for part in (
        f"({100 * low:.1f}-{100 * high:.1f})",
        "4,000",
        "0.2%",
        "perft-r 2/4 r8 lr 0.005",
        "knee",
    ):
        assert part in line
    assert text.count("best") == 1
    assert "perft-d" not in text, "a beaten trial is not on the front"


def text_of(results: list[TrialResult], base: BaseScore) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(front_table(results, base))
    return console.export_text()


def test_the_base_alone_is_a_row_and_a_column():
    results = search_of_six()
    rows = [line.split() for line in text_of(results, BASE).splitlines()]
    assert ["base", "10.0%", "(7.4-13.3)", "0", "0%", "no", "adapter"] in rows
    assert set(to_frame(results, BASE)["base_accuracy"]) == {0.1}
    assert result_files(results, "first") != result_files(results, "first", BASE)


def test_of_pairs_the_base_is_at_one_half_by_definition():
    tie = BaseScore(objective="dpo", val_loss=0.6931, is_tie=True)
    assert "50.0% (by definition)" in text_of(search_of_six(), tie)


def test_front_table_fits_a_plain_terminal():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(front_table(search_of_six()))
    line = next(line for line in console.export_text().splitlines() if "40,000" in line)
    for part in ("85.0% (81.", "2%", "lora-qv r8 lr", "00000000", "best"):
        assert part in line


def test_describe_names_what_is_not_at_its_default():
    adapter = RoutedConfig(rank=8, num_experts=4, top_k=2, dropout=0.1, form="parallel")
    config = TrialConfig(adapter, TrainingConfig(lr=3e-4))
    assert describe(config) == "perft-r 2/4 r8 lr 0.0003 dropout=0.1 form=parallel"
