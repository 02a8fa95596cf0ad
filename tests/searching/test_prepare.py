"""What cannot work is refused before anything is written; what can is ready to run."""

import functools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from contracts.bases import save_base, tiny_base
from perft.errors import (
    BaseModelError,
    ConfigError,
    DataError,
    PerftError,
    SearchError,
    StorageError,
)
from perft.search_folder import SEARCH_FILE as FILE
from perft.searching.extent import extent_of
from perft.searching.prepare import SearchRequest, prepare
from perft.searching.resume import prepare_resume
from perft.searching.settings import SearchSettings
from perft.searching.steering.budget import Budget
from perft.searching.steering.events import SetBudget, SetNumTrials
from perft.storage import Storage

ROW = {"instruction": "What is 1 + {n} ?", "input": "", "output": "It is {n}.", "answer": "{n}"}


def rows(count: int) -> list[dict[str, str]]:
    return [{key: text.format(n=n) for key, text in ROW.items()} for n in range(count)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tiny_base("mixtral", torch.float32), tmp_path_factory.mktemp("base"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory in the LLM-Adapters layout."""
    for name, count in (("train/math_data.json", 20), ("eval/AddSub/test.json", 3)):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(rows(count)))
    return tmp_path / "data"


@pytest.fixture
def search_request(tmp_path: Path) -> SearchRequest:
    return SearchRequest(
        space="arithmetic",
        name="first",
        storage=str(tmp_path / "searches"),
        validation_size=20,
        max_steps=8,
    )


def refused(
    search_request: SearchRequest, kind: type[PerftError], message: str, **changes: Any
) -> None:
    """`search_request` with `changes` is refused, and its storage is not so much as made."""
    with pytest.raises(kind, match=message):
        prepare(replace(search_request, **changes))
    assert not Path(search_request.storage or "").exists()


def test_a_good_wish_is_ready_to_run(search_request: SearchRequest, tmp_path: Path) -> None:
    plan = prepare(search_request)
    settings = plan.settings
    assert not plan.resume
    assert settings.rungs == (1, 2, 4, 8)
    assert settings.max_steps == 8
    assert settings.num_trials == plan.draw.space.num_trials
    assert settings.base_model is None
    assert settings.storage == str(tmp_path / "searches")
    assert Path(settings.tracking_uri.removeprefix("sqlite:///")).is_absolute()
    assert plan.search.uri == str(tmp_path / "searches" / "first")
    assert (tmp_path / "searches" / "first").is_dir()
    assert plan.search.names() == []


@pytest.mark.parametrize(
    ("wanted", "objective", "builtin", "real"),
    [
        (None, "front", False, False),
        (None, "accuracy", True, False),
        (True, "front", True, True),
        (False, "accuracy", False, False),
    ],
)
def test_accuracy_at_rungs_is_for_a_search_that_compares_it_unless_asked_for(
    wanted: bool | None,
    objective: str,
    builtin: bool,
    real: bool,
    search_request: SearchRequest,
    base: Path,
) -> None:
    search_request = replace(search_request, rung_accuracy=wanted, objective=objective)
    found = [
        prepare(replace(search_request, base_model=where)).settings.rung_accuracy
        for where in (None, str(base))
    ]
    assert found == [builtin, real]


def test_a_base_and_data_are_known_by_absolute_paths_and_fingerprints(
    search_request: SearchRequest, base: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builtin = prepare(replace(search_request, name="built-in")).settings
    monkeypatch.chdir(data.parent)
    settings = prepare(
        replace(search_request, base_model=str(base), data="data", validation_size=3)
    ).settings
    assert settings.base_model == str(base)
    assert settings.data == str(data)
    assert settings.base_fingerprint != builtin.base_fingerprint
    assert settings.data_fingerprint != builtin.data_fingerprint


@pytest.mark.parametrize("name", ["", ".", "..", "-x", "a b", "a/b", "../a", "a\n", "é", ".first"])
def test_a_name_that_is_no_folder_name_is_refused(search_request: SearchRequest, name: str) -> None:
    refused(search_request, ConfigError, "search name", name=name)


def test_an_unknown_space_is_refused(search_request: SearchRequest) -> None:
    refused(search_request, ConfigError, "did you mean 'arithmetic'", space="aritmetic")


def test_a_base_that_is_not_there_is_refused(search_request: SearchRequest, tmp_path: Path) -> None:
    refused(
        search_request,
        BaseModelError,
        "neither a directory here nor a hub id",
        base_model="/no/such",
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(search_request, BaseModelError, "has no config.json", base_model=str(empty))


def test_a_base_that_is_no_supported_moe_is_refused(
    search_request: SearchRequest, base: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(base, tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    refused(
        search_request,
        BaseModelError,
        "not a supported MoE family; supported: .*olmoe",
        base_model=str(other),
    )


def test_a_base_without_weights_is_refused(
    search_request: SearchRequest, base: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(base, tmp_path / "other"))
    (other / "model.safetensors").unlink()
    refused(search_request, BaseModelError, "has no weights", base_model=str(other))


def test_data_that_cannot_be_used_are_refused(
    search_request: SearchRequest, data: Path, tmp_path: Path
) -> None:
    refused(search_request, DataError, "is not a directory", data=str(tmp_path / "nowhere"))
    refused(search_request, DataError, "LLM-Adapters layout", data=str(tmp_path))
    broken = rows(20)
    del broken[6]["instruction"]
    (data / "train" / "math_data.json").write_text(json.dumps(broken))
    refused(search_request, DataError, "math_data.json, row 7 has no instruction", data=str(data))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_trials": 0}, "num_trials must be a whole number of at least 1"),
        ({"groups": 0}, "groups must be a whole number of at least 1"),
        ({"slots": -1}, "slots must be a whole number of at least 1"),
        ({"workers_per_group": 0}, "workers_per_group must be a whole number of at least 1"),
        ({"validation_size": 0}, "validation_size must be at least 1"),
        ({"max_steps": 0}, "max_steps must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(
    search_request: SearchRequest, changes: dict[str, int], message: str
) -> None:
    refused(search_request, ConfigError, message, **changes)


def test_a_storage_that_cannot_be_written_is_refused(
    search_request: SearchRequest, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot"):
        prepare(replace(search_request, storage=str(tmp_path / "file")))
    with pytest.raises(StorageError, match="cannot open storage"):
        prepare(replace(search_request, storage="nosuch://place"))


def test_a_name_that_is_taken_is_refused_and_nothing_is_lost(search_request: SearchRequest) -> None:
    plan = prepare(search_request)
    plan.settings.write(plan.search)
    plan.search.write("results.json", b"{}")
    with pytest.raises(
        SearchError, match=r"choose another --name, or resume it by: .* --resume first"
    ):
        prepare(search_request)
    assert plan.search.names() == ["results.json", FILE]
    # A folder in which no search was started yet is no search.
    plan.search.delete(FILE)
    prepare(search_request)


def started(search_request: SearchRequest, **changes: Any) -> SearchSettings:
    plan = prepare(replace(search_request, **changes))
    plan.settings.write(plan.search)
    return plan.settings


def test_a_search_is_taken_up_with_the_settings_it_had(search_request: SearchRequest) -> None:
    settings = started(search_request, seed=5, num_trials=3, slots=2)
    plan = prepare_resume("first", search_request.storage)
    assert plan.resume
    assert plan.settings == settings
    assert plan.draw == prepare(replace(search_request, name="second", seed=5)).draw
    assert extent_of(plan.draw).max_steps == settings.max_steps


def test_a_search_of_its_spaces_own_length_is_taken_up_with_the_same_draw(
    search_request: SearchRequest,
) -> None:
    own = replace(search_request, max_steps=None)
    drawn = prepare(own).draw
    started(replace(own, name="second"))
    assert prepare_resume("second", search_request.storage).draw == drawn


def test_only_a_search_that_is_there_can_be_taken_up(search_request: SearchRequest) -> None:
    with pytest.raises(SearchError, match="holds no search"):
        prepare_resume("first", search_request.storage)
    started(search_request)
    with pytest.raises(SearchError, match="did you mean 'first'"):
        prepare_resume("frist", search_request.storage)


def test_changed_data_and_bases_are_noticed(
    search_request: SearchRequest, base: Path, data: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(base, tmp_path / "other"))
    started(search_request, base_model=str(other), data=str(data), validation_size=3)
    prepare_resume("first", search_request.storage)
    weights = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(SearchError, match="the base of search 'first' has changed"):
        prepare_resume("first", search_request.storage)
    (other / "model.safetensors").write_bytes(weights)
    test = data / "eval" / "AddSub" / "test.json"
    test.write_text(json.dumps(rows(2)))
    with pytest.raises(SearchError, match="the data of search 'first' have changed"):
        prepare_resume("first", search_request.storage)


def test_searches_of_one_second_get_names_of_their_own(search_request: SearchRequest):
    names = [prepare(replace(search_request, name=None)).settings.name for _ in range(2)]
    assert len(set(names)) == 2
    assert all(re.fullmatch(r"arithmetic-\d{8}-\d{6}", name) for name in names)


def test_settings_that_cannot_change_are_refused_with_what_they_are(
    search_request: SearchRequest,
) -> None:
    started(search_request, seed=5, groups=2)
    with pytest.raises(ConfigError) as refusal:
        prepare_resume(
            "first", search_request.storage, unchangeable=("seed", "max_steps", "name", "slots")
        )
    assert str(refusal.value) == (
        "search 'first' resumes with the settings that it was started with; leave out --seed (it "
        "has 5), --max-steps (it has 8), --name (it has first), --slots (it has None)"
    )


def test_a_search_goes_on_with_more_trials_and_never_with_fewer_than_have_begun(
    search_request: SearchRequest,
) -> None:
    started(search_request, num_trials=6)
    search = Storage(search_request.storage or "").child("first")
    search.write("trials/0002.safetensors", b"")
    search.write("results.json", b'{"trials": []}')
    for wanted in (3, 12):
        plan = prepare_resume("first", search_request.storage, num_trials=wanted)
        assert plan.commands == (SetNumTrials(count=wanted),)
        assert plan.settings.num_trials == 6, "that with which it was started"
    assert prepare_resume("first", search_request.storage, num_trials=6).commands == ()
    assert prepare_resume("first", search_request.storage).commands == ()
    with pytest.raises(ConfigError, match="3 trials of search 'first' have begun, found --num-tr"):
        prepare_resume("first", search_request.storage, num_trials=2)


def test_a_search_goes_on_with_another_budget(search_request: SearchRequest) -> None:
    started(search_request, num_trials=6, budget=Budget(max_hours=2, max_steps_total=800))
    resumed = functools.partial(prepare_resume, "first", search_request.storage)
    assert resumed().commands == ()
    more = Budget(max_hours=5, max_steps_total=800)
    assert resumed(bounds={"max_hours": 5.0}).commands == (SetBudget(budget=more),)
    with pytest.raises(ConfigError, match="--max-steps-total is 3, and one full-length trial"):
        resumed(bounds={"max_steps_total": 3})


def test_with_a_budget_a_search_draws_as_many_trials_as_fit(search_request: SearchRequest) -> None:
    budget = Budget(max_steps_total=800)
    assert started(search_request, budget=budget).num_trials is None
    search = Storage(search_request.storage or "").child("first")
    assert SearchSettings.read(search).budget == budget


def test_a_budget_of_no_full_length_trial_is_refused(search_request: SearchRequest) -> None:
    with pytest.raises(ConfigError, match="--max-steps-total is 7, and one full-length trial"):
        started(search_request, budget=Budget(max_steps_total=7))


def test_other_versions_of_packages_are_noted(search_request: SearchRequest) -> None:
    settings = started(search_request)
    said: list[str] = []
    prepare_resume("first", search_request.storage, tell=said.append)
    assert said == []
    other = replace(settings, versions={**settings.versions, "torch": "1.0", "ray": "0.1"})
    other.write(Storage(search_request.storage or "").child("first"))
    assert (
        prepare_resume("first", search_request.storage, tell=said.append).settings.versions["ray"]
        == "0.1"
    )
    (line,) = said
    assert line.startswith("note: search 'first' was started with ray 0.1, now 2.")
    assert "; torch 1.0, now 2." in line


def test_a_search_of_another_storage_goes_on_by_its_name(
    search_request: SearchRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFT_HOME", str(tmp_path / "home"))
    started(search_request)
    assert prepare_resume("first").search.uri == str(tmp_path / "searches" / "first")
    # On another machine, the storage says it, and is known from then on.
    monkeypatch.setenv("PERFT_HOME", str(tmp_path / "other"))
    with pytest.raises(SearchError, match="holds no search at all"):
        prepare_resume("first")
    prepare_resume("first", search_request.storage)
    prepare_resume("first")


def test_code_of_optunahub_is_not_run_because_a_folder_names_it(
    search_request: SearchRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = prepare(search_request)
    replace(plan.settings, sampler="hub:own").write(plan.search)
    with pytest.raises(SearchError, match=r"hub:own.* downloads and runs.* --trust-code"):
        prepare_resume("first", search_request.storage)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match="pip install optunahub"):
        prepare_resume("first", search_request.storage, trust_code=True)
    assert SearchSettings.read(plan.search).sampler == "hub:own"  # what only reads it goes on
