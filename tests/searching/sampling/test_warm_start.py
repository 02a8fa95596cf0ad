"""A search starts from what earlier ones have found, or refuses them before anything is written."""

from dataclasses import replace
from pathlib import Path

import pytest

from perft.errors import SearchError
from perft.search_folder import WARM_START_FILE
from perft.searching.prepare import SearchPlan, SearchRequest, prepare
from perft.searching.sampling.proposals import study_of
from perft.searching.sampling.warm_start import kept_earlier
from perft.searching.settings import SearchSettings
from perft.selection import read_results, result_line, write_results
from perft.trial import AdapterSize, Origin, Report, TrialResult

STEPS = 8


@pytest.fixture
def wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchRequest:
    monkeypatch.setenv("PERFT_HOME", str(tmp_path / "home"))
    return SearchRequest(
        space="arithmetic",
        storage=str(tmp_path / "searches"),
        validation_size=20,
        max_steps=STEPS,
        name="new",
    )


def report(step: int, loss: float) -> Report:
    return Report(
        step=step,
        train_loss=loss,
        val_loss=loss,
        correct=round(20 * (1 - loss)) if step == STEPS else 0,
        scored=20 if step == STEPS else 0,
        lr=1e-3,
        tokens_per_second=1.0,
    )


def run(wanted: SearchRequest, name: str, count: int = 8) -> SearchPlan:
    """An earlier search, with results that are made up: every second trial was stopped."""
    plan = prepare(replace(wanted, name=name))
    plan.settings.write(plan.search)
    study = study_of(plan, None)
    results = []
    for index in range(count):
        trial, loss = study.draw(), 0.9 - 0.1 * index
        curve = [report(step, loss) for step in ((1, STEPS) if index % 2 else (1,))]
        results.append(
            TrialResult(
                number=trial.number,
                config=trial.config,
                outcome="complete" if index % 2 else "pruned",
                reports=tuple(curve),
                size=AdapterSize(trainable=100, activated=1000 + index, base_activated=10**6),
                params=trial.params,
            )
        )
    write_results(plan.search, map(result_line, results))
    return plan


def drawn(plan: SearchPlan, count: int) -> list[object]:
    study = study_of(plan, None)
    return [study.draw().params for _ in range(count)]


def test_trials_of_the_same_base_and_data_inform_the_sampler(wanted: SearchRequest) -> None:
    run(wanted, "earlier")
    plan = prepare(replace(wanted, warm_start=("earlier",)))
    (known,) = kept_earlier(plan.search)
    assert (known.name, known.is_evidence, len(known.results)) == ("earlier", True, 8)
    assert known.points() == []
    cold = drawn(prepare(replace(wanted, name="cold")), 3)
    assert drawn(plan, 3) != cold


@pytest.mark.parametrize("change", [{"space": "commonsense"}, {"max_steps": 2 * STEPS}])
def test_of_another_task_or_length_the_front_is_tried_first(
    wanted: SearchRequest, change: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = run(wanted, "earlier")
    if "space" in change:  # the same space, on another task
        monkeypatch.setattr(
            "perft.searching.given_space.space_code", lambda _module: earlier.settings.space_code
        )
    plan = prepare(replace(wanted, warm_start=("earlier",), **change))
    (known,) = kept_earlier(plan.search)
    assert not known.is_evidence
    front = [each.params for each in known.results if each.outcome == "complete"]
    assert len(front) == 4
    assert drawn(plan, 4) == front


def test_what_was_read_is_kept(wanted: SearchRequest) -> None:
    earlier = run(wanted, "earlier")
    plan = prepare(replace(wanted, warm_start=("earlier",)))
    before = drawn(plan, 5)
    write_results(earlier.search, [])
    assert drawn(plan, 5) == before
    plan.settings.write(plan.search)
    assert SearchSettings.read(plan.search).warm_start == ("earlier",)


def test_confirmations_are_not_read(wanted: SearchRequest) -> None:
    earlier = run(wanted, "earlier", 2)
    confirmed = [
        replace(each, origin=Origin(kind="confirm", trial=0), params={})
        for each in read_results(earlier.search)
    ]
    write_results(earlier.search, map(result_line, confirmed))
    plan = prepare(replace(wanted, warm_start=("earlier",)))
    assert kept_earlier(plan.search)[0].results == ()


def refuses(wanted: SearchRequest, message: str, **changes: object) -> None:
    with pytest.raises(SearchError, match=message):
        prepare(replace(wanted, **changes))  # type: ignore[arg-type]
    assert not (Path(wanted.storage or "") / "new").exists()


def test_another_space_or_base_is_refused(
    wanted: SearchRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = run(wanted, "earlier")
    refuses(
        wanted,
        "search 'earlier' is of the space arithmetic, and this one of commonsense",
        space="commonsense",
        warm_start=("earlier",),
    )
    other = replace(earlier.settings, base_fingerprint="0" * 64, base_model="/a/base")
    other.write(earlier.search)
    refuses(wanted, "is on /a/base, and this one on the built-in base", warm_start=("earlier",))


def test_a_search_that_there_is_not_is_refused_with_the_nearest(wanted: SearchRequest) -> None:
    run(wanted, "earlier")
    refuses(wanted, "earlier", warm_start=("earleir",))


def test_a_search_without_parameters_is_refused(wanted: SearchRequest) -> None:
    earlier = run(wanted, "earlier")
    results = read_results(earlier.search)
    write_results(earlier.search, [result_line(replace(each, params={})) for each in results])
    refuses(wanted, "did not record the parameters", warm_start=("earlier",))


def test_without_earlier_searches_nothing_is_kept(wanted: SearchRequest) -> None:
    plan = prepare(wanted)
    assert not plan.search.exists(WARM_START_FILE)
    assert kept_earlier(plan.search) == []


def test_a_limit_that_no_adapter_keeps_is_refused_before_anything_is_written(
    wanted: SearchRequest,
) -> None:
    refuses(
        wanted,
        "at most 100 parameters: the smallest activates 624 .*raise --max-activated",
        max_activated="100",
    )


def test_only_adapters_within_the_limit_are_proposed(wanted: SearchRequest) -> None:
    plan = prepare(replace(wanted, max_activated="2,400", sampler="random"))
    study = study_of(plan, None)
    assert {study.draw().config.adapter.rank for _ in range(8)} <= {2, 4, 8}
    assert plan.settings.max_activated == "2,400"
