"""The live table in a terminal, and plain lines in a log."""

import dataclasses
import io
import itertools
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import pretend
from perft.options import MAX_TRIALS
from perft.searching.ledger import Entry
from perft.searching.stages import Stages
from perft.searching.view import LEFT_SECONDS, View
from perft.selection import describe_origin
from perft.trial import Origin


def entry(number: int, outcome: str | None, *corrects: int, error: str = "") -> Entry:
    trial = pretend.trial(number)
    reports = [
        pretend.report(step, correct)
        for step, correct in zip((50, 100, 200), corrects, strict=False)
    ]
    return Entry(
        number, trial.config, run_id=f"run-{number}", reports=reports, size=trial.size,
        outcome=outcome, error=error,  # type: ignore[arg-type]
    )  # fmt: skip


ENTRIES = {
    0: entry(0, "complete", 100, 200, 340),
    1: entry(1, "pruned", 80),
    2: entry(2, "failed", error="the training loss is nan at step 3"),
    3: entry(3, None, 120),
    4: entry(4, None),
}


class Left(str):
    """What is left of a search, and how much of it is done."""

    share = 0.25


def view(
    terminal: bool,
    entries: Mapping[int, Entry] = ENTRIES,
    steps: Mapping[int, int] | None = None,
    *,
    left: str = "",
    num_trials: int = 16,
) -> tuple[View, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=150, height=60, color_system=None)
    agenda: Any = SimpleNamespace(num_trials=num_trials)
    outlook: Any = Left(left)
    made = View(
        Stages(console),
        agenda,
        200,
        entries,
        title="search first",
        steps=lambda: steps or {},
        outlook=outlook,
    )
    return made, stream


def shown(watching: View) -> list[str]:
    console = Console(file=io.StringIO(), width=150)
    with console.capture() as capture:
        console.print(watching.render())
    return [line.rstrip() for line in capture.get().splitlines()]


def rows_of(lines: list[str], heading: str) -> list[str]:
    """The rows of the table whose heading begins so."""
    at = next(i for i, line in enumerate(lines) if line.split()[:1] == [heading])
    return list(itertools.takewhile(bool, lines[at + 1 :]))


def test_the_table_shows_every_trial_and_the_best_so_far() -> None:
    watching, _ = view(terminal=True, steps={3: 73, 4: 21, 0: 999})
    watching.stage("training")
    lines = shown(watching)
    assert re.fullmatch(r"search first  \d+:\d\d  training", lines[0])
    assert lines[2] == "25%  ·  3/16 trials  ·  1,234 tokens/s"
    assert rows_of(lines, "front")[0].split()[:2] == ["0", "85.0%"]
    rows = {int(line.split()[0]): line for line in rows_of(lines, "trial")}
    assert set(rows) == set(ENTRIES)
    assert "200/200" in rows[0]
    assert "85.0%" in rows[0]
    assert rows[0].rstrip().endswith("complete")
    assert rows[1].rstrip().endswith("pruned")
    assert rows[2].rstrip().endswith("failed")
    assert "73/200" in rows[3], "the step between rungs, from the worker group"
    assert "21/200" in rows[4]
    assert rows[4].rstrip().endswith("running")
    assert "PERFT-R" in rows[1].upper()


def test_the_headline_says_what_is_left() -> None:
    watching, _ = view(terminal=True, left="about 12 min left  ·  budget 2.0 h")
    assert "3/16 trials  ·  about 12 min left  ·  budget 2.0 h  ·  " in shown(watching)[2]


def test_a_log_says_now_and_then_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("perft.searching.view.time.monotonic", lambda: now)
    watching, stream = view(terminal=False, left="about 12 min left")
    for _ in range(10):
        watching.ended(ENTRIES[1])
        now += LEFT_SECONDS / 4
    lines = stream.getvalue().splitlines()
    assert [line.endswith("(3/16 trials)  about 12 min left") for line in lines] == [
        *[False] * 5, True, *[False] * 4
    ]  # fmt: skip


def test_of_a_search_with_a_budget_alone_nobody_knows_how_many_trials() -> None:
    watching, _ = view(terminal=True, num_trials=MAX_TRIALS)
    assert "·  3 trials  ·" in shown(watching)[2]


def test_what_only_repeats_a_trial_is_not_the_best() -> None:
    again = dataclasses.replace(
        entry(5, "complete", 100, 200, 390), origin=Origin(kind="confirm", trial=0)
    )
    watching, _ = view(terminal=True, entries={**ENTRIES, 5: again})
    assert [row[:5].split() for row in rows_of(shown(watching), "front")][:2] == [["0"], []]


def test_a_rung_without_accuracy_shows_none() -> None:
    unscored = dataclasses.replace(pretend.report(50, 0), scored=0)
    pruned = dataclasses.replace(ENTRIES[1], reports=[unscored])
    watching, stream = view(terminal=True, entries={0: ENTRIES[0], 1: pruned})
    row = rows_of(shown(watching), "trial")[1]
    assert "50/200" in row
    assert "%" not in row
    watching, stream = view(terminal=False, entries={1: pruned})
    watching.reported(pruned)
    assert "val loss" in stream.getvalue()
    assert "accuracy" not in stream.getvalue()


def test_a_search_that_has_not_begun_is_an_empty_table() -> None:
    watching, _ = view(terminal=True, entries={})
    assert "0/16 trials" in shown(watching)[2]
    assert "front" not in "".join(shown(watching))


