"""On every MoE family adapters compute what the equations of PERFT say, token by token.

And the weights that PERFT-E takes over are those with which the family itself weighs its experts:
with them, and with each base expert asked alone, the block's own output is put together again.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contracts.adapters import EVERY, add_random, possible, token_ids
from contracts.bases import answer, every_family, every_family_but, tiny_base
from contracts.equations import Gates, beside_block, low_rank
from perft.config import EmbeddedConfig, ExpertsConfig, LoraRouterConfig
from perft.errors import BaseModelError
from perft.injection import AdapterHost
from perft.models.blocks import MoEBlock
from perft.models.routing import BaseRouting

Call = tuple[tuple[Any, ...], dict[str, Any], Tensor]


def hidden_states(output: Any) -> Tensor:
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found


def entered(host: AdapterHost, block: MoEBlock, ids: Tensor) -> tuple[Call, BaseRouting]:
    """How the block is called in one forward pass, what it returns, and its routing."""
    calls: list[Call] = []
    routings: list[BaseRouting] = []
    handles = [
        block.entry.register_forward_hook(
            lambda _, args, kwargs, out: calls.append((args, kwargs, hidden_states(out))),
            with_kwargs=True,
        ),
        *block.watch(routings.append),
    ]
    answer(host.model, ids)
    for handle in handles:
        handle.remove()
    return calls[0], routings[0]


def by_token(routing: BaseRouting) -> Gates:
    return [
        {int(i): w for i, w in zip(index_K, weight_K, strict=True) if w}
        for index_K, weight_K in zip(routing.index_TK, routing.weight_TK, strict=True)
    ]


@every_family
@torch.no_grad()
def test_what_is_added_to_each_moe_block_is_the_equation(family: str):
    host, ids = AdapterHost(tiny_base(family)), token_ids(2, length=4)
    beside = {n: c for n, c in possible(host, EVERY).items() if isinstance(c, ExpertsConfig)}
    for name, config in beside.items():
        add_random(host, name, config)
        for block in host.blocks:
            host.activate(name)
            (args, kwargs, y), routing = entered(host, block, ids)
            host.activate(None)
            alone = hidden_states(block.entry.forward(*args, **kwargs))  # without its hook
            weights = {
                key.rpartition(".")[2]: tensor
                for key, tensor in host.tensors(name).items()
                if key.startswith(f"{block.name}.adapters.")
            }
            x_TD = args[0].reshape(-1, block.hidden_size)
            wanted = beside_block(config, weights, x_TD, by_token(routing))
            assert wanted.abs().max() > 0.01
            found = (y - alone).reshape(x_TD.shape)
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9, msg=f"{name} {block.name}")
        host.remove(name)


def gate_of(routing: BaseRouting, expert: int) -> Tensor:
    return (routing.weight_TK * (routing.index_TK == expert)).sum(-1, keepdim=True)


def told_alone(block: MoEBlock, routing: BaseRouting, x_TD: Tensor) -> list[Tensor]:
    """Experts that are told each token's choice are told the same one for all tokens."""
    x = x_TD[None] if "Dbrx" in type(block.experts).__name__ else x_TD  # takes (B, S, D)
    found = []
    for i in range(block.num_experts):
        index_T2 = torch.tensor([i, i - 1]).remainder(block.num_experts).expand(len(x_TD), 2)
        weight_T2 = torch.tensor([1.0, 0.0], dtype=x.dtype).expand(len(x_TD), 2)
        out_TD = block.experts(x, index_T2, weight_T2).view_as(x_TD)
        found.append(gate_of(routing, i) * out_TD)
    return found


def input_alone(block: MoEBlock, routing: BaseRouting, x_TD: Tensor) -> list[Tensor]:
    """Llama 4 weighs what enters an expert: E_i(G_i x)."""
    found = []
    for i in range(block.num_experts):
        x_ETD = torch.zeros(block.num_experts, *x_TD.shape, dtype=x_TD.dtype)
        x_ETD[i] = gate_of(routing, i) * x_TD
        found.append(block.experts(x_ETD.flatten(0, 1)).view_as(x_ETD)[i])
    return found


def module_alone(block: MoEBlock, routing: BaseRouting, x_TD: Tensor) -> list[Tensor]:
    """Switch keeps a module for every expert."""
    return [gate_of(routing, i) * e(x_TD) for i, e in enumerate(block.experts.children())]


def parallel_alone(block: MoEBlock, routing: BaseRouting, x_TD: Tensor) -> list[Tensor]:
    """JetMoE keeps two weights of all experts side by side."""
    found = []
    for i in range(block.num_experts):
        gate_up = x_TD @ block.module.input_linear.weight[i].T
        gate, up = gate_up.chunk(2, dim=-1)
        out_TD = (gate * torch.sigmoid(gate) * up) @ block.module.output_linear.weight[i].T
        found.append(gate_of(routing, i) * out_TD)
    return found


