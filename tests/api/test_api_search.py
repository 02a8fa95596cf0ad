"""`perft.search` prepares what the command prepares, and tells callbacks of what happens."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

import perft
from perft.api import search as searching
from perft.commands.search import main
from perft.errors import CallbackError, ConfigError, InterruptedSearchError, SearchError
from perft.packing.messages import Scored
from perft.searching.ledger import Entry
from perft.searching.listeners import Listener
from perft.searching.prepare import SearchPlan, SearchRequest, prepare
from perft.searching.run import Finished
from perft.searching.stages import Stages
from pretend import search_of_six

OTHERWISE = {"other_text": "other_texts", "confirm": "confirmations"}
"""Options whose field of `SearchRequest` has another name."""


def entry_of(result: perft.TrialResult) -> Entry:
    entry = Entry(result.number, result.config, result.params, size=result.size)
    entry.reports, entry.outcome = list(result.reports), result.outcome
    return entry


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[SearchPlan]:
    """The plans that ran, without a Ray: each is told of six recorded trials, twice."""
    monkeypatch.setenv("PERFT_HOME", str(tmp_path))
    plans: list[SearchPlan] = []

    def run(plan: SearchPlan, stages: Stages, *, listeners: Sequence[Listener]) -> Finished:
        plan.settings.write(plan.search)
        plans.append(plan)
        try:
            for _ in range(2):  # as when the coordinator has died
                for result in search_of_six():
                    for listener in listeners:
                        if result.reports:
                            listener.reported(entry_of(result))
                        listener.ended(entry_of(result))
        except CallbackError as error:  # as Tune's part of a search does
            raise SearchError(f"search has stopped: {error}; resume it") from error
        return Finished(search_of_six(), Scored(), "")

    monkeypatch.setattr(searching, "run_search", run)
    return plans


class Hears(perft.SearchCallback):
    def __init__(self) -> None:
        self.reports: list[tuple[int, int]] = []
        self.ends: list[perft.TrialResult] = []
        self.finished: list[perft.Results] = []

    def on_report(self, trial: perft.ReportedTrial) -> None:
        assert trial.report == trial.reports[-1]
        self.reports.append((trial.number, trial.report.step))

    def on_trial_end(self, result: perft.TrialResult) -> None:
        self.ends.append(result)

    def on_search_end(self, results: perft.Results) -> None:
        self.finished.append(results)


def test_every_option_of_the_command_is_a_parameter() -> None:
    command = inspect.signature(main).parameters
    call = inspect.signature(perft.search).parameters
    shown = {"context", "quiet", "as_json", "json", "json_lines"}  # a terminal's
    assert command.keys() - shown <= call.keys()
    requested = {each.name for each in fields(SearchRequest)}
    given = {OTHERWISE.get(name, name) for name in call}
    assert requested - {"budget"} <= given
    for name in ("seed", "validation_size", "objective", "sampler", "tracker", "confirm"):
        assert call[name].default == command[name].default


def test_it_prepares_what_the_request_does(ran: list[SearchPlan]) -> None:
    settings: dict[str, Any] = {"num_trials": 5, "max_steps": 40, "seed": 3, "sampler": "random"}
    perft.search("arithmetic", name="first", validation_size=20, confirm=2, quiet=True, **settings)
    wanted = prepare(
        SearchRequest(
            space="arithmetic", name="second", validation_size=20, confirmations=2, **settings
        )
    )
    assert replace(ran[0].settings, name="second") == wanted.settings


def test_callbacks_hear_of_everything_once(ran: list[SearchPlan]) -> None:
    first, second = Hears(), Hears()
    found = perft.search("arithmetic", callbacks=[first, second], validation_size=20)
    assert first.reports == second.reports != []
    assert len(set(first.reports)) == len(first.reports)
    assert [each.number for each in first.ends] == [each.number for each in search_of_six()]
    assert first.finished == [found]


@pytest.mark.parametrize("when", ["on_report", "on_trial_end", "on_search_end"])
def test_what_a_callback_raises_reaches_the_caller(when: str, ran: list[SearchPlan]) -> None:
    class Wrong(perft.SearchCallback):
        pass

    def fails(_self: Wrong, _about: object) -> None:
        raise ZeroDivisionError("mine")

    setattr(Wrong, when, fails)
    with pytest.raises(ZeroDivisionError, match="mine") as raised:
        perft.search("arithmetic", callbacks=[Wrong()], validation_size=20)
    if when != "on_search_end":
        assert "resume it" in " ".join(raised.value.__notes__)


def test_a_stopped_search_says_how_to_resume_it_here(
    ran: list[SearchPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(plan: SearchPlan, *_about: Any, **_more: Any) -> None:
        plan.settings.write(plan.search)
        raise InterruptedSearchError("search 'first' was interrupted; resume it by: perft search")

    monkeypatch.setattr(searching, "run_search", stops)
    with pytest.raises(InterruptedSearchError) as raised:
        perft.search("arithmetic", name="first", validation_size=20, quiet=True)
    assert raised.value.__notes__ == ["in Python: perft.search(resume='first')"]


def test_a_search_resumes_with_what_may_change_alone(ran: list[SearchPlan]) -> None:
    perft.search("arithmetic", name="first", num_trials=3, validation_size=20, quiet=True)
    perft.search(resume="first", quiet=True)
    perft.search("arithmetic", resume="first", num_trials=8, max_hours=2.0, quiet=True)
    assert [plan.resume for plan in ran] == [False, True, True]
    assert len(ran[2].commands) == 2
    with pytest.raises(
        ConfigError, match=r"leave out --confirmations .*, --seed \(it has 0\)|--seed"
    ):
        perft.search(resume="first", seed=4, confirm=1, quiet=True)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as raised:
        call()
    return str(raised.value)


def test_what_makes_no_sense_is_refused(ran: list[SearchPlan]) -> None:
    assert "give a space to search" in refused(perft.search)
    assert "trust_code goes with resume" in refused(
        lambda: perft.search("arithmetic", trust_code=True)
    )
    assert "unknown search space 'arithmetics'" in refused(lambda: perft.search("arithmetics"))
    assert ran == []


def test_quiet_shows_nothing(ran: list[SearchPlan], capsys: pytest.CaptureFixture[str]) -> None:
    perft.search("arithmetic", validation_size=20, quiet=True)
    assert capsys.readouterr() == ("", "")
    perft.search("arithmetic", validation_size=20)
    assert "search arithmetic-" in capsys.readouterr().out
