"""An adapter on chosen layers is the whole adapter with nothing to say on the other layers."""

import dataclasses

import pytest
import torch
from torch import Tensor

from contracts.adapters import EVERY, add_random, token_ids
from contracts.bases import tiny_base
from perft.adapters.dropout import DropKey
from perft.config import AdapterConfig, LoraAttentionConfig, LoraQVConfig, SingleConfig
from perft.errors import AdapterError
from perft.injection import AdapterHost, rows_of

LAYERS = {"all": {0, 1, 2, 3}, "last:1": {3}, "last:3": {1, 2, 3}, "every:3": {0, 3}, "2,0": {0, 2}}
VARIANTS = {name: config for name, config in EVERY.items() if name == config.variant}
DROPOUT = {"perft-r", "perft-e", "perft-d", "perft-s", "lora-qv", "lora-attention"}


def deep_host() -> AdapterHost:
    return AdapterHost(tiny_base("olmoe", num_hidden_layers=4))


def layer_of(key: str) -> int:
    return int(key.split("layers.")[1].split(".")[0])


def on_layers(variant: str, layers: str) -> AdapterConfig:
    dropout = 0.4 if variant in DROPOUT else 0.0
    return dataclasses.replace(VARIANTS[variant], layers=layers, dropout=dropout)


def answer(host: AdapterHost, name: str, ids: Tensor) -> Tensor:
    key = DropKey.of(seed=3, step=1, rows=slice(0, len(ids)))
    with host.using(rows_of({name: len(ids)}, drops={name: key})):
        logits: Tensor = host.model(ids).logits
    return logits


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_tensors_are_on_the_chosen_layers_and_act_as_in_a_whole_adapter(variant: str, layers: str):
    """With dropout: the masks are those of the place, whatever else the adapter is on."""
    host, ids = deep_host(), token_ids(3)
    add_random(host, "some", on_layers(variant, layers))
    assert set(map(layer_of, host.tensors("some"))) == LAYERS[layers]
    host.add("whole", on_layers(variant, "all"))  # a no-op until its tensors are replaced
    for key, tensor in host.tensors("some").items():
        host.tensors("whole")[key].copy_(tensor)
    found = answer(host, "some", ids)
    assert torch.equal(found, answer(host, "whole", ids))
    assert not torch.allclose(found, answer(host, "some", ids[:1]).expand_as(found))
    host.activate(None)
    assert not torch.allclose(found, host.model(ids).logits)


@pytest.mark.parametrize("variant", VARIANTS)
def test_sizes_are_those_of_the_chosen_layers(variant: str):
    host = deep_host()
    whole, half = (host.size(on_layers(variant, layers)) for layers in ("all", "every:2"))
    assert (whole.trainable, whole.activated) == (2 * half.trainable, 2 * half.activated)
    host.add("a", on_layers(variant, "every:2"))
    assert sum(tensor.numel() for tensor in host.tensors("a").values()) == half.trainable


@pytest.mark.parametrize("first", ["lora-qv", "lora-attention"])
@torch.no_grad()
def test_dropout_at_a_place_does_not_depend_on_who_came_first(first: str):
    """LoRA on q,v and on all projections share places."""
    ids = token_ids(2)
    configs = {
        "lora-qv": LoraQVConfig(rank=2, dropout=0.4),
        "lora-attention": LoraAttentionConfig(rank=2, dropout=0.4),
    }
    host = deep_host()
    for name in sorted(configs, key=lambda name: name != first):
        add_random(host, name, configs[name], seed=1)
    for name, config in configs.items():
        alone = deep_host()
        add_random(alone, name, config, seed=1)
        assert torch.equal(answer(host, name, ids), answer(alone, name, ids))


def test_layers_that_the_base_lacks_are_refused_and_nothing_is_put_on():
    host = deep_host()
    keys = set(host.model.state_dict())
    for variant in VARIANTS:
        with pytest.raises(AdapterError, match=f"4 layers that {variant} can be put on, 0 to 3"):
            host.add("a", on_layers(variant, "0,4"))
    assert set(host.model.state_dict()) == keys


def test_layers_without_attention_are_refused_with_those_that_have_it():
    """Some families alternate attention with other mixers."""
    model = tiny_base("olmoe", num_hidden_layers=4)
    for layer in (0, 2):
        model.model.layers[layer].self_attn = torch.nn.Identity()
    host = AdapterHost(model)
    config = LoraQVConfig(rank=2)
    host.add("whole", config)
    assert set(map(layer_of, host.tensors("whole"))) == {1, 3}
    host.add("last", dataclasses.replace(config, layers="last:2"))
    assert set(map(layer_of, host.tensors("last"))) == {3}
    with pytest.raises(AdapterError, match=r"layers='every:2' chooses no layer .* have it: 1, 3"):
        host.add("none", dataclasses.replace(config, layers="every:2"))


@torch.no_grad()
def test_adapters_on_different_layers_share_a_batch():
    host, ids = deep_host(), token_ids(4)
    for seed, layers in enumerate(("0", "last:2")):
        add_random(host, layers.replace(":", "-"), SingleConfig(rank=2, layers=layers), seed)
    with host.using(rows_of({"0": 1, "last-2": 2, None: 1})):
        packed = host.model(ids).logits
    for name, rows in (("0", slice(0, 1)), ("last-2", slice(1, 3)), (None, slice(3, 4))):
        host.activate(name)
        torch.testing.assert_close(packed[rows], host.model(ids[rows]).logits, rtol=0, atol=1e-12)
