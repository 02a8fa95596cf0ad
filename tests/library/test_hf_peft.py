"""`peft` and perft on the same adapters: the same answers, the same folders, the same state."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model, peft_model
from torch import Tensor

from contracts.adapters import EVERY, SIX, add_random, next_token_loss, randomize, token_ids
from contracts.bases import FAMILIES, tiny_base
from perft.checkpoint import load_adapter, read_adapter, save_adapter
from perft.config import (
    AdapterConfig,
    EmbeddedConfig,
    RoutedConfig,
    SingleConfig,
)
from perft.errors import AdapterError, ConfigError
from perft.hf_peft import PerftConfig
from perft.injection import AdapterHost

PERFT = {name: config for name, config in EVERY.items() if name.startswith("perft")}
IDS = token_ids(3)


def saved(folder: Path, config: AdapterConfig, family: str = "olmoe", seed: int = 0) -> Tensor:
    """Saves a random adapter from perft; returns the logits with it."""
    host = AdapterHost(tiny_base(family))
    add_random(host, "a", config, seed)
    host.activate("a")
    save_adapter(host, "a", folder)
    return host.model(IDS).logits.detach()


def trainable(model: PeftModel) -> set[str]:
    """Names of the adapters whose tensors take gradients; all the tensors of each do."""
    flags: dict[str, set[bool]] = {}
    for key, parameter in model.named_parameters():
        if ".adapters." in key:
            flags.setdefault(key.rpartition(".")[2], set()).add(parameter.requires_grad)
        else:
            assert not parameter.requires_grad, f"{key} of the base"
    assert all(len(found) == 1 for found in flags.values())
    return {name for name, found in flags.items() if found == {True}}


@pytest.fixture
def two(tmp_path: Path) -> PeftModel:
    """A model with the loaded adapters "one" (active) and "two"."""
    saved(tmp_path / "one", RoutedConfig(rank=3, num_experts=3, top_k=2), seed=1)
    saved(tmp_path / "two", EmbeddedConfig(rank=2), seed=2)
    model = PeftModel.from_pretrained(tiny_base("olmoe"), tmp_path / "one", adapter_name="one")
    model.load_adapter(tmp_path / "two", adapter_name="two")
    return model


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("config", PERFT.values(), ids=PERFT)
@torch.no_grad()
def test_peft_loads_what_perft_saved_and_saves_it_again_bit_for_bit(
    config: AdapterConfig, family: str, low_memory: bool, tmp_path: Path
):
    wanted = saved(tmp_path / "ours", config, family)
    model = PeftModel.from_pretrained(
        tiny_base(family), tmp_path / "ours", low_cpu_mem_usage=low_memory
    )
    assert torch.equal(model(IDS).logits, wanted)
    assert trainable(model) == set()
    model.save_pretrained(tmp_path / "theirs")
    first, second = (
        (tmp_path / side / "adapter_model.safetensors").read_bytes() for side in ("ours", "theirs")
    )
    assert first == second
    assert read_adapter(tmp_path / "theirs")[0] == config
    assert torch.equal(
        load_adapter(tiny_base(family), tmp_path / "theirs").model(IDS).logits, wanted
    )


class OnGpu(Tensor):
    """A tensor that says it is on a GPU, and can be brought or copied to the CPU."""

    @staticmethod
    def __new__(cls, tensor: Tensor):
        kind = {"dtype": tensor.dtype, "device": "cuda"}
        return Tensor._make_wrapper_subclass(cls, tensor.shape, **kind)

    def __init__(self, tensor: Tensor) -> None:
        self.on_cpu = tensor

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.detach.default:
            return cls(args[0].on_cpu)
        assert func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default), func
        return func(*(a.on_cpu if isinstance(a, cls) else a for a in args), **(kwargs or {}))


@pytest.mark.parametrize("low_memory", [False, True])
@torch.no_grad()
def test_adapter_follows_its_base_where_peft_sees_a_gpu(
    low_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    wanted = saved(tmp_path, SIX["perft-r"])
    read = peft_model.load_peft_weights

    def read_onto_gpu(folder, device, **settings):
        assert device == "cuda"
        return {key: OnGpu(tensor) for key, tensor in read(folder, "cpu", **settings).items()}

    monkeypatch.setattr(peft_model, "infer_device", lambda: "cuda")
    monkeypatch.setattr(peft_model, "load_peft_weights", read_onto_gpu)
    model = PeftModel.from_pretrained(tiny_base("olmoe"), tmp_path, low_cpu_mem_usage=low_memory)
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert torch.equal(model(IDS).logits, wanted)


@pytest.mark.parametrize("config", PERFT.values(), ids=PERFT)
def test_adapter_trained_by_peft_is_perfts(config: AdapterConfig, tmp_path: Path):
    model = get_peft_model(tiny_base("mixtral"), PerftConfig.of(config))
    assert trainable(model) == {"default"}
    assert model.get_nb_trainable_parameters()[0] == model.perft.host.size(config).trainable
    randomize(model.perft.host, "default", seed=3)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    before = next_token_loss(model(IDS).logits, IDS)
    before.backward()
    optimizer.step()
    after = model(IDS).logits.detach()
    assert next_token_loss(after, IDS) != before
    model.save_pretrained(tmp_path)
    host = load_adapter(tiny_base("mixtral"), tmp_path)
    assert host.configs == {"adapter": config}
    assert torch.equal(host.model(IDS).logits, after)


def test_provenance_survives_a_round_through_peft(tmp_path: Path):
    saved(tmp_path / "ours", SIX["perft-s"])
    path = tmp_path / "ours" / "adapter_config.json"
    settings = json.loads(path.read_text())
    settings["perft"] |= {"base_fingerprint": "f" * 8, "trained_on": {"name": "arithmetic"}}
    path.write_text(json.dumps(settings))
    PeftModel.from_pretrained(tiny_base("olmoe"), path.parent).save_pretrained(tmp_path / "theirs")
    assert read_adapter(tmp_path / "theirs")[2]["perft"] == settings["perft"]


@torch.no_grad()
def test_switching_and_disabling_reach_the_base(two: PeftModel, tmp_path: Path):
    alone = tiny_base("olmoe")(IDS).logits
    wanted = {
        name: load_adapter(tiny_base("olmoe"), tmp_path / name).model(IDS).logits
        for name in ("one", "two")
    }
    for name in ("one", "two", "one"):
        two.set_adapter(name)
        assert torch.equal(two(IDS).logits, wanted[name])
        with two.disable_adapter():
            assert torch.equal(two(IDS).logits, alone)
        assert torch.equal(two(IDS).logits, wanted[name])


def test_active_adapter_alone_is_trainable(two: PeftModel):
    assert trainable(two) == set()
    two.set_adapter("two")
    assert trainable(two) == {"two"}
    two.set_adapter("one", inference_mode=True)
    assert trainable(two) == set()
    two.set_requires_grad(["one", "two"])
    assert trainable(two) == {"one", "two"}
    with two.disable_adapter():
        two(IDS)
    assert trainable(two) == {"one", "two"}, "disabling freezes nothing"


def test_added_adapter_waits_frozen_until_it_is_set(two: PeftModel):
    two.set_adapter("two")
    two.add_adapter("three", PerftConfig.of(SingleConfig(rank=2)))
    assert two.active_adapters == ["two"]
    assert trainable(two) == {"two"}
    two.set_adapter("three")
    assert trainable(two) == {"three"}
    two(IDS, labels=IDS).loss.backward()


def test_deleting_the_active_adapter_activates_the_first_that_remains(two: PeftModel):
    two.delete_adapter("one")
    assert two.active_adapters == ["two"]
    assert two.perft.host.active == "two"
    assert list(two.peft_config) == list(two.perft.host.configs) == ["two"]
    two.delete_adapter("two")
    assert two.perft.host.active is None
    assert not any(".adapters." in key for key in two.state_dict())


def test_deleting_another_adapter_leaves_the_active_one(two: PeftModel):
    two.delete_adapter("two")
    assert two.active_adapters == ["one"]
    assert two.perft.host.active == "one"
    with pytest.raises(ValueError, match="two"):
        two.delete_adapter("two")


def test_status_is_that_of_the_host(two: PeftModel):
    status = two.get_model_status()
    assert status.enabled is True
    assert status.active_adapters == ["one"]
    assert status.available_adapters == ["one", "two"]
    assert status.requires_grad == {"one": False, "two": False}
    assert status.peft_types == {"one": "PERFT", "two": "PERFT"}


@torch.no_grad()
def test_unloading_leaves_the_base_as_it_was(two: PeftModel):
    model, fresh = two.unload(), tiny_base("olmoe")
    assert type(model) is type(fresh)
    assert model.state_dict().keys() == fresh.state_dict().keys()
    assert torch.equal(model(IDS).logits, fresh(IDS).logits)
    again = get_peft_model(model, PerftConfig.of(SIX["perft-s"]))
    assert torch.equal(again(IDS).logits, fresh(IDS).logits)


@pytest.mark.parametrize("ask", ["merge_and_unload", "merge_adapter"])
def test_merging_is_refused(two: PeftModel, ask: str):
    with pytest.raises(AdapterError, match="no weight to merge it into"):
        getattr(two, ask)()
    assert list(two.perft.host.configs) == ["one", "two"]


@torch.no_grad()
def test_generation_by_peft_is_generation_by_perft(two: PeftModel, tmp_path: Path):
    host = load_adapter(tiny_base("olmoe"), tmp_path / "one")
    settings = {"max_new_tokens": 5, "do_sample": False, "attention_mask": torch.ones_like(IDS)}
    wanted = host.model.generate(IDS, **settings)
    assert torch.equal(two.generate(input_ids=IDS, **settings), wanted)


@pytest.mark.parametrize("perft", [{}, {"adapter": {"variant": "perft-x"}}])
def test_configuration_that_makes_no_sense_is_refused(perft: dict[str, object]):
    with pytest.raises(ConfigError, match=r"PerftConfig\.of|unknown variant"):
        PerftConfig(perft=perft)


def test_folder_that_does_not_fit_the_base_is_refused(tmp_path: Path):
    saved(tmp_path, SIX["perft-s"])
    with pytest.raises(AdapterError, match=r"has shape .*, this base needs"):
        PeftModel.from_pretrained(tiny_base("olmoe", hidden_size=8), tmp_path)
    deeper = tiny_base("olmoe", num_hidden_layers=3)
    with pytest.raises(AdapterError, match=r"it has no tensor model\.layers\.2"):
        PeftModel.from_pretrained(deeper, tmp_path)


def test_name_that_the_host_refuses_is_refused_and_rolled_back(two: PeftModel):
    for name in ("a.b", "copy"):
        with pytest.raises(AdapterError, match="adapter name"):
            two.add_adapter(name, PerftConfig.of(SIX["perft-s"]))
    assert list(two.peft_config) == ["one", "two"]


def test_base_that_carries_adapters_of_perft_is_refused(tmp_path: Path):
    saved(tmp_path, SIX["perft-s"])
    host = load_adapter(tiny_base("olmoe"), tmp_path)
    with pytest.raises(AdapterError, match="of another AdapterHost"):
        PeftModel.from_pretrained(host.model, tmp_path)
    assert host.active == "adapter"
