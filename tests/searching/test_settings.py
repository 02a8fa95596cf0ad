"""A search's settings survive the way to its folder and back, or are refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from perft.errors import ConfigError, SearchError, StorageError
from perft.options import MAX_TRIALS
from perft.search_folder import SEARCH_FILE as FILE
from perft.searching.settings import SearchSettings, installed_versions
from perft.searching.steering.budget import Budget
from perft.storage import Storage

SETTINGS = SearchSettings(
    name="first",
    space="arithmetic",
    task="arithmetic",
    base_model=None,
    base_fingerprint="b" * 8,
    data=None,
    data_fingerprint="d" * 8,
    validation_size=40,
    storage="/searches",
    tracking_uri="sqlite:////mlflow.db",
    num_trials=4,
    max_steps=40,
    rungs=(10, 20, 40),
    groups=1,
    workers_per_group=2,
    slots=4,
    seed=3,
)


def test_settings_come_back_as_they_were(tmp_path: Path) -> None:
    search = Storage(str(tmp_path))
    SETTINGS.write(search)
    assert SearchSettings.read(search) == SETTINGS


def test_versions_are_those_installed() -> None:
    assert SETTINGS.versions == installed_versions()
    assert {"torch", "ray", "optuna", "transformers", "perft"} <= set(SETTINGS.versions)


@pytest.mark.parametrize(
    "name", ["num_trials", "groups", "workers_per_group", "slots", "validation_size"]
)
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be a whole number of at least 1, found 0"):
        dataclasses.replace(SETTINGS, **{name: 0})


@pytest.mark.parametrize("name", ["sampler", "pruner"])
def test_names_that_are_in_no_table_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown {name} 'hyper'"):
        dataclasses.replace(SETTINGS, **{name: "hyper"})


def change(settings: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**settings, **changes}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        change(SETTINGS.to_json(), rungs=None),
        change(SETTINGS.to_json(), num_trials=0),
        change(SETTINGS.to_json(), num_trials="four"),
        change(SETTINGS.to_json(), num_trials=None),
        change(SETTINGS.to_json(), budget={"max_hours": -1}),
        change(SETTINGS.to_json(), budget={"max_days": 1}),
    ],
)
def test_a_damaged_file_is_refused(data: bytes, tmp_path: Path) -> None:
    search = Storage(str(tmp_path))
    search.write(FILE, data)
    with pytest.raises(StorageError, match=f"{FILE} is damaged"):
        SearchSettings.read(search)


def test_a_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    search = Storage(str(tmp_path))
    flat = SETTINGS.to_json()
    for later in (
        "space_code",
        "versions",
        "experts",
        "quantize",
        "rung_accuracy",
        "sampler",
        "pruner",
    ):
        del flat[later]
    search.write(FILE, json.dumps(flat).encode())
    found = SearchSettings.read(search)
    assert found == dataclasses.replace(SETTINGS, versions={})


def test_a_budget_bounds_a_search_without_a_number_of_trials(tmp_path: Path) -> None:
    bounded = dataclasses.replace(SETTINGS, num_trials=None, budget=Budget(max_hours=2.0))
    bounded.write(search := Storage(str(tmp_path)))
    assert SearchSettings.read(search) == bounded
    assert bounded.most_trials == MAX_TRIALS
    with pytest.raises(ConfigError, match="the search trains on CPUs; say --max-hours"):
        dataclasses.replace(bounded, gpus_per_worker=0.0, budget=Budget(max_gpu_hours=1.0))


def test_a_file_of_a_later_version_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    search = Storage(str(tmp_path))
    search.write(FILE, change(SETTINGS.to_json(), colour="red", versions={"perft": "9.0"}))
    with pytest.raises(SearchError, match=r"of another version of perft, 9\.0: .* not know col"):
        SearchSettings.read(search)


def test_a_folder_without_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot read"):
        SearchSettings.read(Storage(str(tmp_path)))
