"""An adapter's folder gives back the adapter bit for bit, in HF PEFT's layout where it has one."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from transformers import OlmoeConfig, OlmoeForCausalLM

from contracts.adapters import EVERY, SIX, add_random, token_ids
from contracts.bases import FAMILIES, tiny_base
from perft.checkpoint import adapter_files, load_adapter, read_adapter, save_adapter
from perft.config import AdapterConfig, LoraQVConfig, SingleConfig
from perft.errors import AdapterError, StorageError
from perft.injection import AdapterHost
from perft.tasks import TaskSource, from_record, to_record

SOURCE = TaskSource(name="arithmetic", validation_size=7)


def files(host: AdapterHost, name: str) -> dict[str, bytes]:
    return adapter_files(
        host.configs[name],
        host.tensors(name),
        base="owner/base",
        fingerprint="f" * 8,
        trained_on=to_record(SOURCE, "d" * 64),
    )


def saved(folder: Path, config: AdapterConfig, family: str = "olmoe") -> AdapterHost:
    """A host with a random adapter "a" of `config`, saved to `folder`."""
    host = AdapterHost(tiny_base(family))
    add_random(host, "a", config)
    for name, data in files(host, "a").items():
        (folder / name).write_bytes(data)
    return host


def settings_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "adapter_config.json").read_text())


@pytest.mark.parametrize("variant", EVERY)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_read_is_what_was_written(family: str, variant: str, tmp_path: Path) -> None:
    host = saved(tmp_path, EVERY[variant], family)
    config, tensors, settings = read_adapter(tmp_path)
    assert config == EVERY[variant]
    written = host.tensors("a")
    assert tensors.keys() == written.keys()
    for key, tensor in tensors.items():
        assert torch.equal(tensor, written[key]), key
        assert tensor.dtype == torch.float64
    assert settings["perft"]["base_fingerprint"] == "f" * 8
    assert from_record(settings["perft"]["trained_on"], None, tmp_path) == SOURCE


@pytest.mark.parametrize("variant", SIX)
@torch.no_grad()
def test_logits_of_a_loaded_adapter_are_those_in_memory(variant: str, tmp_path: Path) -> None:
    host = saved(tmp_path, SIX[variant])
    ids = token_ids(3)
    host.activate("a")
    expected = host.model(ids).logits
    model = tiny_base("olmoe")
    alone = model(ids).logits
    loaded = load_adapter(model, tmp_path)
    assert torch.equal(model(ids).logits, expected)
    loaded.activate(None)
    assert torch.equal(model(ids).logits, alone)
    assert not torch.equal(alone, expected)


@pytest.mark.parametrize("variant", SIX)
def test_keys_are_the_paths_of_the_base_under_the_prefix_of_peft(
    variant: str, tmp_path: Path
) -> None:
    host = saved(tmp_path, SIX[variant])
    keys = set(safetensors.torch.load_file(tmp_path / "adapter_model.safetensors"))
    modules = dict(host.model.named_modules())
    assert len(keys) == len(host.tensors("a"))
    for key in keys:
        prefix, _, rest = key.partition("base_model.model.")
        assert prefix == ""
        path = rest.removesuffix(".weight").rpartition(".")[0].removesuffix(".adapters")
        assert path in modules, key


def test_lora_on_q_and_v_is_a_folder_of_peft(tmp_path: Path) -> None:
    saved(tmp_path, LoraQVConfig(rank=3, alpha=5.0, dropout=0.25))
    shapes = {
        key: tuple(tensor.shape)
        for key, tensor in safetensors.torch.load_file(
            tmp_path / "adapter_model.safetensors"
        ).items()
    }
    model = tiny_base("olmoe")
    expected = {}
    for layer in range(2):
        for name in ("q_proj", "v_proj"):
            path = f"model.layers.{layer}.self_attn.{name}"
            weight = model.get_submodule(path).weight
            key = f"base_model.model.{path}"
            expected[f"{key}.lora_A.weight"] = (3, weight.shape[1])
            expected[f"{key}.lora_B.weight"] = (weight.shape[0], 3)
    assert shapes == expected
    settings = settings_of(tmp_path)
    assert settings["peft_type"] == "LORA"
    assert settings["task_type"] == "CAUSAL_LM"
    assert settings["target_modules"] == sorted(
        f"model.layers.{layer}.self_attn.{name}"
        for layer in range(2)
        for name in ("q_proj", "v_proj")
    )
    assert settings["r"] == 3
    assert settings["lora_alpha"] == pytest.approx(5.0)
    assert settings["lora_dropout"] == 0.25
    assert settings["bias"] == "none"
    assert settings["inference_mode"] is True
    assert settings["base_model_name_or_path"] == "owner/base"


def test_lora_on_the_router_names_the_parameter_it_adds_to(tmp_path: Path) -> None:
    host = saved(tmp_path, SIX["lora-router"])
    settings = settings_of(tmp_path)
    assert settings["peft_type"] == "LORA"
    assert settings["target_modules"] == []
    assert len(settings["target_parameters"]) == 2
    for target in settings["target_parameters"]:
        assert host.model.get_parameter(target).dim() == 2
    keys = set(safetensors.torch.load_file(tmp_path / "adapter_model.safetensors"))
    assert "base_model.model.model.layers.0.mlp.gate.lora_A.weight" in keys


@pytest.mark.parametrize("variant", ["perft-r", "perft-e", "perft-d", "perft-s"])
def test_perft_variants_are_of_a_type_of_their_own(variant: str, tmp_path: Path) -> None:
    saved(tmp_path, SIX[variant])
    assert settings_of(tmp_path)["peft_type"] == "PERFT"
    keys = set(safetensors.torch.load_file(tmp_path / "adapter_model.safetensors"))
    assert "base_model.model.model.layers.1.mlp.adapters.perft_down" in keys


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_folder_without_one_of_its_files_is_refused(missing: str, tmp_path: Path) -> None:
    saved(tmp_path, SIX["perft-s"])
    (tmp_path / missing).unlink()
    with pytest.raises(AdapterError, match=f"has no {missing}"):
        read_adapter(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="is no adapter folder"):
        read_adapter(tmp_path / "nowhere")


def rewrite(folder: Path, change: Any) -> None:
    settings = settings_of(folder)
    change(settings)
    (folder / "adapter_config.json").write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("perft"), "was not written by perft"),
        (lambda s: s["perft"].pop("adapter"), "was not written by perft"),
        (lambda s: s["perft"]["adapter"].update(variant="perft-x"), "unknown variant 'perft-x'"),
        (lambda s: s["perft"]["adapter"].update(rank=0), "rank must be"),
        (lambda s: s["perft"].update(adapter=7), "was not written by perft"),
        (lambda s: s.update(perft=None), "was not written by perft"),
        (lambda s: s.update(peft_type="LORA"), "there is no perft.json beside it"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(
    change: Any, message: str, tmp_path: Path
) -> None:
    saved(tmp_path, SIX["perft-s"])
    rewrite(tmp_path, change)
    with pytest.raises(AdapterError, match=message):
        read_adapter(tmp_path)


@pytest.mark.parametrize("config", [b"", b"[]", b"{", b"\xff\xfe", b"null"])
def test_a_configuration_that_is_no_json_object_is_refused(config: bytes, tmp_path: Path) -> None:
    saved(tmp_path, SIX["perft-s"])
    (tmp_path / "adapter_config.json").write_bytes(config)
    with pytest.raises(AdapterError, match="damaged"):
        read_adapter(tmp_path)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_weights_cut_short_are_refused(keep: int, tmp_path: Path) -> None:
    saved(tmp_path, SIX["perft-s"])
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(AdapterError, match="damaged"):
        read_adapter(tmp_path)


def test_a_configuration_that_does_not_fit_the_weights_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, SIX["perft-s"])
    rewrite(tmp_path, lambda s: s["perft"]["adapter"].update(rank=9))
    with pytest.raises(AdapterError, match="does not fit this base"):
        load_adapter(tiny_base("olmoe"), tmp_path)


def test_a_base_of_another_size_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    saved(tmp_path, SingleConfig(rank=2))
    small = OlmoeForCausalLM(
        OlmoeConfig(
            vocab_size=50, hidden_size=8, intermediate_size=8, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, num_experts=4, num_experts_per_tok=2,
        )
    ).eval()  # fmt: skip
    keys = set(small.state_dict())
    with pytest.raises(AdapterError, match="this base needs"):
        load_adapter(small, tmp_path)
    assert set(small.state_dict()) == keys


def test_another_number_of_layers_is_refused(tmp_path: Path) -> None:
    host = saved(tmp_path, SIX["perft-s"])
    weights = tmp_path / "adapter_model.safetensors"
    tensors = safetensors.torch.load_file(weights)
    deeper = {
        **tensors,
        **{k.replace("layers.1", "layers.2"): t.clone() for k, t in tensors.items()},
    }
    safetensors.torch.save_file(deeper, weights)
    with pytest.raises(AdapterError, match="has no place for"):
        load_adapter(tiny_base("olmoe"), tmp_path)
    shallower = {k: t for k, t in tensors.items() if "layers.1" not in k}
    safetensors.torch.save_file(shallower, weights)
    with pytest.raises(AdapterError, match="has no tensor"):
        load_adapter(tiny_base("olmoe"), tmp_path)
    assert len(host.blocks) == 2


@pytest.mark.parametrize("variant", SIX)
def test_a_saved_adapter_is_read_back_and_replaces_an_earlier_one(
    variant: str, tmp_path: Path
) -> None:
    host = AdapterHost(tiny_base("olmoe"))
    for name in ("perft-s", "lora-qv", variant):
        if name not in host.configs:
            add_random(host, name, SIX[name])
        assert save_adapter(host, name, tmp_path / "made" / "here") == tmp_path / "made" / "here"
    config, tensors, settings = read_adapter(tmp_path / "made" / "here")
    assert config == SIX[variant]
    assert tensors.keys() == host.tensors(variant).keys()
    assert all(torch.equal(t, host.tensors(variant)[key]) for key, t in tensors.items())
    assert settings["perft"].keys() == {"adapter"}


def test_saving_says_what_went_wrong(tmp_path: Path) -> None:
    host = AdapterHost(tiny_base("olmoe"))
    host.add("mine", SIX["perft-s"])
    with pytest.raises(AdapterError, match="unknown adapter 'mime'; did you mean 'mine'"):
        save_adapter(host, "mime", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="choose another folder"):
        save_adapter(host, "mine", tmp_path / "file")


@torch.no_grad()
def test_further_adapters_are_loaded_onto_the_same_host(tmp_path: Path) -> None:
    saved(tmp_path, SIX["perft-r"])
    model, ids = tiny_base("olmoe"), token_ids(2)
    host = load_adapter(model, tmp_path, name="first")
    first = model(ids).logits
    assert load_adapter(host, tmp_path, name="second") is host
    assert host.active == "second"
    assert torch.equal(model(ids).logits, first)
    with pytest.raises(AdapterError, match="of another AdapterHost"):
        load_adapter(model, tmp_path, name="third")
    assert list(host.configs) == ["first", "second"]
    assert torch.equal(model(ids).logits, first)


def test_a_base_in_a_folder_is_named_without_it(tmp_path: Path) -> None:
    host = AdapterHost(tiny_base("olmoe"))
    add_random(host, "a", EVERY["perft-s"])
    written = adapter_files(host.configs["a"], host.tensors("a"), base=str(tmp_path))
    settings = json.loads(written["adapter_config.json"])
    assert settings["base_model_name_or_path"] is None
    assert settings["perft"]["base_name"] == tmp_path.name
