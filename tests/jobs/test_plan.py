"""`jobs/plan.py` says how large a space's adapters are before anything is launched."""

import json
from pathlib import Path
from typing import Any

import pytest
from calling import call
from transformers import MixtralConfig, OlmoeConfig

from perft.config import adapter_from_flat
from perft.injection import AdapterHost
from perft.models.load import load_base
from perft.models.tiny import tiny_config


def plan(*options: str) -> dict[str, Any]:
    done = call("plan", "--space", "arithmetic", "--json", *options)
    assert done.status == 0, done.errors
    found: dict[str, Any] = json.loads(done.output)
    return found


@pytest.fixture
def olmoe_1b_7b(tmp_path: Path) -> str:
    OlmoeConfig(vocab_size=50304, intermediate_size=1024, pad_token_id=1).save_pretrained(tmp_path)
    return str(tmp_path)


def test_sizes_are_those_of_adapters_on_the_loaded_base() -> None:
    found = plan()
    host = AdapterHost(load_base().model)
    assert found["base_activated"] == host.base_activated
    assert found["refused"] == {}
    assert len(found["size_extremes"]) == 6
    for pair in found["size_extremes"].values():
        for corner in pair.values():
            size = host.size(adapter_from_flat(corner["config"]))
            assert (corner["trainable"], corner["activated"]) == (size.trainable, size.activated)
            assert corner["disk_bytes"] == 4 * size.trainable
            assert corner["optimizer_bytes"] == 2 * corner["disk_bytes"]
            assert corner["activated_percent"] == size.activated_percent
        assert pair["smallest"]["trainable"] < pair["largest"]["trainable"]


def test_olmoe_1b_7b_is_counted_as_published_without_its_weights(olmoe_1b_7b: str) -> None:
    found = plan("--base-model", olmoe_1b_7b)
    assert found["base_parameters"] / 1e9 == pytest.approx(6.919, abs=5e-4)
    assert found["base_activated"] / 1e9 == pytest.approx(1.282, abs=5e-4)
    qv, router = (found["size_extremes"][name]["smallest"] for name in ("lora-qv", "lora-router"))
    assert qv["config"]["rank"] == router["config"]["rank"] == 4
    assert qv["trainable"] / 1e6 == pytest.approx(0.524, abs=5e-4)
    assert qv["activated_percent"] == pytest.approx(0.041, abs=5e-4)
    assert router["trainable"] / 1e6 == pytest.approx(0.135, abs=5e-4)
    assert router["activated_percent"] == pytest.approx(0.011, abs=5e-4)


def test_mixtral_8x7b_is_counted_as_published_without_its_weights(tmp_path: Path) -> None:
    MixtralConfig().save_pretrained(tmp_path)
    found = plan("--base-model", str(tmp_path))
    assert found["base_parameters"] / 1e9 == pytest.approx(46.7, abs=0.05)
    assert found["base_activated"] / 1e9 == pytest.approx(12.88, abs=5e-3)
    # q_proj 4096 -> 4096 and v_proj 4096 -> 1024, rank 4, 32 layers.
    assert found["size_extremes"]["lora-qv"]["smallest"]["trainable"] == 4 * (3 * 4096 + 1024) * 32


def test_what_a_trial_costs_a_device_is_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan("--device-memory", "8")
    assert found["memory"].keys() == found["size_extremes"].keys()
    for variant, cost in found["memory"].items():
        trainable = found["size_extremes"][variant]["largest"]["trainable"]
        assert cost["base"] == 2 * found["base_parameters"]
        assert (cost["adapters"], cost["optimizer"]) == (4 * trainable, 8 * trainable)
        fixed = cost["base"] + cost["activations"] + cost["transient"]
        assert cost["fit"] == (8 * 10**9 - fixed) // (16 * trainable)
    monkeypatch.setenv("COLUMNS", "120")
    options = ("--space", "arithmetic", "--device-memory", "8", "--checkpointing")
    rows = [line.split() for line in call("plan", *options).output.splitlines()]
    fits = [row[-1] for row in rows if row and row[0] == "perft-r" and "/" not in row[1]]
    wanted = pytest.approx(found["memory"]["perft-r"]["fit"], rel=0.01)
    assert [int(fit.replace(",", "")) for fit in fits] == [wanted]


