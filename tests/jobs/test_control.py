"""`perft control`: what it shows of a search, what it leaves for it, and what it refuses."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from jobs.calling import call
from perft.config.typed import read_fields
from perft.errors import ConfigError, SearchError
from perft.home import default_storage
from perft.search_folder import command_file
from perft.searching.lock import locked
from perft.searching.settings import SearchSettings
from perft.searching.steering import control
from perft.searching.steering.budget import Budget
from perft.searching.steering.event_log import EventLog, waiting
from perft.searching.steering.events import AddTrial, Moment, SetBudget, SetNumTrials, StopTrial
from perft.storage import Storage
from perft.tracking.records import Records, SearchRecord, TrialRecord
from perft.trial import Origin
from pretend import SETTINGS, report, trial

ENDED = {0: "complete", 1: "pruned", 2: None, 3: None}
"""The trials of the search, and how they ended; the third has reported, the fourth has not."""


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """A search that has begun."""
    monkeypatch.setenv("PERFT_HOME", str(tmp_path))
    search = Storage(default_storage()).child("first")
    read_fields(SearchSettings, SETTINGS).write(search)
    records = Records(search, SearchRecord(name="first", place="there", params={}))
    for number, outcome in ENDED.items():
        at = tuple((1000 * step, report(step, 300)) for step in ((50, 200)[: 2 - bool(number)]))
        made = trial(number)
        records.keep(
            TrialRecord(
                number=number,
                config=made.config,
                started=0,
                size=made.size,
                reports=() if number == 3 else at,
                outcome=outcome,  # type: ignore[arg-type]
                origin=Origin(kind="clone", trial=0, step=50) if number == 3 else None,
            )
        )
    return search


def commanded(search: Storage) -> list[object]:
    return list(waiting(search).values())


def test_it_lists_trials_and_what_waits(search: Storage) -> None:
    control.stop_trial(search, 2)
    done = call("control", "first", "list")
    rows = {line.split()[0]: line for line in done.output.splitlines() if line.strip()}
    assert "200/200" in rows["0"]
    assert "75.0%" in rows["0"]
    assert rows["0"].rstrip().endswith("complete")
    assert rows["1"].rstrip().endswith("pruned")
    assert "50/200" in rows["2"]
    assert rows["2"].rstrip().endswith("interrupted")
    assert "0/200" in rows["3"]
    assert "(clone of 0)" in rows["3"]
    assert 'waiting: {"do": "stop", "trial": 2}' in done.output
    assert "the search is not running" in done.output
    with locked(search, "first"):
        done = call("control", "first", "list")
    assert "running" in done.output
    assert "not running" not in done.output


def test_it_lists_as_json(search: Storage) -> None:
    control.set_num_trials(search, 9)
    found = json.loads(call("control", "first", "list", "--json").output)
    assert found["search"] == "first"
    assert found["running"] is False
    assert [each["outcome"] for each in found["trials"]] == list(ENDED.values())
    assert found["trials"][2]["report"]["step"] == 50
    assert found["trials"][3]["report"] is None
    assert found["trials"][3]["origin"] == {"kind": "clone", "trial": 0, "step": 50}
    assert found["waiting"] == [{"do": "set-num-trials", "count": 9}]


def test_what_is_commanded_waits_for_the_search(search: Storage, tmp_path: Path) -> None:
    first = trial(0).config
    new = {"variant": "perft-s", "rank": 3, "lr": 0.02}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(new))
    with locked(search, "first"):
        for args in (
            ["stop", "2"],
            ["add", "--variant", "perft-s", "--rank", "3", "--lr", "0.02"],
            ["add", json.dumps(new)],
            ["add", str(file), "--rank", "5"],
            ["clone", "1", "--lr", "0.002"],
            ["clone", "2", '{"lr": 0.001, "alpha": 3.0}'],
            ["set", "num-trials", "40"],
            ["set", "max-hours", "1.5"],
            ["set", "max-steps-total", "9000"],
        ):
            done = call("control", "first", *args)
            assert (done.status, done.errors) == (0, ""), args
            assert done.output.startswith("search first will ")
            assert "not running" not in done.output
    stop, *added, cloned, again, count, hours, steps = commanded(search)
    assert stop == StopTrial(trial=2)
    assert isinstance(added[0], AddTrial)
    assert added[0] == added[1]
    assert added[0].config.adapter.to_flat()["rank"] == 3
    assert added[0].config.training.lr == 0.02
    assert added[0].config.training.batch_size == first.training.batch_size
    assert isinstance(added[2], AddTrial)
    assert added[2].config.adapter.rank == 5
    assert isinstance(cloned, AddTrial)
    assert (cloned.clone_of, cloned.config.training.lr) == (1, 0.002)
    assert cloned.config.adapter == trial(1).config.adapter
    assert isinstance(again, AddTrial)
    assert again.config.adapter.alpha == 3.0
    assert count == SetNumTrials(count=40)
    assert hours == SetBudget(budget=Budget(max_hours=1.5))
    assert steps == SetBudget(budget=Budget(max_hours=1.5, max_steps_total=9000)), "of the last one"


def test_a_bound_that_was_set_before_stays(search: Storage) -> None:
    control.set_budget(search, max_hours=2.0)
    EventLog(search, 0, print).due(Moment(0, is_running=True))
    assert control.set_budget(search, max_steps_total=900).max_hours == 2.0
    assert control.set_budget(search, max_hours=None) == Budget(max_steps_total=900)


def test_a_search_that_is_not_running_acts_when_it_is_resumed(search: Storage) -> None:
    done = call("control", "first", "set", "num-trials", "40")
    assert "it is not running, and does so when it is resumed, by: " in done.output
    assert "--resume first" in done.output


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["halt"], "unknown action 'halt'"),
        (["list", "2"], "list takes 0 values, found 1"),
        (["stop"], "stop takes 1 values, found 0"),
        (["stop", "two"], "the number of a trial must be a number, found 'two'"),
        (["stop", "9"], "there is no trial 9 in .*: it has 0 to 3"),
        (["stop", "1"], "trial 1 has ended already: pruned"),
        (["stop", "2", "--lr", "0.1"], "stop takes no settings of a trial, found lr"),
        (["add"], "the learning rate of the trial is missing"),
        (["add", '{"variant": "perft-x", "lr": 0.1}'], "unknown variant 'perft-x'; did you mean"),
        (["add", '{"variant": "perft-s", "lr": 0.1}'], "needs rank"),
        (["add", '{"variant": "perft-s", "rank": 2, "lr": 0}'], "lr must be a positive number"),
        (["add", '{"lr": 0.1, "rnak": 2, "variant": "perft-s"}'], "unknown setting 'rnak'"),
        (["add", "[1]"], "CONFIG is neither a JSON object nor a file"),
        (["add", '{"lr": '], "is no JSON"),
        (["add", "nowhere.json"], "CONFIG is neither a JSON object nor a file: 'nowhere.json'"),
        (
            ["add", "--variant", "perft-s", "--rank", "2", "--lr", "0.1", "--layers", "last:99"],
            "layers='last:99' does not fit this base",
        ),
        (
            ["add", '{"variant": "perft-s", "rank": 2, "lr": 0.1, "max_steps": 100}'],
            "must have the same max_steps to be compared at rungs, found 100 and in the search 200",
        ),
        (
            ["add", '{"variant": "perft-s", "rank": 2, "lr": 0.1, "objective": "dpo"}'],
            "must have the same objective",
        ),
        (["clone", "3", "--lr", "0.1"], "trial 3 has not come to a rung yet"),
        (["clone", "1"], "the clone of trial 1 changes nothing"),
        (
            ["clone", "1", "--rank", "9", "--lr", "1"],
            "other tensors, found rank 9, lr",
        ),
        (
            ["clone", "0", "--layers", "last:1"],
            "other tensors, found layers .last:1",
        ),
        (["clone", "0", "--variant", "perft-e"], "an adapter of other tensors"),
        (["set", "num-trials"], "set takes 2 values, found 1"),
        (["set", "num-trials", "0"], "count must be a whole number of at least 1"),
        (["set", "num-trials", "1.5"], "num-trials must be a number, found '1.5'"),
        (["set", "max-steps-total", "100"], "one full-length trial takes 200 steps"),
        (["set", "max-hours", "nan"], "max_hours must be a positive number"),
        (["set", "max-trials", "3"], "unknown setting 'max-trials'; did you mean"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_written(
    search: Storage, args: list[str], reason: str
) -> None:
    assert re.search(reason, call("control", "first", *args).refusal)
    assert commanded(search) == []


def test_another_search_is_not_found(search: Storage) -> None:
    assert (
        "unknown search 'frist'; did you mean 'first'?" in call("control", "frist", "list").refusal
    )


def test_a_search_without_a_trial_takes_none(search: Storage) -> None:
    search.delete("records")
    with pytest.raises(SearchError, match="has no trial yet"):
        control.add_trial(search, {"variant": "perft-s", "rank": 2, "lr": 0.1})
    with pytest.raises(SearchError, match=r"there is no trial 0 in .*: it has none yet"):
        control.stop_trial(search, 0)


def test_a_damaged_command_is_shown(search: Storage) -> None:
    search.write(command_file("0"), b'{"do": "halt"}')
    assert "unknown do 'halt'" in call("control", "first", "list").output


@pytest.mark.parametrize(
    ("change", "keeps"),
    [
        ({"alpha": 7.0}, True),
        ({"dropout": 0.1}, True),
        ({"top_k": 1}, True),
        ({"rank": 9}, False),
        ({"num_experts": 5}, False),
    ],
)
def test_a_clone_keeps_the_shapes_of_its_adapter(
    search: Storage, change: Mapping[str, object], keeps: bool
) -> None:
    assert trial(1).config.adapter.variant == "perft-r"
    if keeps:
        assert control.clone_trial(search, 1, change) != trial(1).config
    else:
        with pytest.raises(ConfigError, match="other tensors"):
            control.clone_trial(search, 1, change)
