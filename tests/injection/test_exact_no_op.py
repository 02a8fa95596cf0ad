"""A freshly added adapter leaves the base's logits as they are, to the last bit."""

import dataclasses

import pytest
import torch

from contracts.adapters import EVERY, SIX, randomize, token_ids, with_init
from contracts.bases import FAMILIES, tiny_base
from perft.config import LoraRouterConfig, SingleConfig
from perft.injection import AdapterHost, rows_of

ROUTERS_AGREE_WITHIN = 0.1  # logits of 3, rounded to bf16 in and after each router


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_all_six_variants_new_and_packed_change_no_logit(family: str):
    model, ids = tiny_base(family), token_ids(12)
    before = model(ids).logits
    host = AdapterHost(model)
    for name, config in SIX.items():
        host.add(name, config)
    with host.using(rows_of(dict.fromkeys(SIX, 2))):
        assert torch.equal(model(ids).logits, before)
        for at, name in enumerate(SIX):
            randomize(host, name)
            changed = (model(ids).logits != before).flatten(1).any(1).nonzero().flatten().tolist()
            assert changed == list(range(2 * at + 2)), f"{name} must change its own rows only"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("variant", [name for name in SIX if name != "lora-router"])
@torch.no_grad()
def test_new_adapter_changes_no_logit_of_a_base_in_lower_precision(
    variant: str, dtype: torch.dtype
):
    model, ids = tiny_base("mixtral", dtype), token_ids(3)
    before = model(ids).logits
    host = AdapterHost(model)
    host.add("new", SIX[variant])
    host.activate("new")
    assert torch.equal(model(ids).logits, before)


@torch.no_grad()
def test_router_lora_is_a_no_op_but_for_the_router_s_own_rounding_in_bf16():
    """The merged router runs in fp32, so a bf16 base gains the digits that its router loses."""
    model, ids = tiny_base("olmoe", torch.bfloat16), token_ids(3)
    before = model(ids).logits
    host = AdapterHost(model)
    host.add("new", LoraRouterConfig(rank=2))
    host.activate("new")
    assert (model(ids).logits - before).abs().max() < ROUTERS_AGREE_WITHIN


@pytest.mark.parametrize("variant", with_init("perft"))
@torch.no_grad()
def test_the_authors_initialisation_is_nearly_a_no_op(variant: str):
    model, ids = tiny_base("olmoe"), token_ids(3)
    before = model(ids).logits
    host = AdapterHost(model)
    host.add("new", dataclasses.replace(EVERY[variant], init="perft"))
    host.activate("new")
    assert 0.0 < (model(ids).logits - before).abs().max() < 1e-3


@torch.no_grad()
def test_base_answers_alone_before_activation_and_after_deactivation():
    model, ids = tiny_base("olmoe"), token_ids(2)
    before = model(ids).logits
    host = AdapterHost(model)
    host.add("new", SingleConfig(rank=2))
    randomize(host, "new")
    assert torch.equal(model(ids).logits, before)
    host.activate("new")
    assert not torch.equal(model(ids).logits, before)
    host.activate(None)
    assert torch.equal(model(ids).logits, before)
