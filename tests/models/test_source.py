"""A base that cannot be used is refused before any weight is loaded, with a reason."""

import json
from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from models.odd_bases import edit, in_two_files
from perft.errors import BaseModelError
from perft.models import hub
from perft.models.families import FAMILIES
from perft.models.source import BUILTIN, base_directory, check_base, fingerprint, note_once


@pytest.fixture
def sharded(base: Path) -> Path:
    """The same base with its weights in two files and an index."""
    return in_two_files(base)


def assert_refused(base: Path | str, message: str) -> None:
    for look in (check_base, base_directory):
        with pytest.raises(BaseModelError, match=message):
            look(str(base))


def test_good_base_passes(base: Path):
    check_base(str(base))
    assert base_directory(str(base)) == base.resolve()


def test_sharded_base_passes(sharded: Path):
    check_base(str(sharded))


def test_no_base_named_means_the_builtin_one():
    check_base(None)
    assert base_directory(None) == BUILTIN


def test_directory_without_config_json_is_refused(base: Path):
    (base / "config.json").unlink()
    assert_refused(base, "has no config.json")


@pytest.mark.parametrize("content", ["{", "", "\x00"])
def test_damaged_config_json_is_refused_with_its_path(base: Path, content: str):
    (base / "config.json").write_text(content)
    assert_refused(base, r"config\.json is not valid JSON")


def test_config_json_that_is_no_object_is_refused(base: Path):
    (base / "config.json").write_text("[1]")
    assert_refused(base, r"config\.json is not a JSON object")


def test_dense_base_is_refused_with_its_type_and_the_supported_ones(base: Path):
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    assert_refused(base, r"of type 'llama', .* supported: .*mixtral, .*olmoe")


def test_base_without_weights_is_refused_naming_the_file(base: Path):
    (base / "model.safetensors").unlink()
    assert_refused(base, r"no weights: model\.safetensors is missing")


def test_pickled_weights_do_not_count(base: Path):
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    assert_refused(base, "only safetensors files are read, pickled weights are refused")


def test_missing_shard_is_refused_naming_it(sharded: Path):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    assert_refused(sharded, r"model-00002-of-00002\.safetensors is missing")


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"weight_map": 3}', '{"weight_map": []}'])
def test_damaged_index_is_refused_with_its_path(sharded: Path, content: str):
    (sharded / "model.safetensors.index.json").write_text(content)
    assert_refused(sharded, r"index\.json is damaged")


def test_base_without_tokenizer_is_refused(base: Path):
    (base / "tokenizer.json").unlink()
    assert_refused(base, r"has no tokenizer\.json")
    (base / "tokenizer.model").write_text("")
    check_base(str(base))


def test_hub_id_that_cannot_be_reached_is_refused_with_what_to_do():
    assert_refused(
        "nobody-here/no-such-base",
        "base 'nobody-here/no-such-base' is not a directory here and could not be fetched from "
        "the hub: .+; give an existing directory",
    )


@pytest.mark.parametrize("name", ["/no/such/place", "a/b/c", "what is this?", "built-in"])
def test_name_that_is_neither_directory_nor_hub_id_is_refused(name: str):
    assert_refused(name, "is neither a directory here nor a hub id")


def test_hub_base_is_checked_once_it_is_here(base: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "hf_hub_download", lambda *_: str(base / "config.json"))
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: str(base))
    assert base_directory("owner/name") == base
    (base / "model.safetensors").unlink()
    with pytest.raises(BaseModelError, match=r"model\.safetensors is missing"):
        base_directory("owner/name")


def test_hub_that_breaks_off_is_reported_as_a_missing_base(
    base: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("connection lost\nand more")

    monkeypatch.setattr(hub, "hf_hub_download", lambda *_: str(base / "config.json"))
    monkeypatch.setattr(hub, "snapshot_download", broken)
    with pytest.raises(BaseModelError, match="could not be fetched from the hub: connection lost;"):
        base_directory("owner/name")


def test_fingerprint_is_that_of_the_content_not_of_the_place(base: Path, saved: Path):
    assert fingerprint(base) == fingerprint(saved)
    assert len(fingerprint(base)) == 64


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("where", [0, -1])
def test_fingerprint_changes_with_each_file_that_decides_answers(base: Path, name, where):
    before = fingerprint(base)
    content = bytearray((base / name).read_bytes())
    content[where] ^= 1
    (base / name).write_bytes(bytes(content))
    assert fingerprint(base) != before


def test_fingerprint_does_not_change_with_other_files(base: Path):
    before = fingerprint(base)
    (base / "README.md").write_text("hello")
    (base / "adapter_model.safetensors").write_text("hello")
    assert fingerprint(base) == before


@pytest.mark.parametrize("name", ["./no-such", "../no-such/", "~/no-such", "owner/name/", "", " "])
def test_a_place_that_is_not_there_is_no_hub_id(name: str):
    assert_refused(name, "is neither a directory here nor a hub id")


def test_a_file_is_refused_with_what_is_wanted(base: Path):
    assert_refused(base / "config.json", "is a file, wanted the directory that it is in")


@pytest.mark.parametrize("form", ["{}", "{}/", "./base", "~/base", "base"])
def test_a_directory_may_be_named_in_any_way(base: Path, form: str, monkeypatch):
    monkeypatch.setenv("HOME", str(base.parent))
    monkeypatch.chdir(base.parent)
    check_base(form.format(base))
    assert base_directory(form.format(base)) == base.resolve()


def test_a_lora_in_the_directory_is_left_out_and_said_so(base: Path, capsys):
    (base / "adapter_config.json").write_text("{}")
    note_once.cache_clear()
    check_base(str(base))
    base_directory(str(base))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "has a LoRA in its directory (adapter_config.json), which is left out" in said


def test_a_directory_of_a_lora_alone_is_refused_as_that(base: Path):
    (base / "config.json").rename(base / "adapter_config.json")
    assert_refused(base, "has no config.json, but a LoRA .*: name the base that it was trained on")


@pytest.mark.parametrize("value", [None, 3, ["mixtral"]])
def test_a_type_that_is_no_name_is_refused(base: Path, value):
    assert_refused(edit(base, model_type=value), "wanted the name of an MoE family")


def test_code_of_a_repository_is_refused_by_name(base: Path):
    auto = {"AutoConfig": "theirs.C", "AutoModelForCausalLM": "theirs.M"}
    assert_refused(edit(base, model_type="theirs", auto_map=auto), "code .* is never run")
    check_base(str(edit(base, model_type="mixtral")))


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("ernie4_5_vl_moe", "experts for text and others for images"),
        ("qwen3_omni_moe", "thinks and talks"),
        ("step3p7", "sees or hears beside an MoE text model"),
        ("qwen3_vl_moe_text", "the text part of a 'qwen3_vl_moe'"),
        ("step3p5", "the text part of a 'step3p7'"),
    ],
)
def test_models_that_see_are_refused_with_the_reason(base: Path, model_type: str, reason: str):
    assert_refused(edit(base, model_type=model_type), reason)


def test_a_wrapper_of_another_kind_is_refused_with_the_reason(base: Path):
    edit(base, model_type="internvl", text_config={"model_type": "qwen3_moe"})
    assert_refused(base, "around a text model of type 'qwen3_moe': .* supported by itself")


def test_models_that_see_around_a_supported_text_model_are_trained():
    seeing = {name for name, family in FAMILIES.items() if family.multimodal}
    assert {"qwen3_vl_moe", "glm4v_moe", "kimi_k25", "aria"} <= seeing
