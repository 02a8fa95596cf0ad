"""MoE blocks, projections and sizes are read from each family's module tree."""

import pytest
import torch
from transformers import AutoConfig, MixtralConfig, MixtralForCausalLM

from contracts.bases import FAMILIES, every_family, tiny_base
from perft.errors import BaseModelError
from perft.models.blocks import (
    activated_parameters,
    decoder_layers,
    find_moe_blocks,
)
from perft.models.families import FAMILIES as SUPPORTED
from perft.models.families import family_of, require_decoder, require_moe_settings
from perft.models.skeleton import skeleton_of


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


@every_family
def test_every_block_lies_in_one_of_the_layers_that_are_sharded(family: str):
    model = tiny_base(family)
    layers = [{id(module) for module in layer.modules()} for layer in decoder_layers(model)]
    for block in find_moe_blocks(model):
        assert sum(id(block.module) in layer for layer in layers) == 1
    heads = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    assert not any(heads & layer for layer in layers)


@pytest.mark.parametrize(
    ("model_type", "total", "activated"),
    [("deepseek_v3", 671, 37), ("jamba", 52, 12), ("minimax_m2", 229, 11), ("llama4", 108, 17)],
)
def test_default_sizes_of_families_are_those_of_their_published_models(
    model_type: str, total: float, activated: float
):
    """DeepSeek-V3, Jamba, MiniMax-M2, and the language model of Llama 4 Scout, in billions."""
    model = skeleton_of(AutoConfig.for_model(model_type))
    assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(total, abs=0.6)
    assert activated_parameters(model) / 1e9 == pytest.approx(activated, abs=0.6)


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
    with pytest.raises(BaseModelError, match=r"model_type=None in its config\.json"):
        require_moe_settings({}, "mine")


def test_sizes_are_read_wherever_the_configuration_keeps_them():
    require_moe_settings({"model_type": "hunyuan_v1_moe", "num_experts": [8, 8]}, "mine")
    nested = {"model_type": "llama4", "text_config": {"num_local_experts": 0}}
    with pytest.raises(BaseModelError, match="num_local_experts=0"):
        require_moe_settings(nested, "mine")


def test_encoder_with_a_decoder_is_refused_with_what_works_instead():
    require_decoder({"model_type": "olmoe"}, "mine")
    with pytest.raises(
        BaseModelError, match=r"'mine' is of type 'switch_transformers', .*AdapterHost"
    ):
        require_decoder({"model_type": "switch_transformers"}, "mine")


def test_type_known_not_to_be_supported_is_refused_with_the_reason():
    with pytest.raises(BaseModelError, match=r"'doge', not supported: .*product keys"):
        family_of("doge", "mine")
