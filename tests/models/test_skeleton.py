"""A base can be counted from its configuration alone: no weights are there, none are asked for."""

import json
from pathlib import Path

import pytest
from transformers import MixtralConfig, OlmoeConfig

from perft.errors import BaseModelError
from perft.models.skeleton import skeleton, skeleton_of
from perft.models.source import BUILTIN


def test_the_builtin_base_has_its_parameters_on_the_meta_device() -> None:
    model = skeleton()
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    config = json.loads((BUILTIN / "config.json").read_text())
    assert model.config.hidden_size == config["hidden_size"]


@pytest.mark.parametrize(
    ("config", "billions"),
    [
        (OlmoeConfig(vocab_size=50304, intermediate_size=1024, pad_token_id=1), 6.919),
        (MixtralConfig(), 46.703),
    ],
    ids=["OLMoE-1B-7B", "Mixtral-8x7B"],
)
def test_published_bases_are_counted_from_a_folder_with_nothing_but_the_configuration(
    config: OlmoeConfig | MixtralConfig, billions: float, tmp_path: Path
) -> None:
    config.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    for model in (skeleton(str(tmp_path)), skeleton_of(config)):
        total = sum(parameter.numel() for parameter in model.parameters())
        assert total / 1e9 == pytest.approx(billions, abs=5e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "has no config.json"),
        ("{", "is not valid JSON"),
        ("[]", "is not a JSON object"),
        ('{"model_type": "llama"}', "is of type 'llama', which is not a supported MoE family"),
        ('{"model_type": "olmoe", "hidden_size": "wide"}', "no model can be built from"),
        ('{"model_type": "olmoe", "num_attention_heads": 0}', "no model can be built from"),
    ],
)
def test_a_folder_that_describes_no_base_is_refused(
    config: str | None, message: str, tmp_path: Path
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(BaseModelError, match=message):
        skeleton(str(tmp_path))


def test_what_is_neither_a_folder_nor_a_hub_id_is_refused() -> None:
    with pytest.raises(BaseModelError, match="neither a directory here nor a hub id"):
        skeleton("no/such/place")


def test_no_code_of_a_repository_is_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "olmoe", "auto_map": {"AutoConfig": "evil.Evil"}})
    )
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    assert skeleton(str(tmp_path)).config.model_type == "olmoe"