@pytest.mark.parametrize(("precision", "share"), [("nf4", 0.283), ("int8", 0.501)])
def test_a_quantised_base_takes_less(precision: str, share: float, tmp_path: Path) -> None:
    config = OlmoeConfig(
        vocab_size=50304, intermediate_size=1024, pad_token_id=1, num_hidden_layers=2
    )
    config.save_pretrained(tmp_path)
    options = ("--base-model", str(tmp_path), "--device-memory", "80", "--quantize", precision)
    found, outside = plan(*options), 2 * 2 * 50304 * 2048
    for cost in found["memory"].values():
        layers = (cost["base"] - outside) / (2 * found["base_parameters"] - outside)
        assert layers == pytest.approx(share, abs=2e-3)


def test_a_base_of_several_workers_is_not_quantised() -> None:
    done = call(
        "plan", "--space", "arithmetic", "--device-memory", "80", "--quantize", "int8",
        "--workers-per-group", "2",
    )  # fmt: skip
    assert "found 2 workers per group" in done.refusal


def test_a_base_whose_costs_cannot_be_known_says_so(tmp_path: Path) -> None:
    tiny_config("jetmoe").save_pretrained(tmp_path)
    found = plan("--base-model", str(tmp_path), "--device-memory", "8")
    assert found["memory"] == {}
    assert "looks at the values of tensors" in found["memory_unknown"]


def test_table_has_a_row_for_every_corner(
    olmoe_1b_7b: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    output = call("plan", "--space", "arithmetic", "--base-model", olmoe_1b_7b).output
    assert "6,919,161,856 parameters, one token uses 1,282,017,280" in output
    rows = [line.split() for line in output.splitlines()]
    assert [
        "lora-qv",
        "r4",
        "524,288",
        "0.041",
        "524,288",
        "0.041",
        "2.1",
        "MB",
        "4.2",
        "MB",
    ] in rows
    assert len([row for row in rows if row and row[0].startswith(("perft-", "lora-"))]) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--space", "arithmetics"), "did you mean 'arithmetic'"),
        (("--space", "arithmetic", "--base-model", "no/such/base"), "neither a directory here"),
    ],
)
def test_what_cannot_be_planned_is_refused(options: tuple[str, ...], message: str) -> None:
    assert message in call("plan", *options).refusal


def test_variants_that_the_base_cannot_have_are_named_with_the_reason(tmp_path: Path) -> None:
    """DeepSeek V4 looks some experts up by token id, and compresses its queries and values."""
    tiny_config("deepseek_v4").save_pretrained(tmp_path)
    options = ("--space", "design_space", "--base-model", str(tmp_path))
    found = json.loads(call("plan", *options, "--json").output)
    assert set(found["refused"]) == {"perft-e", "lora-qv"}
    assert {"perft-r", "perft-d", "perft-s", "lora-attention", "lora-experts"} <= set(
        found["size_extremes"]
    )
    output = call("plan", *options).output
    for variant, reason in found["refused"].items():
        assert f"{variant}: {reason}" in output
        assert "model.layers.0" in reason or "kv_proj" in reason


def test_dense_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    refusal = call("plan", "--space", "arithmetic", "--base-model", str(tmp_path)).refusal
    assert "is of type 'llama', which is not a supported MoE family" in refusal


def test_it_says_how_long_a_search_takes() -> None:
    found = plan("--seconds-per-step", "0.5", "--num-trials", "8", "--slots", "2")["time"]
    assert found["trials_at_once"] == 2
    assert found["max_steps"] == 200
    assert found["hours"] == [
        pytest.approx(8 * 62.5 / 2 * 0.5 / 3600),
        pytest.approx(8 * 200 / 14400),
    ]
    assert found["gpu_hours"] == found["hours"], "one GPU, unless told otherwise"
    done = call(
        "plan", "--space", "arithmetic", "--seconds-per-step", "2", "--gpus-per-worker", "0"
    )
    assert "20 trials of 200 steps, 4 at a time, 2 s per step: 1,250 to 4,000 steps" in done.output
    assert "GPU hours" not in done.output


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--slots", "3"], "--slots goes with --seconds-per-step; leave it out"),
        (["--num-trials", "3"], "--num-trials goes with --seconds-per-step or --like"),
        (["--seconds-per-step", "1", "--like", "first"], "a step's seconds are given twice"),
        (["--like", "nowhere"], "there is no search 'nowhere'"),
    ],
)
def test_options_of_time_that_cannot_be(
    options: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFT_HOME", str(tmp_path))
    assert reason in call("plan", "--space", "arithmetic", *options).refusal