ALONE: Mapping[str, Callable[[MoEBlock, BaseRouting, Tensor], list[Tensor]]] = {
    "chosen": told_alone,
    "probabilities": told_alone,
    "input scores": input_alone,
    "top 1": module_alone,
    "sorted": parallel_alone,
}


def silence(block: MoEBlock) -> None:
    """Sets the weights of the block's experts to zero; shared experts stay."""
    for name, child in block.module.named_children():
        if type(child).__name__.endswith("Experts") and name != "shared_experts":
            for weight in child.parameters():
                weight.zero_()


@every_family_but("nllb-moe")  # whose experts are told a mask where they take indices: see below
@torch.no_grad()
def test_base_s_own_output_is_made_with_the_weights_that_perft_e_gets(family: str):
    host = AdapterHost(tiny_base(family))
    for block in host.blocks:
        if family == "axk1":  # norms the sum; what enters the norm is compared
            block.module.post_mlp_layernorm = nn.Identity()
        (args, kwargs, y), routing = entered(host, block, token_ids(2, length=6))
        x_TD = args[0].reshape(-1, block.hidden_size)
        parts = ALONE[block.family.routing](block, routing, x_TD)
        silence(block)
        without = hidden_states(block.entry.forward(*args, **kwargs))
        # An expert without weights passes its input on, silenced or not.
        nothing = ALONE[block.family.routing](block, routing, x_TD)
        wanted = torch.stack(parts).sum(0) - torch.stack(nothing).sum(0)
        assert wanted.abs().max() > 1e-2
        torch.testing.assert_close((y - without).reshape(x_TD.shape), wanted, rtol=1e-6, atol=1e-7)


@torch.no_grad()
def test_nllb_s_weights_are_those_of_its_two_best_experts_over_their_sum():
    host = AdapterHost(tiny_base("nllb-moe"))
    for block in host.blocks:
        _, routing = entered(host, block, token_ids(2, length=6))
        for t, logits_E in enumerate(routing.logits_TE):
            power_E = [float(torch.exp(logit - logits_E.max())) for logit in logits_E]
            best = sorted(range(len(power_E)), key=lambda i: -power_E[i])[:2]
            total = sum(power_E[i] for i in best)
            found = {
                int(i): float(w)
                for i, w in zip(routing.index_TK[t], routing.weight_TK[t], strict=True)
            }
            assert found == pytest.approx({i: power_E[i] / total for i in best}, abs=1e-6)


@every_family
@torch.no_grad()
def test_lora_answers_as_a_base_with_the_merged_weights(family: str):
    host, ids = AdapterHost(tiny_base(family)), token_ids(3)
    base = answer(host.model, ids)
    for name in possible(host, {n: EVERY[n] for n in ("lora-attention", "lora-router")}):
        add_random(host, name, EVERY[name])
        host.activate(name)
        found = answer(host.model, ids)
        tensors = host.tensors(name)
        host.activate(None)
        merged = tiny_base(family)
        answer(merged, ids)  # some routers settle on their dtype in their first pass
        for key in tensors:
            path, _, kind = key.rpartition(".adapters.")
            if kind == "lora_A":
                pair = tensors[key], tensors[f"{path}.adapters.lora_B"]
                weight = matrix_of(merged, path)
                weight += low_rank(EVERY[name], *pair).to(weight.dtype)
        wanted = answer(merged, ids)
        assert (wanted - base).abs().max() > 1e-3, name
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5, msg=name)


def matrix_of(model: PreTrainedModel, path: str) -> Tensor:
    """The weight that LoRA at `path` adds to: of a linear layer, or the matrix of a router."""
    module = model.get_submodule(path)
    if isinstance(getattr(module, "weight", None), Tensor):
        return module.weight
    (matrix,) = (w for w in module.parameters() if w.dim() == 2 and len(w) > 1)
    return matrix


@torch.no_grad()
def test_perft_e_on_experts_by_token_id_names_the_block_and_what_works_instead():
    host = AdapterHost(tiny_base("deepseek_v4"))
    with pytest.raises(
        BaseModelError, match=r"model\.layers\.0\.mlp of base .* by token id.*perft-r"
    ):
        host.add("e", EmbeddedConfig(rank=2))
    host.add("e", EmbeddedConfig(rank=2, layers="1"))
    assert {key.split(".")[2] for key in host.tensors("e")} == {"1"}


def test_lora_on_a_router_of_several_matrices_names_it_and_what_works_instead():
    host = AdapterHost(tiny_base("zaya"))
    with pytest.raises(
        BaseModelError, match=r"router model\.layers\.0\.mlp\.gate .*not one matrix"
    ):
        host.add("g", LoraRouterConfig(rank=2))
