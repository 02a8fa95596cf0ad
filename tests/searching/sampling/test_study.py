"""What Optuna and the sampler hear of a search, trial by trial."""

from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState

from packing.simulator import reported
from perft.searching.objectives import ACCURACY, FRONT, LOSS
from perft.searching.sampling.points import draft_at
from perft.searching.sampling.sampler import Draft
from perft.searching.sampling.study import OptunaStudy
from perft.trial import Origin, Outcome, Report
from searching.worlds import sampling

POINT = {"lr": 0.01, "variant": "perft-s", "rank": 4}


class Heard:
    """A sampler that notes what it hears, and draws the same trial always."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.draft = draft_at(sampling().draw, {"lr": 0.001, "variant": "perft-e", "rank": 2})

    def draw(self, number: int) -> Draft:
        self.calls.append(("draw", number))
        return self.draft

    def given(self, number: int, draft: Draft) -> None:
        self.calls.append(("given", number, dict(draft.params)))

    def reported(self, number: int, report: Report) -> None:
        self.calls.append(("reported", number, report.step))

    def ended(self, number: int, outcome: Outcome) -> None:
        self.calls.append(("ended", number, outcome))


def study(
    sampler: Heard | None = None, objective: str = FRONT, points: int = 0, file: Path | None = None
) -> OptunaStudy:
    storage = JournalStorage(JournalFileBackend(str(file))) if file else None
    return OptunaStudy(
        sampling().draw,
        sampler or Heard(),
        storage,
        "test",
        objective=objective,
        points=[draft_at(sampling().draw, POINT)] * points,
    )


def load(file: Path) -> optuna.Study:
    """As the documents say."""
    return optuna.load_study(
        study_name="test", storage=JournalStorage(JournalFileBackend(str(file)))
    )


def test_the_journal_says_how_every_trial_ended(tmp_path: Path) -> None:
    of = study(file=tmp_path / "optuna.journal")
    for number in range(4):
        assert of.draw().number == number
    of.reported(0, reported(10, 3.0))
    of.ended(0, "complete", reported(40, 1.0))
    of.ended(1, "pruned", reported(10, 2.5))
    of.ended(2, "failed", None)
    found = load(tmp_path / "optuna.journal").get_trials()
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]
    assert [trial.state for trial in found] == states
    assert found[0].values == [reported(40).report.accuracy, reported(40).size.activated]
    assert [trial.values for trial in found[1:]] == [None, None, None]
    assert found[0].user_attrs["reports"].keys() == {"10", "40"}
    assert found[1].user_attrs["reports"]["10"]["val_loss"] == 2.5
    assert found[1].user_attrs["activated"] == reported(10).size.activated
    assert found[3].params == {"lr": 0.001, "variant": "perft-e", "rank": 2}


@pytest.mark.parametrize(
    ("objective", "names", "directions"),
    [
        (
            FRONT,
            ["accuracy", "activated parameters"],
            [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE],
        ),
        (ACCURACY, ["accuracy"], [StudyDirection.MAXIMIZE]),
        (LOSS, ["validation loss"], [StudyDirection.MINIMIZE]),
    ],
)
def test_the_journal_has_what_the_search_aims_at(
    tmp_path: Path, objective: str, names: list[str], directions: list[StudyDirection]
) -> None:
    file = tmp_path / "optuna.journal"
    of = study(objective=objective, file=file)
    of.draw()
    of.ended(0, "complete", reported(40, 0.5))
    found = load(file)
    assert (found.metric_names, found.directions) == (names, directions)
    best = reported(40, 0.5).report
    assert found.trials[0].values[0] == (best.val_loss if objective == LOSS else best.accuracy)
    assert [trial.number for trial in found.best_trials] == [0]


def test_points_are_drawn_first_and_the_sampler_hears_of_them() -> None:
    sampler = Heard()
    of = study(sampler, points=2)
    drawn = [of.draw() for _ in range(3)]
    assert [trial.params == POINT for trial in drawn] == [True, True, False]
    assert sampler.calls == [("given", 0, POINT), ("given", 1, POINT), ("draw", 2)]
    assert all(trial.origin is None for trial in drawn)


@pytest.mark.parametrize("kind", ["continue", "add", "clone", "confirm"])
@pytest.mark.parametrize("params", [{}, POINT])
def test_the_sampler_hears_of_what_follows_from_the_parameters(
    kind: str, params: dict[str, object]
) -> None:
    sampler = Heard()
    of = study(sampler)
    first = of.draw()
    origin = Origin(kind=kind, trial=None if kind == "add" else 0)  # type: ignore[arg-type]
    trial = of.given(first.config, params, origin)  # type: ignore[arg-type]
    assert (trial.number, trial.config, trial.origin) == (1, first.config, origin)
    of.reported(1, reported(20))
    of.ended(1, "complete", reported(40))
    heard = [call[0] for call in sampler.calls if call[1] == 1]
    follows = bool(params) and kind in ("continue", "add")
    assert heard == (["given", "reported", "reported", "ended"] if follows else [])
    assert of.study.trials[1].user_attrs["origin"]["kind"] == kind
    assert of.study.trials[1].state == TrialState.COMPLETE


def test_a_last_report_that_was_heard_before_is_not_heard_again() -> None:
    sampler = Heard()
    of = study(sampler)
    of.draw()
    of.reported(0, reported(10))
    of.ended(0, "pruned", reported(10))
    assert sampler.calls == [("draw", 0), ("reported", 0, 10), ("ended", 0, "pruned")]


def test_a_journal_is_not_read_again_for_each_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    logs = JournalFileBackend.read_logs

    def counted(self: JournalFileBackend, start: int) -> object:
        found = list(logs(self, start))
        read.append(len(found))
        return iter(found)

    monkeypatch.setattr(JournalFileBackend, "read_logs", counted)
    of = study(file=tmp_path / "optuna.journal")
    for number in range(30):
        of.draw()
        of.ended(number, "pruned", reported(10))
    assert sum(read) < 10 * 30
