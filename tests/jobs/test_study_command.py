"""`perft study`: what it trains, what it says of it, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.calling import Done, call
from perft.packing.messages import Scored
from perft.searching.prepare import SearchPlan
from perft.searching.run import Finished
from perft.searching.stages import Stages
from perft.studies.answers import Answers
from pretend import BASE
from studies.planted import CURVES, DESIGN, trained

SPACE = """
from perft import SearchSpace
from studies.planted import CURVES

SPACE = SearchSpace.of_study("arithmetic", CURVES)
"""
Study = Callable[..., Done]


@pytest.fixture
def plans() -> list[SearchPlan]:
    return []


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plans: list[SearchPlan]) -> Study:
    """Calls `perft study` with planted trainings in place of real ones."""
    monkeypatch.setenv("PERFT_HOME", str(tmp_path))
    (tmp_path / "planted.py").write_text(SPACE)

    def run_search(plan: SearchPlan, stages: Stages, *_more: Any, **_options: Any) -> Finished:
        plans.append(plan)
        seeds = plan.settings.num_trials // DESIGN.cells
        return Finished(trained(rising, seeds=seeds), Scored(base=BASE), "")

    monkeypatch.setattr("perft.searching.run.run_search", run_search)
    given = (str(tmp_path / "planted.py"), "--name", "first", "--tracker", "folder")
    return lambda *more: call("study", *given, "--validation-size", "4", *more)


def rising(width: int, rate: float) -> float:
    return 0.3 + width / 40


def test_it_trains_every_trial_of_its_design_and_stops_none(study: Study, plans) -> None:
    assert study("--seeds", "4", "--quantize", "int8").status == 0
    (plan,) = plans
    settings = plan.settings
    assert settings.num_trials == 4 * DESIGN.cells
    assert (settings.sampler, settings.pruner, settings.second_chances) == ("random", "none", 0)
    assert settings.quantize == "int8"
    assert settings.rungs == (settings.max_steps,)


def test_its_findings_are_said_and_its_page_is_named(study: Study, tmp_path: Path) -> None:
    done = study()
    assert (done.status, done.errors) == (0, "")
    shown, open_ = done.output.partition("\nopen:\n")[::2]
    for finding in CURVES.findings(Answers.of(trained(rising))):
        assert f"- {finding.text.replace('**', '')}" in (shown if finding.is_shown else open_)
    assert f"page:    {tmp_path}/searches/first/study.md" in done.output
    assert done.output.splitlines()[-1] == "study first: 1 of 4 findings shown, 3 open"


def test_programs_get_the_findings_in_its_last_event(study: Study) -> None:
    done = study("--json")
    assert (done.status, done.errors) == (0, "")
    *events, end = (json.loads(line) for line in done.output.splitlines())
    assert {event["event"] for event in events} == {"stage"}
    findings = CURVES.findings(Answers.of(trained(rising)))
    assert end["findings"] == [vars(each) for each in findings]
    assert (end["event"], end["search"]) == ("end", "first")
    assert end["page"] == f"{end['folder']}/study.md"


def test_a_quiet_one_says_its_last_line_alone(study: Study) -> None:
    assert study("--quiet").output.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("arithmetic",),
            "has no study, wanted one of baselines, bottleneck, forgetting, generality, paper, ",
        ),
        (("bottlenek",), "did you mean 'bottleneck'?"),
        (("bottleneck", "--seeds", "1"), "wanted"),
        (("bottleneck", "--seeds", "6"), "wanted"),
    ],
)
def test_what_is_no_study_is_refused(args: tuple[str, ...], message: str) -> None:
    done = call("study", *args)
    assert done.status == 2
    assert message in done.errors
