"""Adapters on a base compute what the equations of PERFT say, token by token."""

import copy

import pytest
import torch
from torch import Tensor, nn

from contracts.adapters import EVERY, add_random, token_ids
from contracts.bases import FAMILIES, tiny_base
from contracts.equations import low_rank, route
from perft.config import AdapterConfig, DenseConfig, EmbeddedConfig, RoutedConfig, SingleConfig
from perft.injection import AdapterHost
from perft.models.blocks import find_moe_blocks

BESIDE_BLOCK = [name for name in EVERY if name.startswith("perft-")]


def base_gates(gate: nn.Module, x_TD: Tensor) -> list[dict[int, Tensor]]:
    """What the base's own router says, token by token."""
    _, weight_TK, index_TK = gate(x_TD)
    return [
        {int(i): w for i, w in zip(index_K, weight_K, strict=True)}
        for index_K, weight_K in zip(index_TK, weight_TK, strict=True)
    ]


@pytest.mark.parametrize(("family", "normalize"), [("olmoe", False), ("mixtral", True)])
@torch.no_grad()
def test_base_gates_of_perft_e_follow_the_family_s_own_convention(family: str, normalize: bool):
    """Softmax over all experts, then top-K; Mixtral divides by the sum of the K, OLMoE does not."""
    model = tiny_base(family)
    block = find_moe_blocks(model)[0]
    x_TD = torch.randn(20, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    wanted = route(block.router.weight, x_TD, block.top_k, normalize)
    for found, equation in zip(base_gates(block.router, x_TD), wanted, strict=True):
        assert {i: float(w) for i, w in found.items()} == pytest.approx(equation, abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", ["lora-qv", "lora-qv-alpha", "lora-attention", "lora-router"])
@torch.no_grad()
def test_lora_answers_as_a_base_with_the_merged_weights(variant: str, family: str):
    config = EVERY[variant]
    model, ids = tiny_base(family, num_key_value_heads=1), token_ids(3)  # v_proj is not square
    merged, untouched = copy.deepcopy(model), copy.deepcopy(model)
    host = AdapterHost(model)
    add_random(host, "a", config)
    host.activate("a")
    tensors = host.tensors("a")
    changed = [key.removesuffix(".adapters.lora_A") for key in tensors if key.endswith("lora_A")]
    ends = {path.rpartition(".")[2] for path in changed}
    assert ends == {
        "lora-router": {"gate"},
        "lora-attention": {"q_proj", "k_proj", "v_proj", "o_proj"},
    }.get(variant, {"q_proj", "v_proj"})
    assert len(changed) == len(ends) * len(host.blocks)
    for path in changed:
        a_RI, b_OR = (tensors[f"{path}.adapters.{kind}"] for kind in ("lora_A", "lora_B"))
        merged.get_submodule(path).weight += low_rank(config, a_RI, b_OR)
    wanted = merged(ids).logits
    assert (wanted - untouched(ids).logits).abs().max() > 0.1
    # The base router rounds its weights to fp32 even in a base of fp64.
    torch.testing.assert_close(model(ids).logits, wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize("variant", BESIDE_BLOCK)
@torch.no_grad()
def test_tuple_output_of_a_block_keeps_its_other_parts(variant: str):
    """Some families return (hidden states, router logits) from the block."""
    model = tiny_base("olmoe")
    block = find_moe_blocks(model)[0].module
    x_BSD = torch.randn(2, 5, 16, dtype=torch.float64)
    host = AdapterHost(model)
    add_random(host, "a", EVERY[variant])
    host.activate("a")
    wanted = block(x_BSD)
    plain = type(block).forward
    block.forward = lambda x: (plain(block, x), "router logits")
    found = block(x_BSD)
    assert found[1] == "router logits"
    assert torch.equal(found[0], wanted)


def outputs(config: AdapterConfig, states: dict[str, Tensor]) -> Tensor:
    model = tiny_base("mixtral")
    host = AdapterHost(model)
    host.load("a", config, states)
    host.activate("a")
    logits: Tensor = model(token_ids(2)).logits
    return logits


@pytest.mark.parametrize("form", ["lora", "parallel"])
@torch.no_grad()
def test_perft_r_with_one_expert_of_one_is_perft_s(form: str):
    routed = RoutedConfig(rank=3, num_experts=1, top_k=1, form=form)
    host = AdapterHost(tiny_base("mixtral"))
    add_random(host, "r", routed)
    states = host.tensors("r")
    single = {key: tensor for key, tensor in states.items() if "router" not in key}
    torch.testing.assert_close(
        outputs(routed, states),
        outputs(SingleConfig(rank=3, form=form), single),
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("form", ["lora", "parallel"])
@torch.no_grad()
def test_perft_r_with_all_experts_and_equal_gates_is_perft_d_over_m(form: str):
    """A router of zeros weighs all M experts 1/M: PERFT-D is the plain sum, without 1/M."""
    routed = RoutedConfig(rank=3, num_experts=3, top_k=3, form=form)
    host = AdapterHost(tiny_base("mixtral"))
    add_random(host, "r", routed)
    states = {k: t * 0 if "router" in k else t for k, t in host.tensors("r").items()}
    dense = {
        k: t / 3 if "up" in k else t for k, t in host.tensors("r").items() if "router" not in k
    }
    torch.testing.assert_close(
        outputs(routed, states),
        outputs(DenseConfig(rank=3, num_experts=3, form=form), dense),
        rtol=0,
        atol=1e-12,
    )


@torch.no_grad()
def test_perft_e_reads_the_router_that_lora_router_does_not_touch():
    """PERFT-E beside a router-LoRA in one pack still follows the frozen base router."""
    model, ids = tiny_base("olmoe"), token_ids(2)
    host = AdapterHost(model)
    add_random(host, "e", EmbeddedConfig(rank=2))
    host.activate("e")
    alone = model(ids).logits
    for order in (("e", "g"), ("g", "e")):
        for name in order:
            if name in host.configs:
                host.remove(name)
        for name in order:
            add_random(host, name, EVERY["perft-e" if name == "e" else "lora-router"])
        host.activate("e")
        assert torch.equal(model(ids).logits, alone)
