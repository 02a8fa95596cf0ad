"""How far down a base an adapter's gradient goes is what the host says, and passes follow it."""

import dataclasses

import pytest
import torch
from torch import nn

from contracts.adapters import ONE_OF_EACH, add_random, possible, token_ids
from contracts.bases import answer, tiny_base
from perft.config import AdapterConfig, LoraAttentionConfig, LoraQVConfig, SingleConfig
from perft.injection import AdapterHost
from perft.models.blocks import decoder_layers
from perft.ranks import Ranks
from perft.training.step import microbatches_on

FAMILIES = ("olmoe", "deepseek_v3", "llama4_text")  # deepseek's first layer has no MoE block
LAYERS = ("all", "last:1", "every:2", "1")


def attention_of(layer: nn.Module) -> nn.Module:
    return next(m for m in layer.modules() if "Attention" in type(m).__name__)


def with_gradient(host: AdapterHost, name: str) -> int:
    """Layers whose attention takes part in the backward pass, in truth."""
    seen: list[bool] = []
    handles = [
        attention_of(layer).register_forward_hook(
            lambda _, __, out: seen.append(bool(out[0].requires_grad))
        )
        for layer in decoder_layers(host.model)
    ]
    host.activate(name)
    with torch.enable_grad():
        answer(host.model, token_ids(1))
    for handle in handles:
        handle.remove()
    assert len(seen) == len(decoder_layers(host.model))
    return sum(seen)


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_goes_through_as_many_layers_attention_as_the_host_says(
    family: str, layers: str
) -> None:
    host = AdapterHost(tiny_base(family, num_hidden_layers=4))
    for name, config in possible(host, ONE_OF_EACH).items():
        add_random(host, name, dataclasses.replace(config, layers=layers))
        assert host.gradient_depth(name) == with_gradient(host, name), name
        host.remove(name)


TOGETHER: dict[str, AdapterConfig] = {
    "qv": LoraQVConfig(rank=2),
    "attention": LoraAttentionConfig(rank=2),
    "attention-last": LoraAttentionConfig(rank=2, layers="last:1"),
    "s": SingleConfig(rank=2),
    "s-every-2": SingleConfig(rank=2, layers="every:2"),
    "s-last-2": SingleConfig(rank=2, layers="last:2"),
    "s-last": SingleConfig(rank=2, layers="last:1"),
}


def test_passes_are_shared_by_trials_of_one_depth() -> None:
    """Of attention's adapters too: one in the last layer sends no gradient below it."""
    host = AdapterHost(tiny_base("olmoe", num_hidden_layers=4))
    for name, config in TOGETHER.items():
        host.add(name, config)
    alike = [
        set(one.names)
        for one in microbatches_on(host, Ranks(), dict.fromkeys(TOGETHER, (2, 8)), 1000)
    ]
    assert sorted(map(sorted, alike)) == [
        ["attention", "qv"],
        ["attention-last", "s-last-2"],
        ["s", "s-every-2"],
        ["s-last"],
    ]
