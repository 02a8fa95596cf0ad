"""`perft compare`: what it says of runs of a study, its page, and what it refuses."""

import json
from pathlib import Path

import pytest

from jobs.calling import call
from perft.searching.prepare import SearchRequest, prepare
from perft.selection import result_line, write_results
from studies.planted import Truth, trained

SPACE = """
from perft import SearchSpace
from studies.planted import METHODS

SPACE = SearchSpace.of_study("arithmetic", METHODS)
"""


def large_wins(width: int, rate: float) -> float:
    return 0.3 + width / 40


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PERFT_HOME", str(tmp_path))
    (tmp_path / "planted.py").write_text(SPACE)
    return str(tmp_path / "planted.py")


def run(study: str, name: str, truth: Truth = large_wins, seeds: int = 3, draw: int = 0) -> None:
    plan = prepare(SearchRequest(space=study, name=name, validation_size=4, seed=draw))
    plan.settings.write(plan.search)
    write_results(plan.search, map(result_line, trained(truth, seeds=seeds, draw=draw)))


def test_it_says_what_holds_in_all_runs_and_writes_its_page(study: str, tmp_path: Path) -> None:
    run(study, "one")
    run(study, "two", draw=1)
    done = call("compare", study, "one", "two", "--out", str(tmp_path / "page.md"))
    assert (done.status, done.errors) == (0, "")
    assert "\nshown:\n- large is better than small in every run.\n" in done.output
    assert done.output.splitlines()[-1] == "1 of 3 findings shown, 2 open"
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("# Which is best?\n")
    assert "- **two**: the built-in base, task arithmetic, seed 1\n" in page


def test_programs_get_the_findings_and_the_ranks(study: str) -> None:
    run(study, "one")
    run(study, "two", draw=1)
    found = json.loads(call("compare", study, "one", "two", "--json").output)
    assert [each["kind"] for each in found["kinds"]] == ["large", "small"]
    assert {"text", "is_shown"} == set(found["findings"][0])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["one"], "found the runs one, wanted two or more different ones"),
        (["one", "one"], "found the runs one, one, wanted two or more different ones"),
        (["one", "short"], "search 'short' has not trained two seeds of every adapter yet"),
        (["one", "other"], "search 'other' has no trial of the study"),
        (["one", "none"], "unknown search 'none'"),
    ],
)
def test_what_cannot_be_compared_is_refused(names: list[str], message: str, study: str) -> None:
    run(study, "one")
    run(study, "short", seeds=1)
    plan = prepare(SearchRequest(space="arithmetic", name="other", validation_size=4))
    plan.settings.write(plan.search)
    done = call("compare", study, *names)
    assert (done.status, done.output) == (2, "")
    assert message in done.errors


def test_a_space_without_a_study_is_refused() -> None:
    done = call("compare", "arithmetic", "one", "two")
    assert done.status == 2
    assert "the space 'arithmetic' has no study, wanted one of baselines, bottleneck" in done.errors
