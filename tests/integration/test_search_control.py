"""Commands to a running search, which dies meanwhile; and what it makes of them when it resumes."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from books import results, told_by_search, told_by_tune
from searches import SEARCH, SPACE, Job

from perft.search_folder import RESULTS_FILE, SCORES_FILE
from perft.searching.steering import control
from perft.searching.steering.event_log import LOOK_SECONDS, recorded, waiting
from perft.searching.steering.events import AddTrial, SetNumTrials, StopTrial
from perft.storage import Storage

SIZE = ("--num-trials", "4", "--max-steps", "48", "--validation-size", "12")
SHAPE = ("--groups", "1", "--slots", "2", "--no-rung-accuracy")
OPTIONS = (*SIZE, *SHAPE, "--pruner", "none", "--tracker", "folder", "--name", "first")


@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_a_running_search_does_as_it_is_told_and_a_resumed_one_repeats_it(
    start: Callable[..., Job], tmp_path: Path
):
    job = start(*SEARCH, *SPACE, *OPTIONS)
    search = Storage(str(job.home / "searches/first"))
    job.until(lambda: job.rungs >= 2)
    with job.frozen():  # a trial that has ended before the search looks cannot be stopped
        control.stop_trial(search, 1)
        control.add_trial(search, {"variant": "perft-s", "rank": 3, "lr": 0.02})
        control.clone_trial(search, 0, {"lr": 0.004})
        control.set_num_trials(search, 3)
        time.sleep(LOOK_SECONDS)
    job.until(lambda: len(recorded(search)) == 4)
    job.kill_driver_at_work(after=job.rungs + 1)
    resumed = start(*SEARCH, "--resume", "first", home=job.home)
    assert resumed.end() == 0, resumed.errors

    assert waiting(search) == {}
    actions = [type(event.action) for event in recorded(search)]
    assert actions == [StopTrial, AddTrial, AddTrial, SetNumTrials]
    found = results(job.home, "first")
    outcomes = {number: each.outcome for number, each in found.items()}
    assert outcomes.pop(1) == "pruned"
    assert set(outcomes.values()) == {"complete"}, "the pruner stops none"
    origins = [each.origin.kind for each in found.values() if each.origin]
    assert origins == ["add", "clone"]
    assert len(found) == 3 + 2
    told = told_by_search(job.home, "first")
    assert told_by_tune(job.home, "first") == told

    # Without its results it finds them again from its seed, its states and its record; and goes on.
    for name in (RESULTS_FILE, SCORES_FILE):
        search.delete(name)
    said = start("jobs/control.py", "first", "set", "num-trials", "4", home=job.home)
    assert said.end() == 0, said.errors
    assert "it is not running" in said.output
    more = start(*SEARCH, "--resume", "first", home=job.home)
    assert more.end() == 0, more.errors
    after = results(job.home, "first")
    assert {number: after[number] for number in found} == found
    assert len(after) == len(found) + 1
    listed = start("jobs/control.py", "first", "list", "--json", home=job.home)
    assert listed.end() == 0, listed.errors
    rows = json.loads(listed.output)["trials"]
    assert [row["outcome"] for row in rows] == [each.outcome for each in after.values()]
