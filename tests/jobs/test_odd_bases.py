"""Commands on bases in odd forms: one line and status 2, or the base as it should be."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from calling import Done, call, write_data
from safetensors.torch import load_file

from models.odd_bases import edit, rewrite
from perft.models.source import BUILTIN, note_once

SHORT = ("--variant", "perft-s", "--rank", "2", "--max-steps", "2", "--validation-size", "4")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    note_once.cache_clear()
    return Path(shutil.copytree(BUILTIN, tmp_path / "base"))


def train(base: Path | str, data: str, *more: str) -> Done:
    options = (*SHORT, "--data", data, "--base-model", str(base), *more)
    return call("train", "--space", "arithmetic", *options)


def test_a_text_beyond_the_embedding_is_refused_with_its_row(base: Path, data: str, tmp_path: Path):
    tensors = load_file(base / "model.safetensors")
    cut = {k: t[:500].contiguous() if len(t) == 820 else t for k, t in tensors.items()}
    rewrite(base, cut)
    edit(base, vocab_size=500)
    done = train(base, data, "--out", str(tmp_path / "out"))
    assert "math_data.json, row 1 has the token " in done.refusal
    assert "embeddings for ids up to 499 only" in done.refusal
    assert not (tmp_path / "out").exists()


def test_weights_that_do_not_fit_are_refused(base: Path, data: str):
    refusal = train(edit(base, vocab_size=832), data).refusal
    assert "is of shape [820, 96], and config.json asks for [832, 96]" in refusal


def test_a_format_that_is_not_read_is_refused_by_every_command(base: Path, data: str):
    edit(base, quantization_config={"quant_method": "gptq", "bits": 4})
    named = ("--space", "arithmetic", "--base-model", str(base))
    for done in (train(base, data), call("plan", *named), call("search", *named, "--data", data)):
        assert "is quantised with gptq (4 bits)" in done.refusal


def test_what_the_user_should_know_is_said_once(base: Path, data: str):
    (base / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    done = train(base, data)
    assert done.status == 0, done.errors
    assert done.errors.count("note: ") == 1
    assert "has a LoRA in its directory" in done.errors


def test_a_tilde_is_the_users_home_in_every_option(base: Path, data: str, monkeypatch):
    monkeypatch.setenv("HOME", str(base.parent))
    shutil.copytree(data, base.parent / "data")
    done = train("~/base", "~/data", "--out", "~/adapter")
    assert done.status == 0, done.errors
    assert (base.parent / "adapter" / "adapter_config.json").is_file()
    assert torch.is_tensor(
        load_file(base.parent / "adapter" / "adapter_model.safetensors").popitem()[1]
    )
