"""Activation checkpointing changes no gradient, whatever is in force during the backward pass.

The backward pass runs the forward pass again: under another layout of the same shape it would
give wrong gradients without a word.
"""

import dataclasses
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor

from contracts.adapters import SIX, add_random, next_token_loss, take_gradients, token_ids
from contracts.bases import FAMILIES, tiny_base
from perft.adapters.dropout import DropKey
from perft.adapters.routing import load_balancing_loss
from perft.injection import AdapterHost, BatchLayout, rows_of

PACK = {**dict.fromkeys(SIX, 2)}
IDS = token_ids(2 * len(SIX))
MASK = torch.ones_like(IDS)
MASK[1::2, -2:] = 0


def training_host(family: str, *, checkpointing: bool, dropout: float = 0.0) -> AdapterHost:
    model = tiny_base(family)
    host = AdapterHost(model)
    for seed, (name, config) in enumerate(SIX.items()):
        drops = 0.0 if name == "lora-router" else dropout
        add_random(host, name, dataclasses.replace(config, dropout=drops), seed)
    model.train()
    if checkpointing:
        model.activation_checkpointing_enable(
            activation_checkpointing_kwargs={
                "use_reentrant": False,
                "context_fn": host.checkpoint_contexts,
            }
        )
        model.config.use_cache = False
        assert all(layer.gradient_checkpointing for layer in model.model.layers)
    return host


def packed_layout(*, dropout: bool = False, names: list[str] | None = None) -> BatchLayout:
    drops = {name: DropKey.of(seed=i, step=3, rows=slice(0, 2)) for i, name in enumerate(SIX)}
    return rows_of(dict.fromkeys(names or list(PACK), 2), MASK.bool(), drops if dropout else None)


def loss_of(host: AdapterHost, layout: BatchLayout) -> Tensor:
    """Cross-entropy of all rows plus the load-balancing loss of the routed adapter."""
    with host.using(layout):
        logits = host.model(IDS, attention_mask=MASK).logits
    sums = layout.sums["perft-r"]
    balance = load_balancing_loss(sums, sums.load_M, sums.tokens)
    return next_token_loss(logits, IDS) + 5.0 * balance


def all_gradients(host: AdapterHost) -> dict[str, dict[str, Tensor]]:
    return {name: take_gradients(host, name) for name in SIX}


def assert_same(found: dict[str, dict[str, Tensor]], wanted: dict[str, dict[str, Tensor]]) -> None:
    for name, tensors in wanted.items():
        for key, gradient in tensors.items():
            assert gradient.any(), key
            torch.testing.assert_close(
                found[name][key], gradient, rtol=1e-12, atol=1e-12, msg=f"{name}: {key}"
            )


def during_backward(host: AdapterHost, what: str) -> AbstractContextManager[object]:
    """Puts something in force while gradients are computed."""
    if what == "the reversed layout":
        return host.using(packed_layout(names=list(reversed(PACK))))
    if what == "the base alone":
        return host.using(rows_of({None: len(IDS)}))
    if what == "one adapter":
        host.activate("perft-d")
    return nullcontext()


ELSEWHERE = ["nothing", "the reversed layout", "the base alone", "one adapter"]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("elsewhere", ELSEWHERE)
def test_gradients_of_a_pack_are_those_without_checkpointing(elsewhere, family, dropout):
    gradients = []
    for checkpointing in (False, True):
        host = training_host(family, checkpointing=checkpointing, dropout=dropout)
        loss = loss_of(host, packed_layout(dropout=dropout > 0))
        with during_backward(host, elsewhere):
            loss.backward()
        gradients.append(all_gradients(host))
    assert_same(gradients[1], gradients[0])


@pytest.mark.parametrize("elsewhere", ELSEWHERE)
@pytest.mark.parametrize("variant", SIX)
def test_gradients_of_the_active_adapter_are_those_without_checkpointing(variant, elsewhere):
    gradients = []
    for checkpointing in (False, True):
        host = training_host("olmoe", checkpointing=checkpointing)
        host.activate(variant)
        loss = next_token_loss(host.model(IDS, attention_mask=MASK).logits, IDS)
        host.activate(None)
        with during_backward(host, elsewhere):
            loss.backward()
        gradients.append({variant: take_gradients(host, variant)})
    assert_same(gradients[1], gradients[0])


def test_balancing_loss_alone_reaches_the_peft_router_through_checkpointing():
    gradients = []
    for checkpointing in (False, True):
        host = training_host("mixtral", checkpointing=checkpointing)
        layout = packed_layout()
        with host.using(layout):
            host.model(IDS, attention_mask=MASK)
        sums = layout.sums["perft-r"]
        load_balancing_loss(sums, sums.load_M, sums.tokens).backward()
        found = host.tensors("perft-r")
        gradients.append({key: found[key].grad for key in found if "router" in key})
    for key, wanted in gradients[0].items():
        assert wanted is not None
        assert wanted.any()
        torch.testing.assert_close(gradients[1][key], wanted, rtol=1e-12, atol=1e-14)


def test_recomputed_pass_leaves_the_layout_s_sums_and_what_is_in_force_alone():
    host = training_host("olmoe", checkpointing=True)
    layout, later = packed_layout(), packed_layout(names=list(reversed(PACK)))
    loss = loss_of(host, layout)
    counted = float(layout.sums["perft-r"].tokens)
    assert counted == int(MASK[:2].sum()) * len(host.blocks)
    with host.using(later):
        loss.backward()
        assert later.sums == {}
        with torch.no_grad():
            logits = host.model(IDS, attention_mask=MASK).logits
    assert float(layout.sums["perft-r"].tokens) == counted
    with torch.no_grad(), host.using(packed_layout(names=list(reversed(PACK)))):
        assert torch.equal(host.model(IDS, attention_mask=MASK).logits, logits)
