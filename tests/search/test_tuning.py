"""What a search says when Ray breaks it off."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune

from perft.errors import SearchError
from perft.search import tuning
from perft.search.prepare import Wish, prepare


def test_the_last_line_of_an_error_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(_tuner: tune.Tuner) -> None:
        raise tune.TuneError(
            "Traceback (most recent call last):\n  somewhere\nOSError: disk full\n"
        )

    wish = Wish(space="arithmetic", name="first", storage=str(tmp_path), validation_size=20)
    prepared = prepare(wish)
    monkeypatch.setattr(tune.Tuner, "fit", fit)
    monkeypatch.setattr(tuning, "_proposer", lambda *_: None)
    groups: Any = SimpleNamespace(shape=SimpleNamespace(trials_at_once=1))
    follow: Any = tune.Callback()
    follow.failure = None
    message = (
        r"broke off search 'first' \(TuneError: OSError: disk full\); go on with it by: .* --res"
    )
    with pytest.raises(SearchError, match=message):
        tuning.tune_trials(prepared, groups, follow)