def test_of_many_trials_the_running_and_the_latest_are_shown() -> None:
    entries = {n: entry(n, None if n == 1 else "pruned", 10) for n in range(60)}
    watching, _ = view(terminal=True, entries=entries)
    numbers = [int(line.split()[0]) for line in rows_of(shown(watching), "trial")]
    assert numbers == [1, *range(60 - len(numbers) + 1, 60)]
    assert len(shown(watching)) in range(56, 61), "they fill the screen"


def test_a_terminal_gets_a_table_and_no_lines() -> None:
    watching, stream = view(terminal=True)
    with watching.running():
        watching.stage("scoring trials")
        watching.reported(ENTRIES[3])
        watching.ended(ENTRIES[1])
    assert "configuration" in stream.getvalue()
    assert "scoring trials" in stream.getvalue()
    assert "(3/16 trials)" not in stream.getvalue()


def test_a_log_gets_plain_lines_and_no_table() -> None:
    watching, stream = view(terminal=False)
    with watching.running():
        watching.stage("starting the worker groups")
        watching.reported(ENTRIES[0])
        watching.ended(ENTRIES[0])
        watching.ended(ENTRIES[2])
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert all(re.match(r"\[\d+:\d\d\] ", line) for line in lines)
    assert "trial   0  step 200/200  val loss 1.0000  accuracy 85.0%" in lines[1]
    assert lines[2].endswith("trial   0  complete  (3/16 trials)")
    assert "failed: the training loss is nan at step 3" in lines[3]
    assert "\x1b" not in stream.getvalue()


def test_a_line_says_where_a_trial_comes_from() -> None:
    origin = Origin(kind="continue", trial=1, step=50)
    watching, stream = view(terminal=False)
    watching.reported(dataclasses.replace(ENTRIES[0], origin=origin))
    assert stream.getvalue().endswith(f" {describe_origin(origin)}\n")


def test_what_an_earlier_process_recorded_is_not_shown_as_new() -> None:
    known = dataclasses.replace(ENTRIES[0], known_reports=3, was_ended=True)
    farther = dataclasses.replace(entry(3, None, 120, 130), known_reports=1)
    entries = {0: known, 3: dataclasses.replace(farther, reports=farther.reports[:1])}
    watching, stream = view(terminal=False, entries=entries)
    watching.reported(known)
    watching.ended(known)
    watching.reported(entries[3])
    assert stream.getvalue() == ""
    watching.reported(farther)
    watching.ended(dataclasses.replace(farther, outcome="pruned"))
    lines = [line.partition("] ")[2] for line in stream.getvalue().splitlines()]
    assert lines[0] == "reports known from before: 2; new ones follow"
    assert lines[1].startswith("trial   3  step 100/200")
    assert lines[2].startswith("trial   3  pruned")
    assert len(lines) == 3


def test_trials_may_begin_while_the_table_is_drawn() -> None:
    entries: dict[int, Entry] = {}

    class Restless(Entry):
        """Whenever one looks at it, the search has started another trial meanwhile."""

        @property
        def outcome(self) -> str | None:
            number = len(entries)
            entries[number] = entry(number, None)
            return None

        @outcome.setter
        def outcome(self, value: str | None) -> None:
            pass

    for number in range(3):
        entries[number] = Restless(number, ENTRIES[number].config, "")
    watching, _ = view(terminal=True, entries=entries)
    assert "/16 trials" in shown(watching)[2]
    assert len(entries) > 3


@pytest.mark.parametrize("terminal", [True, False])
def test_brackets_in_an_error_are_no_markup(terminal: bool) -> None:
    watching, stream = view(terminal=terminal)
    with watching.running():
        watching.ended(entry(5, "failed", error="shape [/2] wanted"))
    assert terminal or "shape [/2] wanted" in stream.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_note_stays_on_screen(terminal: bool) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=100)
    agenda: Any = SimpleNamespace(num_trials=1)
    outlook: Any = Left("")
    view = View(Stages(console), agenda, 10, {}, steps=dict, outlook=outlook)
    with view.running():
        view.note("experts run [uncompiled]")
    assert "experts run [uncompiled]" in output.getvalue()


def test_programs_hear_of_reports_and_ends_and_notes() -> None:
    events: list[dict[str, Any]] = []

    def event(kind: str, **fields: Any) -> None:
        events.append({"event": kind, **fields})

    agenda: Any = SimpleNamespace(num_trials=16)
    outlook: Any = Left("")
    stages = Stages(Console(quiet=True), event)
    watching = View(stages, agenda, 200, ENTRIES, steps=dict, outlook=outlook)
    with watching.running():
        watching.stage("training")
        watching.note("a note")
        watching.reported(ENTRIES[3])
        watching.ended(ENTRIES[2])
    assert [each["event"] for each in events] == ["stage", "note", "report", "trial"]
    assert all(each.pop("seconds") >= 0 for each in events)
    assert events[0] == {"event": "stage", "text": "training"}
    assert events[2]["trial"] == 3
    assert events[2]["report"] == ENTRIES[3].reports[-1].to_json()
    assert events[2]["config"] == ENTRIES[3].config.to_flat()
    assert (events[2]["origin"], events[2]["repeated"]) == (None, False)
    assert (events[3]["outcome"], events[3]["error"]) == ("failed", ENTRIES[2].error)
