"""LoRA on the fused experts answers and learns as a base whose experts' weights were changed."""

import copy
import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contracts.adapters import (
    SIX,
    add_random,
    next_token_loss,
    possible,
    take_gradients,
    token_ids,
)
from contracts.bases import answer, every_family, tiny_base
from contracts.equations import low_rank
from perft.adapters.lora_experts import mathematics as lora_experts
from perft.config import AdapterConfig, LoraExpertsConfig, SingleConfig
from perft.errors import BaseModelError
from perft.injection import AdapterHost, BatchLayout, fused, rows_of
from perft.models.blocks import MoEBlock
from perft.models.fused import fused_weights, is_transposed
from perft.training.live_bytes import LiveBytes

CONFIG = LoraExpertsConfig(rank=2, alpha=1.5)
# GPT-OSS keeps the weights as (E, I, O), with biases and an activation of its own.
FAMILIES = ("olmoe", "mixtral", "gpt_oss")
# These activate in fp32, whatever the base's dtype.
FP32_ACTIVATION = ("beam", "inkling2", "inkling2_text")


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
            # A router that rounds to fp32 may round what differs by 1e-17 to different numbers.
            torch.testing.assert_close(found[f"{key}_lora_A"], wanted_a, rtol=0, atol=1e-6)
            torch.testing.assert_close(found[f"{key}_lora_B"], wanted_b, rtol=0, atol=1e-6)
    assert not any(p.grad is not None for p in model.parameters() if not p.requires_grad)


def with_sites(
    family: str, configs: dict[str, AdapterConfig], dtype: torch.dtype
) -> tuple[AdapterHost, BatchLayout]:
    """Adapters in a generic state and a layout of two rows each, which every block has seen."""
    host = AdapterHost(tiny_base(family, dtype))
    for seed, (name, config) in enumerate(configs.items()):
        add_random(host, name, config, seed)
    layout = rows_of(dict.fromkeys(configs, 2))
    with torch.no_grad(), host.using(layout):
        answer(host.model, token_ids(layout.rows))
    return host, layout


def given_to(block: MoEBlock, tokens: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, chosen experts and their weights; the same numbers in every dtype."""
    draw = torch.Generator().manual_seed(1)
    x_TD = torch.randn(tokens, block.hidden_size, generator=draw, dtype=torch.float64)
    held = len(next(p for p in block.experts.parameters() if p.dim() == 3))
    weight_TK, index_TK = torch.rand(tokens, held, generator=draw).topk(block.top_k)
    return x_TD.float().to(dtype).requires_grad_(), index_TK, weight_TK.to(dtype).requires_grad_()


def learned(block: MoEBlock, host: AdapterHost, name: str, dtype: torch.dtype) -> list[Tensor]:
    """Output of a block's experts for 24 tokens, and all gradients; `name` has every row."""
    host.activate(name)
    given = given_to(block, 24, dtype)
    y_TD = block.experts.forward(*given)  # without the hooks that want to see a router first
    draw = torch.Generator().manual_seed(2)
    y_TD.backward(torch.randn(y_TD.shape, generator=draw).to(dtype))
    tensors = [t for key, t in host.tensors(name).items() if key.startswith(block.experts_name)]
    found = [y_TD.detach(), given[0].grad, given[2].grad, *(t.grad for t in tensors)]
    for tensor in tensors:
        tensor.grad = None
    return found


@every_family
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str
)
def test_the_experts_of_every_family_are_those_with_merged_weights(
    family: str, dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one way of computing them against the other, which is exact by construction."""
    if not possible(AdapterHost(tiny_base(family)), {"a": CONFIG}):
        with pytest.raises(BaseModelError):
            AdapterHost(tiny_base(family)).add("a", CONFIG)
        return
    host, _ = with_sites(family, {"a": CONFIG, "b": CONFIG, "c": CONFIG}, dtype)
    monkeypatch.setattr(fused, "is_computable", lambda _experts: False)
    merging, _ = with_sites(family, {"a": CONFIG, "b": CONFIG, "c": CONFIG}, torch.float64)
    if family in FP32_ACTIVATION:
        tolerance = 1e-6
    for mine, theirs in zip(host.blocks, merging.blocks, strict=True):
        found, wanted = (
            learned(mine, host, "b", dtype),
            learned(theirs, merging, "b", torch.float64),
        )
        for one, other in zip(found, wanted, strict=True):
            scale = float(other.abs().max())
            assert scale > 0
            torch.testing.assert_close(one.double(), other, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_differs_by_rounding_only(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host, _ = with_sites(family, {"a": CONFIG}, torch.bfloat16)
    wide, _ = with_sites(family, {"a": CONFIG}, torch.float64)
    for mine, theirs in zip(host.blocks, wide.blocks, strict=True):
        state = {k: v for k, v in mine.experts.state_dict().items() if "adapters" not in k}
        theirs.experts.load_state_dict(state, strict=False)
        found = learned(mine, host, "a", torch.bfloat16)
        wanted = learned(theirs, wide, "a", torch.float64)
        for one, other in zip(found, wanted, strict=True):
            bound = 0.04 * float(other.abs().max())
            torch.testing.assert_close(one.double(), other, rtol=0, atol=bound)


@pytest.mark.parametrize("others", [0, 2])
def test_experts_run_once_for_the_rows_of_all_such_adapters(
    others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once more, as they do without any adapter, for the rows that have none."""
    host = AdapterHost(tiny_base("olmoe"))
    kind = type(host.blocks[0].experts)
    forward, plain, rows, seen = fused.experts_forward, kind.forward, [], []
    monkeypatch.setattr(
        fused, "experts_forward", lambda *args: rows.append(len(args[1])) or forward(*args)
    )

    @functools.wraps(plain)
    def see(*args: Any) -> Tensor:
        seen.append(len(args[1]))
        return plain(*args)

    monkeypatch.setattr(kind, "forward", see)
    for name in ("a", "b", "c"):
        add_random(host, name, CONFIG)
    counts = {"a": 1, None: others, "b": 2, "c": 1}
    with torch.no_grad(), host.using(rows_of(counts)):
        host.model(token_ids(4 + others))
    layers = len(host.blocks)
    assert rows == [4 * 7] * layers
    assert seen == ([others * 7] * layers if others else [])


def test_more_adapters_than_a_grouped_product_has_groups_take_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configs: dict[str, AdapterConfig] = {
        name: LoraExpertsConfig(rank=rank) for rank, name in enumerate("abcde", start=1)
    }
    host, layout = with_sites("olmoe", configs, torch.float64)
    with host.using(layout):
        wanted = host.model(token_ids(10)).logits
    monkeypatch.setattr(lora_experts, "MAX_GROUPS", 2 * host.blocks[0].num_experts)
    taking_turns, layout = with_sites("olmoe", configs, torch.float64)
    assert taking_turns._sites[host.blocks[0].experts_name]._max_adapters == 2
    with taking_turns.using(layout):
        found = taking_turns.model(token_ids(10)).logits
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_no_copy_of_the_weights_is_made() -> None:
    """Neither merged weights nor their gradients: nothing of a fused weight's size exists."""
    model = tiny_base("olmoe", torch.float32, hidden_size=64, intermediate_size=64)
    host, ids = AdapterHost(model), token_ids(1, length=3)
    add_random(host, "a", CONFIG)
    host.activate("a")
    with LiveBytes([*model.parameters(), *model.buffers()]) as live:
        next_token_loss(model(ids).logits, ids).backward()
    assert live.peak < host.blocks[0].experts.gate_up_proj.nbytes


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
    assert not any("forward" in vars(block.experts) for block in host.blocks)
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
