"""What `jobs/search.py` refuses: one line that helps, before Ray starts, and nothing is spoiled."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import ray
from calling import call, row, write_data

from perft.errors import SearchError, unknown
from perft.models.source import BUILTIN
from perft.searching import run as search_run
from perft.searching.pruning.pruners import PRUNERS
from perft.searching.sampling.samplers import SAMPLERS

SPACE = ("--space", "arithmetic")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, in which Ray must not start."""

    def start(*_where: Any, **_settings: Any) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setenv("PERFT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def begun(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a search `first` that was interrupted as soon as it had begun."""

    def interrupted(plan: Any, *_shown: Any) -> None:
        plan.settings.write(plan.search)
        raise SearchError("interrupted")

    monkeypatch.setattr(search_run, "run_search", interrupted)
    data, base = write_data(home / "data"), shutil.copytree(BUILTIN, home / "base")
    args = (*SPACE, "--name", "first", "--data", data, "--base-model", str(base))
    assert call("search", *args).errors == "error: interrupted\n"
    return home / "searches" / "first"


def refusal(*args: str) -> str:
    return call("search", *args).refusal


def test_neither_a_space_nor_a_search():
    assert refusal() == "name a search space with --space, or a search to continue with --resume"


def test_unknown_space():
    message = "unknown search space 'arithmetics'; did you mean 'arithmetic'? (known: arithmetic, "
    assert refusal("--space", "arithmetics").startswith(message)


def test_experts_that_cannot_be_computed_so():
    assert "did you mean 'grouped_mm'?" in refusal(*SPACE, "--experts", "grouped")
    assert "pip install 'kernels" in refusal(*SPACE, "--experts", "sonicmoe")
    assert "computes no gradients" in refusal(*SPACE, "--experts", "deepgemm")


def test_a_base_that_cannot_be_quantised_so(monkeypatch: pytest.MonkeyPatch):
    assert "on one GPU" in refusal(*SPACE, "--quantize", "int8", "--workers-per-group", "2")
    assert "leave out --compile" in refusal(*SPACE, "--quantize", "fp8", "--compile")
    assert "--experts sonicmoe reads" in refusal(
        *SPACE, "--quantize", "int8", "--experts", "sonicmoe"
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert "pip install 'perft[quantize]'" in refusal(*SPACE, "--quantize", "nf4")


def test_a_sampler_and_a_pruner_that_there_are_not():
    assert refusal(*SPACE, "--sampler", "tp") == unknown("sampler", "tp", [*SAMPLERS, "hub:NAME"])
    assert refusal(*SPACE, "--pruner", "asa") == unknown("pruner", "asa", PRUNERS)


def test_name_that_is_no_name():
    assert "search name 'a/b': use letters" in refusal(*SPACE, "--name", "a/b")


def test_base_of_another_family(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    message = refusal(*SPACE, "--base-model", str(tmp_path))
    assert "is of type 'llama', which is not a supported MoE family; supported: " in message
    assert ", mixtral, " in message
    assert str(tmp_path) in message


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model.safetensors", "has no weights: model.safetensors is missing"),
        ("tokenizer.json", "has no tokenizer.json"),
        ("config.json", "has no config.json"),
    ],
)
def test_base_that_lacks_a_file(tmp_path: Path, missing: str, message: str):
    base = shutil.copytree(BUILTIN, tmp_path / "base")
    (base / missing).unlink()
    found = refusal(*SPACE, "--base-model", str(base))
    assert message in found
    assert str(base) in found


@pytest.mark.parametrize("base", ["/no/such/folder", "nobody/nothing"])
def test_base_that_is_nowhere(base: str):
    assert f"base '{base}' is n" in refusal(*SPACE, "--base-model", base)


def test_data_that_are_nowhere(tmp_path: Path):
    message = refusal(*SPACE, "--data", str(tmp_path / "none"))
    assert message.startswith(f"{tmp_path / 'none'} is not a directory")


def test_data_without_the_expected_files(tmp_path: Path):
    message = refusal(*SPACE, "--data", str(tmp_path))
    assert f"{tmp_path} has no training file of the LLM-Adapters layout; looked for" in message
    write_data(tmp_path)
    shutil.rmtree(tmp_path / "eval")
    assert "has no test file of the LLM-Adapters layout" in refusal(*SPACE, "--data", str(tmp_path))


@pytest.mark.parametrize("field", ["instruction", "answer"])
@pytest.mark.parametrize("file", ["train/math_data.json", "eval/AddSub/test.json"])
def test_row_that_lacks_a_field(tmp_path: Path, field: str, file: str):
    rows = [row(number) for number in range(20)]
    del rows[6][field]
    data = write_data(tmp_path, **{"train" if "train" in file else "test": rows})
    message = refusal(*SPACE, "--data", data)
    assert message.startswith(f"{tmp_path}/{file}, row 7 has no {field}")


def test_storage_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    message = refusal(*SPACE, "--storage", str(tmp_path / "file" / "below"))
    assert message.startswith(f"cannot write {tmp_path}/file/below/")


def test_tracking_that_cannot_be_written(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("")
    place = f"sqlite:///{tmp_path}/file/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    # It is opened while Ray starts, and before any worker does.
    monkeypatch.setattr(ray, "init", lambda *_where, **_settings: None)
    done = call("search", *SPACE, "--name", "untold")
    assert done.status == 2
    assert done.errors.startswith(f"error: cannot record runs in {place}: ")
    assert "set MLFLOW_TRACKING_URI to" in done.errors
    assert done.errors.count("\n") == 1
    # Nothing was begun, so the name is still free.
    assert not (home / "searches" / "untold" / "search.json").exists()


def test_name_of_a_search_that_exists(begun: Path):
    before = (begun / "search.json").read_bytes()
    message = refusal(*SPACE, "--name", "first")
    assert message.startswith(
        f"a search named 'first' exists in {begun.parent}; choose another --name, or resume it "
    )
    assert message.endswith("search --resume first")
    assert (begun / "search.json").read_bytes() == before


def test_search_to_resume_that_is_not_there(home: Path, begun: Path):
    assert "unknown search 'frist'; did you mean 'first'?" in refusal("--resume", "frist")
    elsewhere = refusal("--resume", "first", "--storage", str(home / "elsewhere"))
    assert f"{home}/elsewhere holds no search at all" in elsewhere


@pytest.mark.parametrize("changed", ["data", "base"])
def test_search_whose_data_or_base_have_changed(home: Path, begun: Path, changed: str):
    if changed == "data":
        write_data(home / "data", train=[row(number) for number in range(50, 80)])
    else:
        with (home / "base" / "model.safetensors").open("r+b") as weights:
            weights.seek(-1, 2)
            weights.write(b"\x01")
    message = refusal("--resume", "first")
    assert message.startswith(f"the {changed} of search 'first' ha")
    assert "changed since it was started" in message


def test_search_whose_settings_are_damaged(begun: Path):
    (begun / "search.json").write_text("{")
    assert f"{begun}/search.json is damaged" in refusal("--resume", "first")


@pytest.mark.parametrize(
    "args",
    [
        "--num-trials 0", "--workers-per-group 0", "--groups 0", "--slots 0", "--seed -1",
        "--validation-size 0", "--max-steps 1", "--dtype flaot32",
    ],
)  # fmt: skip
def test_option_that_makes_no_sense(args: str):
    assert f"Invalid value for '{args.split()[0]}'" in refusal(*SPACE, *args.split())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--seed 0", "leave out --seed (it has 0)"),  # at its default
        ("--dtype auto --no-rung-accuracy", "leave out --dtype (it has auto), --rung-accuracy (it"),
        ("--name first --groups 1 --slots auto", "leave out --name (it has first), --groups (it"),
        (
            "--sampler tpe --pruner none",
            "leave out --sampler (it has ehvi), --pruner (it has front)",
        ),
        ("--num-trials 3 --max-steps 5", "leave out --max-steps (it has "),
        (
            "--space commonsense",
            "has the space arithmetic, found --space commonsense; leave it out",
        ),
    ],
)
def test_option_that_a_search_to_resume_does_not_take(args: str, message: str, begun: Path):
    before = (begun / "search.json").read_bytes()
    assert message in refusal("--resume", "first", *args.split())
    assert (begun / "search.json").read_bytes() == before


def test_fewer_trials_than_have_begun(begun: Path):
    (begun / "trials").mkdir()
    (begun / "trials" / "0003.safetensors").touch()
    message = refusal("--resume", "first", "--num-trials", "3")
    assert message.startswith("4 trials of search 'first' have begun, found --num-trials 3")


def test_trust_is_for_what_is_resumed():
    message = "--trust-code goes with --resume; a file that --space names is run"
    assert refusal(*SPACE, "--trust-code") == message


def test_more_validation_examples_than_a_task_has():
    message = refusal(*SPACE, "--validation-size", "10001")
    assert message == (
        "the built-in task arithmetic has 10,000 validation examples, found --validation-size "
        "10001; ask for that many at most"
    )


def test_a_failure_of_the_machine_says_how_to_go_on(begun: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(*_args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(search_run, "run_search", fails)
    done = call("search", "--resume", "first")
    assert done.status == 2
    assert done.errors.startswith("error: OSError: [Errno 28] No space left on device")
    assert " search --resume first; its traceback is in " in done.errors
