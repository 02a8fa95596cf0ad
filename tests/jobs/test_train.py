"""`jobs/train.py`: one trial without a search, and what it refuses."""

import json
import re
import shutil
from pathlib import Path

import pytest
from calling import Done, call, write_data

from perft.config import fields_of
from perft.models.source import BUILTIN

SHORT = ("--max-steps", "8", "--validation-size", "4")
ROUTED = "--variant perft-r --rank 2 --num-experts 4 --top-k 2"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_data(tmp_path_factory.mktemp("data"))


def train(options: str, *more: str) -> Done:
    return call("train", "--space", "arithmetic", *options.split(), *more)


def test_a_trial_reports_at_every_rung_and_is_scored(data: str, tmp_path: Path):
    out = tmp_path / "made" / "adapter"
    done = train(ROUTED, *SHORT, "--data", data, "--lr", "5e-3", "--out", str(out))
    assert (done.status, done.errors) == (0, "")
    assert "perft-r: " in done.output
    assert re.findall(r"^step (\d+): train loss [\d.]+, val loss [\d.]+", done.output, re.M) == [
        "1", "2", "4", "8",
    ]  # fmt: skip
    assert "on 4 validation examples" in done.output
    assert re.search(r"^test split AddSub: \d/3, ", done.output, re.M)
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["perft"]["adapter"]["top_k"] == 2
    assert config["perft"]["trained_on"]["data"] == f"./{Path(data).name}"
    assert (out / "adapter_model.safetensors").stat().st_size > 0


def test_every_setting_of_an_adapter_has_an_option(data: str, tmp_path: Path):
    options = (
        "--form parallel --activation gelu --normalize-top-k --balance 0.05 --base-balance 0.02 "
        "--layers 0,1 --dropout 0.1 --init perft"
    )
    done = train(f"{ROUTED} {options}", *SHORT, "--data", data, "--out", str(tmp_path))
    assert done.status == 0, done.errors
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["perft"]["adapter"] == {
        "variant": "perft-r", "rank": 2, "num_experts": 4, "top_k": 2, "form": "parallel",
        "activation": "gelu", "normalize_top_k": True, "balance": 0.05, "base_balance": 0.02,
        "layers": "0,1", "alpha": None, "dropout": 0.1, "init": "perft",
    }  # fmt: skip
    assert set(config["perft"]["adapter"]) == fields_of("perft-r") | {"variant"}


def test_activation_checkpointing_changes_no_number(data: str):
    plain, checkpointed = (
        train(ROUTED, *SHORT, "--data", data, *options) for options in ((), ("--checkpointing",))
    )
    numbers = [re.sub(r", [\d,]+ tokens/s", "", done.output) for done in (plain, checkpointed)]
    assert "step 8: train loss" in numbers[0]
    assert numbers[0] == numbers[1]


def test_experts_are_computed_as_asked_for(data: str):
    ours, loop = (
        train(ROUTED, *SHORT, "--data", data, *options) for options in ((), ("--experts", "eager"))
    )
    losses = [
        [float(loss) for loss in re.findall(r"loss ([\d.]+)", done.output)] for done in (ours, loop)
    ]
    assert len(losses[0]) >= 2
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)


@pytest.mark.parametrize("precision", ["nf4", "mxfp4", "int8", "fp8"])
def test_a_quantised_base_is_trained_on_and_noted(data: str, precision: str, tmp_path: Path):
    folder, option = tmp_path / "adapter", ("--quantize", precision)
    done = train(ROUTED, *SHORT, "--data", data, *option, "--out", str(folder))
    assert done.status == 0, done.errors
    assert (
        json.loads((folder / "adapter_config.json").read_text())["perft"]["quantize"] == precision
    )
    again = ("evaluate", "--adapter", str(folder), "--json")
    same, other = call(*again, *option), call(*again)
    assert (same.status, same.errors) == (0, "")
    assert f"{folder} was trained on a base in {precision}: --quantize {precision}" in other.errors
    shares = re.findall(r"AddSub: (\d+)/(\d+)", done.output)
    (score,) = [s for s in json.loads(same.output)["scores"] if s["split"] == "AddSub"]
    assert shares == [(str(score["correct"]), str(score["scored"]))]


@pytest.mark.parametrize("name", ["sonicmoe", "deepgemm", "grouped"])
def test_experts_that_cannot_be_computed_so(data: str, name: str, tmp_path: Path):
    done = train(ROUTED, *SHORT, "--data", data, "--experts", name, "--out", str(tmp_path / "new"))
    assert name in done.refusal
    assert not (tmp_path / "new").exists()


