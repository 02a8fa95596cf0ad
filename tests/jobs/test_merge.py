"""`perft merge`: a checkpoint of transformers that answers as base and adapter do."""

import json
from pathlib import Path

import pytest
import torch
from calling import call
from transformers import AutoModelForCausalLM, AutoTokenizer

from contracts.adapters import ONE_OF_EACH, add_random, token_ids
from contracts.bases import save_base, tiny_base
from models.odd_bases import fp8_base, mxfp4_base
from perft.checkpoint import save_adapter
from perft.injection import AdapterHost
from perft.models.load import load_base

LORA = ("lora-attention", "lora-router", "lora-experts")


def logits_of(folder: Path, dtype: torch.dtype) -> torch.Tensor:
    """What transformers alone makes of a checkpoint."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, experts_implementation="eager"
    )
    with torch.no_grad():
        return model.eval()(token_ids(2)).logits


def expected(base: Path, name: str, folder: Path, dtype: str) -> torch.Tensor:
    """The logits of base and adapter, whose folder is written."""
    host = AdapterHost(load_base(str(base), dtype=dtype, experts="eager").model)
    add_random(host, name, ONE_OF_EACH[name])
    save_adapter(host, name, folder)
    host.activate(name)
    with torch.no_grad():
        return host.model(token_ids(2)).logits


@pytest.mark.parametrize(
    ("family", "name"),
    [*(("olmoe", name) for name in LORA), ("gpt_oss", "lora-experts")],
)
def test_transformers_alone_answers_as_base_and_adapter(
    family: str, name: str, tmp_path: Path
) -> None:
    base = save_base(tiny_base(family, torch.float64), tmp_path / "base")
    wanted = expected(base, name, tmp_path / "adapter", "float64")
    done = call(
        "merge", "--adapter", str(tmp_path / "adapter"), "--base-model", str(base),
        "--out", str(tmp_path / "merged"), "--json",
    )  # fmt: skip
    assert done.status == 0, done.errors
    assert json.loads(done.output)["dtype"] == "float64"
    found = logits_of(tmp_path / "merged", torch.float64)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)
    assert (found - logits_of(base, torch.float64)).abs().max() > 1e-3
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").eos_token == "w1"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("quantised", [lambda path: fp8_base(path, "qwen3_moe"), mxfp4_base])
def test_a_quantised_base_is_merged_as_what_it_becomes(quantised, tmp_path: Path) -> None:
    stored, _ = quantised(tmp_path)
    wanted = expected(Path(stored), "lora-experts", tmp_path / "adapter", "float32")
    done = call(
        "merge", "--adapter", str(tmp_path / "adapter"), "--base-model", str(stored),
        "--out", str(tmp_path / "merged"), "--dtype", "float32",
    )  # fmt: skip
    assert done.status == 0, done.errors
    assert "quantization_config" not in json.loads((tmp_path / "merged/config.json").read_text())
    found = logits_of(tmp_path / "merged", torch.float32)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_what_cannot_be_merged_is_refused_before_the_base_is_read(tmp_path: Path) -> None:
    host = AdapterHost(tiny_base("olmoe"))
    for name in ("perft-r", "lora-qv"):
        add_random(host, name, ONE_OF_EACH[name])
        save_adapter(host, name, tmp_path / name)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for adapter, out, words in (
        ("perft-r", "new", "perft-r runs beside each MoE block and changes no weight"),
        ("lora-qv", "full", "is not empty; choose an empty or new folder"),
        ("lora-qv", "full/file", "is a file"),
    ):
        done = call(
            "merge", "--adapter", str(tmp_path / adapter), "--out", str(tmp_path / out),
            "--base-model", "built-in",
        )  # fmt: skip
        assert (done.status, done.errors.count("\n")) == (2, 1)
        assert words in done.errors
    assert not (tmp_path / "new").exists()
