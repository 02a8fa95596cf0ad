"""LoRA on the fused experts answers and learns as a base whose experts' weights were changed."""

import copy

import pytest
import torch
from torch import Tensor, nn

from contracts.adapters import SIX, add_random, next_token_loss, take_gradients, token_ids
from contracts.bases import tiny_base
from contracts.equations import low_rank
from perft.config import LoraExpertsConfig, SingleConfig
from perft.errors import BaseModelError
from perft.injection import AdapterHost, rows_of
from perft.models.fused import fused_weights, is_transposed

CONFIG = LoraExpertsConfig(rank=2, alpha=1.5)
# GPT-OSS keeps the weights as (E, I, O), with biases and an activation of its own.
FAMILIES = ("olmoe", "mixtral", "gpt_oss")


def changed_by_hand(model: nn.Module, host: AdapterHost, name: str) -> nn.Module:
    """`model` with (alpha/r) B_e A_e added to every expert's weights, entry by entry."""
    tensors = host.tensors(name)
    for block in host.blocks:
        experts = model.get_submodule(block.experts_name)
        for weight in ("gate_up_proj", "down_proj"):
            key = f"{block.experts_name}.adapters.{weight}"
            for e in range(block.num_experts):
                pair = tensors[f"{key}_lora_A"][e], tensors[f"{key}_lora_B"][e]
                update_OI = low_rank(host.configs[name], *pair)
                update = update_OI.T if is_transposed(experts) else update_OI
                getattr(experts, weight).data[e] += update
    return model


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_answers_are_those_of_a_base_with_the_merged_weights(family: str) -> None:
    model, ids = tiny_base(family), token_ids(3)
    untouched = copy.deepcopy(model)
    host = AdapterHost(model)
    add_random(host, "a", CONFIG)
    host.activate("a")
    wanted = changed_by_hand(copy.deepcopy(untouched), host, "a")(ids).logits
    assert (wanted - untouched(ids).logits).abs().max() > 0.1
    torch.testing.assert_close(model(ids).logits, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_the_merged_weights(family: str) -> None:
    """dL/dA_e = (alpha/r) B_e^T dL/dW_e and dL/dB_e = (alpha/r) dL/dW_e A_e^T."""
    model, ids = tiny_base(family), token_ids(3)
    merged = copy.deepcopy(model).requires_grad_(True)
    host = AdapterHost(model)
    add_random(host, "a", CONFIG)
    host.activate("a")
    next_token_loss(model(ids).logits, ids).backward()
    found = take_gradients(host, "a")
    next_token_loss(changed_by_hand(merged, host, "a")(ids).logits, ids).backward()
    for block in host.blocks:
        experts = merged.get_submodule(block.experts_name)
        for weight in ("gate_up_proj", "down_proj"):
            gradient_EOI: Tensor = getattr(experts, weight).grad
            if is_transposed(experts):
                gradient_EOI = gradient_EOI.transpose(1, 2)
            key = f"{block.experts_name}.adapters.{weight}"
            a_ERI = host.tensors("a")[f"{key}_lora_A"]
            b_EOR = host.tensors("a")[f"{key}_lora_B"]
            wanted_a = 0.75 * b_EOR.transpose(1, 2) @ gradient_EOI
            wanted_b = 0.75 * gradient_EOI @ a_ERI.transpose(1, 2)
            torch.testing.assert_close(found[f"{key}_lora_A"], wanted_a, rtol=0, atol=1e-10)
            torch.testing.assert_close(found[f"{key}_lora_B"], wanted_b, rtol=0, atol=1e-10)
    assert not any(p.grad is not None for p in model.parameters() if not p.requires_grad)


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_equal_each_adapter_alone(family: str) -> None:
    """Two of them, of different rank, between rows of the base and of other variants."""
    host = AdapterHost(tiny_base(family))
    configs = {
        "perft-e": SIX["perft-e"],
        "one": CONFIG,
        "lora-router": SIX["lora-router"],
        "two": LoraExpertsConfig(rank=3),
    }
    for seed, (name, config) in enumerate(configs.items()):
        add_random(host, name, config, seed)
    counts = {"perft-e": 2, "one": 1, None: 2, "lora-router": 1, "two": 3}
    ids = {name: token_ids(count, seed=i) for i, (name, count) in enumerate(counts.items())}
    layout = rows_of(counts)
    with host.using(layout):
        logits = host.model(torch.cat([*ids.values()])).logits
    packed = {segment.name: logits[segment.start : segment.stop] for segment in layout.segments}
    sum(next_token_loss(packed[name], ids[name]) for name in configs).backward()
    gradients = {name: take_gradients(host, name) for name in configs}
    for name in counts:
        host.activate(name)
        alone = host.model(ids[name]).logits
        torch.testing.assert_close(packed[name], alone, rtol=0, atol=1e-12)
        if name is not None:
            next_token_loss(alone, ids[name]).backward()
            for key, wanted in take_gradients(host, name).items():
                torch.testing.assert_close(gradients[name][key], wanted, rtol=0, atol=1e-12)


def test_fused_weights_are_told_by_outputs_and_inputs_whichever_way_they_are_stored() -> None:
    block = AdapterHost(tiny_base("mixtral", intermediate_size=24)).blocks[0]
    assert fused_weights(block) == {"gate_up_proj": (4, 48, 16), "down_proj": (4, 16, 24)}
    assert not is_transposed(block.experts)
    block = AdapterHost(tiny_base("gpt_oss", intermediate_size=24)).blocks[0]
    assert fused_weights(block) == {"gate_up_proj": (4, 48, 16), "down_proj": (4, 16, 24)}
    assert is_transposed(block.experts)


def test_experts_that_are_not_told_the_choice_are_refused() -> None:
    model = tiny_base("olmoe")
    experts = model.model.layers[1].mlp.experts
    experts.forward = lambda hidden_states: hidden_states
    with pytest.raises(BaseModelError, match=r"model\.layers\.1\.mlp of base .* perft-e"):
        AdapterHost(model).add("a", CONFIG)


def test_an_adapter_that_is_taken_off_leaves_the_experts_as_they_were() -> None:
    model, ids = tiny_base("olmoe"), token_ids(2)
    keys = set(model.state_dict())
    host = AdapterHost(model)
    host.add("other", SingleConfig(rank=2))
    host.add("a", CONFIG)
    host.remove("a")
    host.remove("other")
    assert set(model.state_dict()) == keys
    assert not any(block.experts._forward_hooks for block in host.blocks)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, tiny_base("olmoe")(ids).logits)


@torch.no_grad()
def test_a_pack_may_have_no_row_of_an_adapter() -> None:
    """As on a rank that got none of a small batch."""
    host, ids = AdapterHost(tiny_base("olmoe")), token_ids(2)
    add_random(host, "a", CONFIG)
    add_random(host, "b", LoraExpertsConfig(rank=3), seed=1)
    with host.using(rows_of({"a": 0, "b": 2})):
        found = host.model(ids).logits
    host.activate("b")
    assert torch.equal(found, host.model(ids).logits)
    with host.using(rows_of({"a": 0, None: 2})):
        assert torch.equal(host.model(ids).logits, tiny_base("olmoe")(ids).logits)
