"""The shipped base and its tokenizer, and the command that builds them again."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from perft.models.load import load_base
from perft.models.pretrain.architectures import ARCHITECTURES
from perft.models.pretrain.folder import write_base
from perft.models.pretrain.trainer import PretrainConfig, build_model, pretrain
from perft.models.source import BUILTIN, is_tiny
from perft.synthetic.world import PEOPLE, THINGS
from perft.tasks.word_problems import BAGS, DAYS, DROPS, GAINS, arithmetic

_MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
TOKENIZER = AutoTokenizer.from_pretrained(BUILTIN)


def test_folder_is_small_and_holds_no_code() -> None:
    files = list(BUILTIN.iterdir())
    assert {path.name for path in files} >= {*_MODEL_FILES, "README.md"}
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}
    assert sum(path.stat().st_size for path in files) < 8_000_000


@given(st.text())
def test_any_text_survives_the_tokenizer(text: str) -> None:
    ids = TOKENIZER(text)["input_ids"]
    assert TOKENIZER.decode(ids) == text


@given(st.integers(min_value=0), st.sampled_from(["", " ", "$", "x", "\n"]))
def test_every_digit_is_a_token(number: int, before: str) -> None:
    tokens = TOKENIZER.convert_ids_to_tokens(TOKENIZER(f"{before}{number}.")["input_ids"])
    digits = [token for token in tokens if any(char.isdigit() for char in token)]
    assert "".join(token[-1] for token in digits) == str(number)


def test_words_of_the_task_are_single_tokens() -> None:
    verbs = [word for phrase in (*GAINS, *DROPS, "eats", "breaks") for word in phrase.split()]
    words = [person.name for person in PEOPLE] + [*THINGS, *verbs, *BAGS, *DAYS]
    assert [word for word in words if len(TOKENIZER(f" {word}")["input_ids"]) != 1] == []


def test_pads_on_the_right_and_adds_nothing() -> None:
    batch = TOKENIZER(["7 + 5", "7"], padding=True)
    assert batch["attention_mask"][1] == [1, 0, 0]
    assert batch["input_ids"][1][1:] == [TOKENIZER.pad_token_id] * 2
    assert TOKENIZER.bos_token_id is None
    assert TOKENIZER.eos_token_id not in (None, TOKENIZER.pad_token_id)


@torch.no_grad()
def test_base_alone_solves_less_than_a_quarter() -> None:
    model = AutoModelForCausalLM.from_pretrained(BUILTIN, dtype=torch.float32).eval()
    split = arithmetic(validation_size=64, seed=0).validation
    prompts = TOKENIZER(
        [example.prompt for example in split.examples],
        padding=True,
        padding_side="left",
        return_tensors="pt",
    )
    output = model.generate(**prompts, max_new_tokens=split.scorer.max_new_tokens, do_sample=False)
    texts = TOKENIZER.batch_decode(
        output[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True
    )
    right = sum(
        split.scorer.is_correct(text, example.answer)
        for text, example in zip(texts, split.examples, strict=True)
    )
    assert right / len(split.examples) < 0.25


def settings(path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(path.read_text("utf-8"))
    found.pop("transformers_version", None)
    return found


def test_command_rebuilds_the_shipped_configuration_and_tokenizer(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "perft.models.pretrain", "--out", str(tmp_path)]
    subprocess.run([*command, "--steps", "1", "--seed", "0"], check=True, capture_output=True)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in BUILTIN.iterdir()}
    assert "--seed 0 --steps 1" in (tmp_path / "README.md").read_text("utf-8")
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert settings(tmp_path / file) == settings(BUILTIN / file)


def test_same_seed_trains_the_same_weights() -> None:
    config = PretrainConfig(seed=3, steps=2, batch_size=2, warmup_steps=1)
    losses: list[float] = []
    weights = []
    for _ in range(2):
        model = build_model(TOKENIZER, config)
        pretrain(model, TOKENIZER, config, on_step=lambda _, loss: losses.append(loss))
        weights.append(model.state_dict())
    assert losses[:2] == losses[2:]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tiny_bases_of_all_architectures_are_bases_like_the_built_in_one(
    architecture: str, tmp_path: Path
) -> None:
    config = PretrainConfig(architecture=architecture, steps=2, batch_size=2, warmup_steps=1)
    model = build_model(TOKENIZER, config)
    pretrain(model, TOKENIZER, config, on_step=lambda _step, _loss: None)
    write_base(tmp_path, model, TOKENIZER, config)
    assert is_tiny(str(tmp_path))
    base = load_base(str(tmp_path))
    config_of = base.model.config
    assert (config_of.hidden_size, config_of.num_hidden_layers) == (96, 3)
    assert torch.equal(base.model.lm_head.weight, model.lm_head.weight.float())


def test_a_base_that_perft_has_not_pretrained_is_not_tiny(tmp_path: Path) -> None:
    for name in _MODEL_FILES:
        shutil.copy(BUILTIN / name, tmp_path)
    assert is_tiny(None)
    assert is_tiny(str(BUILTIN))
    assert not is_tiny(str(tmp_path))
    assert not is_tiny("owner/name")
