"""What a search says when Ray breaks it off."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune

from packing.simulator import StandIn
from perft.errors import SearchError
from perft.searching.agenda import Agenda
from perft.searching.prepare import SearchPlan, SearchRequest, prepare
from perft.searching.tune import tuning

AGENDA = Agenda(StandIn(1), num_trials=1, max_steps=1)


def test_the_last_line_of_an_error_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(_tuner: tune.Tuner) -> None:
        raise tune.TuneError(
            "Traceback (most recent call last):\n  somewhere\nOSError: disk full\n"
        )

    search_request = SearchRequest(
        space="arithmetic", name="first", storage=str(tmp_path), validation_size=20
    )
    plan = prepare(search_request)
    plan.settings.write(plan.search)
    monkeypatch.setattr(tune.Tuner, "fit", fit)
    groups: Any = SimpleNamespace(shape=SimpleNamespace(trials_at_once=1), name="", namespace="")
    callback: Any = tune.Callback()
    callback.failure, callback.proposed = None, lambda: None
    message = r"broke off search 'first' \(TuneError: OSError: disk full\); resume it by: .* --res"
    with pytest.raises(SearchError, match=message):
        tuning.tune_trials(plan, groups, AGENDA, callback, bool)


def stopped(plan: SearchPlan, monkeypatch: pytest.MonkeyPatch, error: Exception) -> str:
    """What a search says that ends by an error of Tune's."""

    def fit(_tuner: tune.Tuner) -> None:
        raise error

    monkeypatch.setattr(tune.Tuner, "fit", fit)
    groups: Any = SimpleNamespace(shape=SimpleNamespace(trials_at_once=1), name="", namespace="")
    callback: Any = tune.Callback()
    callback.failure, callback.proposed = None, lambda: None
    with pytest.raises(SearchError) as caught:
        tuning.tune_trials(plan, groups, AGENDA, callback, bool)
    return str(caught.value)


def test_a_folder_that_is_gone_or_full_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_request = SearchRequest(
        space="arithmetic", name="first", storage=str(tmp_path), validation_size=20
    )
    plan = prepare(search_request)
    plan.settings.write(plan.search)
    full = tune.TuneError("Traceback\nOSError: [Errno 28] No space left on device")
    said = stopped(plan, monkeypatch, full)
    assert f"cannot write to {tmp_path}/first: No space left on device (" in said
    assert "MB free in" in said
    gone = tune.TuneError("Traceback\nFileNotFoundError: optuna.journal")
    plan.search.delete("search.json")
    assert f"{tmp_path}/first/search.json is gone" in stopped(plan, monkeypatch, gone)
