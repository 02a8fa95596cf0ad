"""What a space draws is known before a search; what is wrong with it is named with an example."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from perft import modules
from perft.config import LoraQVConfig, RoutedConfig, SingleConfig, TrainingConfig
from perft.errors import AdapterError, ConfigError
from perft.searching import paths
from perft.searching.capacity import step_workload
from perft.searching.extent import Extent, extent_of
from perft.searching.space import Draw, SearchSpace, find_space
from perft.trial import TrialConfig
from searching.spaces import SMALL, training

Suggest = Callable[[optuna.Trial, bool], Any]


def space_of(suggest: Suggest) -> SearchSpace:
    return dataclasses.replace(SMALL, suggest=suggest)


def extent(suggest: Suggest, max_steps: int | None = None) -> Extent:
    return extent_of(Draw(space_of(suggest), True, 0, max_steps))


def trial_of(rank: Any = 2, **changes: Any) -> TrialConfig:
    return TrialConfig(SingleConfig(rank=rank), dataclasses.replace(training(True), **changes))


def rare(trial: optuna.Trial, builtin: bool) -> TrialConfig:
    """One of 64 paths differs: 20 random draws miss it three times in four."""
    drawn = [trial.suggest_categorical(name, (1, 2, 3, 4)) for name in "abc"]
    return trial_of(max_steps=80 if drawn == [4, 3, 2] else 40)


def test_a_rare_path_of_another_length_is_found_with_its_example() -> None:
    with pytest.raises(ConfigError, match="draws 40 at a=1, b=1, c=1, and 80 at a=4, b=3, c=2;"):
        extent(rare)
    assert extent(rare, max_steps=20).max_steps == 20


def test_the_largest_and_the_smallest_of_what_can_be_drawn_count() -> None:
    def suggest(trial: optuna.Trial, builtin: bool) -> TrialConfig:
        batch = trial.suggest_int("batch", 2, 32)
        length = trial.suggest_categorical("length", (64, 512)) if batch > 4 else 128
        return trial_of(batch_size=batch, max_length=length)

    found = extent(suggest)
    assert (found.smallest_batch, found.largest_batch, found.longest) == (2, 32, 512)
    load = step_workload(space_of(suggest), None)
    assert (load.rows, load.length) == (32, 512)


def test_sizes_that_follow_from_real_numbers_are_taken_at_both_ends() -> None:
    def suggest(trial: optuna.Trial, builtin: bool) -> TrialConfig:
        return trial_of(batch_size=int(2 ** trial.suggest_float("log batch", 1.0, 6.0)))

    assert (extent(suggest).smallest_batch, extent(suggest).largest_batch) == (2, 64)


def test_what_lies_between_the_ends_is_tried() -> None:
    def suggest(trial: optuna.Trial, builtin: bool) -> TrialConfig:
        return trial_of(rank=2 if trial.suggest_int("rank", 1, 9) in (1, 9) else 0)

    with pytest.raises(ConfigError, match=r"rank must be .*, found 0; so it is at rank=[2-8]$"):
        extent(suggest)


def test_layers_that_the_base_lacks_are_named_with_their_example() -> None:
    def suggest(trial: optuna.Trial, builtin: bool) -> TrialConfig:
        layers = trial.suggest_categorical("layers", ("all", "last:2", "0,7"))
        return TrialConfig(LoraQVConfig(rank=2, layers=layers), training(True))

    extent(suggest).require_layers(8)
    with pytest.raises(AdapterError, match=r"it has 3 layers .* so it is at layers='0,7'"):
        extent(suggest).require_layers(3)


def test_an_endless_number_of_paths_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MAX_PATHS", 200)

    def suggest(trial: optuna.Trial, builtin: bool) -> TrialConfig:
        sizes = [trial.suggest_categorical(f"p{i}", (1, 2, 3)) for i in range(40)]
        return trial_of(batch_size=sizes[-1], rank=sizes[0])

    found = list(paths.all_draws(lambda trial: suggest(trial, True)))
    assert len(found) == 400 + 50
    assert {one.found.adapter.rank for one in found} == {1, 2, 3}


def test_a_space_that_is_no_function_of_its_trial_ends() -> None:
    asked = iter(range(10**6))

    def suggest(trial: optuna.Trial, builtin: bool) -> TrialConfig:
        for i in range(next(asked) % 3):
            trial.suggest_int(f"p{i}", 0, next(asked) % 2)
        return trial_of()

    assert extent(suggest).max_steps == 40


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: None, "must return a TrialConfig, found None"),
        (lambda: {"rank": 2}, r"must return a TrialConfig, found \{'rank': 2\}"),
        (lambda: SingleConfig(rank=2), "must return a TrialConfig, found SingleConfig"),
        (lambda: TrialConfig(training(True), training(True)), "its adapter must be of type"),
        (lambda: TrialConfig(SingleConfig(rank=2), None), "its training must be of type"),
        (lambda: trial_of(rank=True), "rank must be a whole number of at least 1, found True"),
        (lambda: trial_of(rank=np.int64(2)), r"rank must be .*, found (np\.int64\()?2"),
        (lambda: trial_of(rank="2"), "rank must be .*, found '2'"),
        (lambda: trial_of(rank=2.0), "rank must be .*, found 2.0"),
        (lambda: trial_of(rank=10**5000), "rank must be at most 65,536, found a number of thous"),
        (lambda: trial_of(lr=float("nan")), "lr must be a positive number, found nan"),
        (lambda: trial_of(lr="1e-3"), "lr must be a positive number, found '1e-3'"),
        (lambda: trial_of(lr=10**400), "lr must be a positive number, found 1000"),
        (lambda: trial_of(loss_on=["answer"]), r"unknown loss_on .*answer"),
        (lambda: trial_of(batch_size=10**9), "batch_size must be at most 65,536"),
        (lambda: RoutedConfig(rank=2, num_experts=2, top_k=1, normalize_top_k="yes"), "true or fa"),
        (lambda: SingleConfig(rank=2, layers="last:" + "9" * 5000), "layers must be"),
        (lambda: SingleConfig(rank=2, init=np.zeros(3)), "unknown init"),
        (lambda: 1 / 0, "raised ZeroDivisionError: division by zero in line"),
        (lambda: {}["lr"], "raised KeyError: 'lr' in line"),
        (lambda: exit(3), "raised SystemExit: 3 in line"),
        (lambda: (lambda f: f(f))(lambda f: f(f)), "raised RecursionError"),
    ],
)
def test_what_a_space_does_wrong_names_function_and_field(
    made: Callable[[], Any], message: str
) -> None:
    def suggest(trial: optuna.Trial, builtin: bool) -> Any:
        return made()

    with pytest.raises(ConfigError, match=message) as refused:
        extent(suggest)
    assert f"suggest ({__file__}, line " in str(refused.value)
    assert "\n" not in str(refused.value)


def test_code_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(trial: optuna.Trial, builtin: bool) -> TrialConfig:
        while True:
            try:
                trial.suggest_float("lr", 0.1, 1.0)
            except Exception:
                continue

    monkeypatch.setattr("perft.searching.calls.USER_CODE_SECONDS", 0.2)
    with pytest.raises(ConfigError, match=r"suggest|endless .*did not end within 0.2 seconds"):
        extent(endless)


def test_a_file_that_does_not_end_or_ends_the_program_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modules, "USER_CODE_SECONDS", 0.2)
    for text, message in (
        ("while True:\n    pass\n", r"import of .*space\.py did not end within 0.2 seconds \("),
        ("import sys\nsys.exit(0)\n", r"space\.py ends the program that imports it"),
    ):
        (tmp_path / "space.py").write_text(text)
        with pytest.raises(ConfigError, match=message):
            find_space(str(tmp_path / "space.py"))


def test_choices_that_differ_between_trials_are_refused_as_optuna_would() -> None:
    def suggest(trial: optuna.Trial, builtin: bool) -> TrialConfig:
        small = trial.suggest_categorical("small", (True, False))
        return trial_of(rank=trial.suggest_categorical("rank", (2, 4) if small else (8, 16)))

    with pytest.raises(ConfigError, match=r"'rank' other choices .*; so it is at small=False"):
        extent(suggest)


def test_what_a_space_prints_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    def suggest(trial: optuna.Trial, builtin: bool) -> TrialConfig:
        print("drawn")
        return trial_of()

    extent(suggest)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": 7}, "task of a search space must be a text"),
        ({"suggest": None}, "suggest must be a function, found None"),
        ({"training": TrainingConfig(lr=1.0)}, "training must be a function"),
        ({"num_trials": True}, "num_trials must be a whole number of at least 1, found True"),
        ({"num_trials": 10**30}, "num_trials must be at most"),
        ({"rungs": 2.0}, "rungs must be a whole number"),
        ({"rungs": 31}, "rungs must be at most 30"),
    ],
)
def test_a_space_of_wrong_fields_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SMALL, **changes)