def test_accuracy_at_rungs_can_be_left_out(data: str):
    done = train(ROUTED, *SHORT, "--data", data, "--no-rung-accuracy")
    assert done.status == 0, done.errors
    lines = [line for line in done.output.splitlines() if line.startswith("step ")]
    assert ["accuracy" in line for line in lines] == [False, False, False, True]


@pytest.mark.parametrize("variant", ["lora-attention", "lora-experts"])
def test_lora_baselines_are_trained_and_written_for_peft(variant: str, data: str, tmp_path: Path):
    options = f"--variant {variant} --rank 2 --layers last:1"
    done = train(options, *SHORT, "--data", data, "--out", str(tmp_path))
    assert done.status == 0, done.errors
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "LORA"
    assert json.loads((tmp_path / "perft.json").read_text())["adapter"]["layers"] == "last:1"


def test_the_same_command_gives_the_same_adapter(data: str, tmp_path: Path):
    made = []
    for out in (tmp_path / "one", tmp_path / "two"):
        assert train(ROUTED, *SHORT, "--data", data, "--out", str(out)).status == 0
        made.append((out / "adapter_model.safetensors").read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--variant perft-q --rank 2", "unknown variant 'perft-q'; did you mean 'perft-"),
        ("--variant lora --rank 2", "unknown variant 'lora'"),
        (
            "--variant perft-r --rank 2 --num-experts 2 --top-k 4",
            "top_k must be at most num_experts, found top_k=4 with num_experts=2",
        ),
        ("--variant perft-r --rank 2", "variant perft-r needs num_experts, top_k"),
        ("--variant perft-s --rank 2 --num-experts 4", "perft-s has no --num-experts; leave it"),
        ("--variant lora-qv --rank 2 --balance 0.1", "lora-qv has no --balance; leave it"),
        ("--variant lora-qv --rank 2 --layers first", "layers must be "),
        ("--variant perft-s --rank 2 --layers last:99", "layers='last:99' does not fit this base"),
        ("--variant perft-s --rank 2 --form parallel --alpha 3", 'form "parallel" has no alpha'),
        ("--variant perft-s --rank 2 --activation gelu", 'form "lora" has no activation'),
        ("--variant perft-s --rank 2 --activation silu", 'form "lora" has no activation'),
        ("--variant lora-qv --rank 2 --form lora", "lora-qv has no --form; leave it out"),
        ("--variant perft-s --rank 0", "'--rank': wanted at least 1, found 0"),
        ("--variant perft-s --rank -1", "'--rank': wanted at least 1, found -1"),
        ("--variant perft-s --rank 2 --lr 0", "lr must be a positive number, found 0"),
        ("--variant perft-s --rank 2 --lr nan", "wanted at most 10, found nan"),
        ("--variant perft-s --rank 2 --init zero", "unknown init 'zero'"),
        ("--variant perft-s --rank 2 --dropout 1", "dropout must be in [0, 1), found 1.0"),
        ("--variant perft-s --rank 2 --max-steps 0", "wanted at least 1, found 0"),
        ("--variant perft-s --rank 2 --base-model /no/base", "base '/no/base' is neither a dir"),
        ("--variant perft-s --rank 2 --data /no/data", "/no/data is not a directory"),
        ("--space arithmetik --variant perft-s --rank 2", "did you mean 'arithmetic'?"),
    ],
)
def test_what_cannot_work_is_refused(options: str, message: str):
    assert message in train(options).refusal


def test_base_of_another_family_is_refused(tmp_path: Path):
    base = shutil.copytree(BUILTIN, tmp_path / "base")
    (base / "config.json").write_text(json.dumps({"model_type": "llama"}))
    message = train("--variant perft-s --rank 2", "--base-model", str(base)).refusal
    assert "is of type 'llama', which is not a supported MoE family" in message


def test_place_that_cannot_be_written_is_refused_before_training(tmp_path: Path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "adapter"
    message = train("--variant perft-s --rank 2", "--out", str(out)).refusal
    assert message.startswith(f"cannot write {out}/")


SPACE_OF_ABSURD_RATES = """
import dataclasses
from search_spaces import arithmetic

def training(builtin):
    return dataclasses.replace(arithmetic.training(builtin), lr=1e38)

SPACE = dataclasses.replace(arithmetic.SPACE, training=training)
"""


def test_loss_that_is_not_finite_is_one_line(data: str, tmp_path: Path):
    space = tmp_path / "space.py"
    space.write_text(SPACE_OF_ABSURD_RATES)
    done = train("--variant perft-s --rank 2 --space", str(space), *SHORT, "--data", data)
    assert done.status == 2
    assert done.errors.startswith("error: the trial failed: the ")
    assert "lower --lr" in done.errors
    assert done.errors.count("\n") == 1
