"""Adapter weights and PEFT routers are fp32 masters, whatever the base's dtype."""

import pytest
import torch

from contracts.adapters import (
    SIX,
    add_random,
    next_token_loss,
    possible,
    take_gradients,
    token_ids,
)
from contracts.bases import answer, every_family, tiny_base
from perft.injection import AdapterHost, rows_of


@pytest.mark.parametrize(
    ("base", "masters"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
@pytest.mark.parametrize("variant", SIX)
def test_masters_gradients_and_routing_are_fp32_and_logits_the_base_s(variant, base, masters):
    model, ids = tiny_base("mixtral", base), token_ids(2)
    host = AdapterHost(model)
    add_random(host, "a", SIX[variant])
    layout = rows_of({"a": 2})
    with host.using(layout):
        logits = model(ids).logits
    assert logits.dtype == base
    assert all(parameter.dtype == base for parameter in tiny_base("mixtral", base).parameters())
    assert {tensor.dtype for tensor in host.tensors("a").values()} == {masters}
    next_token_loss(logits.float(), ids).backward()
    assert {gradient.dtype for gradient in take_gradients(host, "a").values()} == {masters}
    for sums in layout.sums.values():
        assert sums.prob_M.dtype == masters


@every_family
def test_every_familys_router_takes_lora_in_bf16(family: str):
    model, ids = tiny_base(family, torch.bfloat16), token_ids(2)
    host = AdapterHost(model)
    if "lora-router" not in possible(host, SIX):
        return
    before = answer(model, ids).detach()
    add_random(host, "a", SIX["lora-router"])
    host.activate("a")
    logits = answer(model, ids)
    assert logits.dtype == before.dtype
    assert not torch.equal(logits, before)
    next_token_loss(logits.float(), ids).backward()
    assert all(gradient.any() for gradient in take_gradients(host, "a").values())


@pytest.mark.parametrize("variant", SIX)
@torch.no_grad()
def test_answers_in_bf16_are_those_of_fp32_but_for_rounding(variant: str):
    ids, answers = token_ids(2), []
    for dtype in (torch.float32, torch.bfloat16):
        model = tiny_base("olmoe", torch.bfloat16).to(dtype)
        host = AdapterHost(model)
        add_random(host, "a", SIX[variant])
        host.activate("a")
        answers.append(model(ids).logits.float())
    error = (answers[0] - answers[1]).norm() / answers[0].norm()
    assert 0 < error < 0.05


def test_loaded_tensors_become_masters_of_the_base_they_are_put_on():
    first = AdapterHost(tiny_base("olmoe", torch.float64))
    first.add("a", SIX["perft-r"])
    second = AdapterHost(tiny_base("olmoe", torch.bfloat16))
    second.load("a", SIX["perft-r"], first.tensors("a"))
    assert {tensor.dtype for tensor in second.tensors("a").values()} == {torch.float32}
