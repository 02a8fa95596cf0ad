"""The loss that the base returns for labels, as whoever trains outside of a pack reads it."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from contracts.adapters import SIX, add_random, take_gradients, token_ids
from contracts.bases import VOCABULARY, tiny_base
from perft.adapters.routing import load_balancing_loss
from perft.config import RoutedConfig
from perft.injection import AdapterHost, rows_of

ROUTED = RoutedConfig(rank=3, num_experts=3, top_k=2, balance=0.3)
BALANCED = {
    "peft-router": ROUTED,
    "base-router": dataclasses.replace(SIX["perft-s"], base_balance=0.2),
    "both": dataclasses.replace(ROUTED, base_balance=0.2),
}
IDS = token_ids(3)
MASK = torch.ones_like(IDS)
MASK[0, 4:] = 0
MASK[2, 2:] = 0
LABELS = IDS.masked_fill(MASK == 0, -100)


def training_host(config, name: str = "a") -> AdapterHost:
    host = AdapterHost(tiny_base("olmoe").train())
    add_random(host, name, config, seed=5)
    host.activate(name)
    return host


def cross_entropy(logits: Tensor) -> Tensor:
    """As transformers computes it, in fp32."""
    return F.cross_entropy(logits[:, :-1].float().reshape(-1, VOCABULARY), LABELS[:, 1:].flatten())


def by_layout(host: AdapterHost) -> Tensor:
    """The same loss, put together from the sums of an explicit layout."""
    config = host.configs["a"]
    with host.using(rows_of({"a": len(IDS)}, MASK.bool())) as layout:
        loss = cross_entropy(host.model(IDS, attention_mask=MASK).logits)
    terms = [(config.base_balance, sums) for sums in layout.base_sums.values()]
    if isinstance(config, RoutedConfig):
        terms += [(config.balance, sums) for sums in layout.sums.values()]
    for coefficient, sums in terms:
        loss = loss + coefficient * load_balancing_loss(sums, sums.load_M, sums.tokens)
    return loss


@pytest.mark.parametrize("config", BALANCED.values(), ids=BALANCED)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_loss_is_that_of_a_pack_of_one(config, checkpointing: bool):
    host = training_host(config)
    wanted = by_layout(host)
    wanted.backward()
    gradients = take_gradients(host, "a")
    if checkpointing:
        host.model.activation_checkpointing_enable()
    found = host.model(IDS, attention_mask=MASK, labels=LABELS).loss
    host.activate(None)  # the backward pass goes by what was active in the forward pass
    found.backward()
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
    for key, gradient in take_gradients(host, "a").items():
        torch.testing.assert_close(gradient, gradients[key], rtol=1e-5, atol=1e-7)


def test_positional_arguments_and_tuples_are_understood():
    host = training_host(ROUTED)
    wanted = host.model(IDS, attention_mask=MASK, labels=LABELS).loss
    found, *_ = host.model(IDS, MASK, labels=LABELS, return_dict=False)
    assert torch.equal(found, wanted)


def loss_and_own(host: AdapterHost) -> tuple[Tensor, Tensor]:
    output = host.model(IDS, attention_mask=MASK, labels=LABELS)
    return output.loss, cross_entropy(output.logits)


def test_nothing_is_added_in_evaluation_mode_without_an_adapter_or_without_a_coefficient():
    host = training_host(ROUTED)
    loss, own = loss_and_own(host)
    assert loss > own + 0.1
    host.model.eval()
    torch.testing.assert_close(*loss_and_own(host))
    host.model.train()
    host.activate(None)
    torch.testing.assert_close(*loss_and_own(host))
    for name, config in {
        "free": dataclasses.replace(ROUTED, balance=0.0), "single": SIX["perft-s"]
    }.items():  # fmt: skip
        host.add(name, config)
        host.activate(name)
        torch.testing.assert_close(*loss_and_own(host))


def test_explicit_layout_leaves_the_loss_to_its_owner():
    host = training_host(ROUTED)
    with host.using(rows_of({"a": len(IDS)})):
        torch.testing.assert_close(*loss_and_own(host))


def test_pass_that_fails_leaves_no_trace():
    host = training_host(ROUTED)
    wanted, _ = loss_and_own(host)
    with pytest.raises(IndexError):
        host.model(IDS + VOCABULARY, labels=LABELS)
    assert host.model(IDS[:1]).logits.shape[0] == 1  # rows of another number
    assert torch.equal(loss_and_own(host)[0], wanted)
