"""MoE blocks, projections and sizes are read from each family's module tree."""

import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM

from contracts.bases import FAMILIES, tiny_base
from perft.errors import BaseModelError
from perft.models.blocks import (
    activated_parameters,
    decoder_layers,
    find_moe_blocks,
)
from perft.models.families import FAMILIES as SUPPORTED
from perft.models.families import family_of, require_moe_settings


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_are_found_from_first_layer_to_last_with_their_sizes(family: str):
    model = tiny_base(family)
    blocks = find_moe_blocks(model)
    assert [block.name for block in blocks] == ["model.layers.0.mlp", "model.layers.1.mlp"]
    assert [block.router_name for block in blocks] == [f"{block.name}.gate" for block in blocks]
    for block in blocks:
        assert (block.hidden_size, block.num_experts, block.top_k) == (16, 4, 2)
        assert model.get_submodule(block.name) is block.module
        assert model.get_submodule(block.router_name) is block.router
        assert block.router.weight.shape == (4, 16)
        assert {len(parameter) for parameter in block.experts.parameters()} == {4}


@pytest.mark.parametrize("family", FAMILIES)
def test_finding_changes_nothing(family: str):
    model = tiny_base(family)
    before = [(name, id(module)) for name, module in model.named_modules()]
    find_moe_blocks(model)
    assert [(name, id(module)) for name, module in model.named_modules()] == before
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_base_of_a_supported_type_without_an_moe_block_is_refused():
    model = tiny_base("mixtral")
    for layer in model.model.layers:
        layer.mlp = torch.nn.Identity()
    with pytest.raises(BaseModelError, match=r"of type 'mixtral', but by its .* it is dense"):
        find_moe_blocks(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_decoder_layers_hold_one_block_each(family: str):
    model = tiny_base(family)
    layers = decoder_layers(model)
    blocks = find_moe_blocks(model)
    assert [any(m is b.module for m in x.modules()) for x, b in zip(layers, blocks, strict=True)]
    assert len(layers) == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_activated_parameters_leave_out_the_idle_experts(family: str):
    """One expert has 3 D F = 3 * 16 * 16 weights; 2 of 4 are idle in each of 2 layers."""
    model = tiny_base(family)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert activated_parameters(model) == total - 2 * 2 * 3 * 16 * 16


def test_tied_embeddings_are_counted_once():
    sizes = {
        "vocab_size": 50,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "num_local_experts": 4,
    }
    counts = []
    for tied in (False, True):
        model = MixtralForCausalLM(MixtralConfig(**sizes, tie_word_embeddings=tied))
        counts.append(activated_parameters(model))
    assert counts[0] - counts[1] == 50 * 16


def test_unsupported_type_is_named_with_the_supported_ones():
    with pytest.raises(
        BaseModelError,
        match="base 'mine' is of type 'gpt2', which is not a supported MoE family; supported: ",
    ) as caught:
        family_of("gpt2", "mine")
    assert all(name in str(caught.value) for name in SUPPORTED)


@pytest.mark.parametrize("value", [0, -1, "8", None, 2.5])
def test_moe_sizes_that_make_no_sense_are_named(value: object):
    with pytest.raises(BaseModelError, match=r"base 'mine' has num_local_experts="):
        require_moe_settings({"model_type": "mixtral", "num_local_experts": value}, "mine")


def test_sizes_that_are_left_out_are_the_family_s_defaults():
    require_moe_settings({"model_type": "olmoe"}, "mine")


def test_configuration_without_a_type_is_refused():
    with pytest.raises(BaseModelError, match="of type ''"):
        require_moe_settings({}, "mine")
