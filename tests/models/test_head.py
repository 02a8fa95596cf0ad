"""The loss from hidden states is cross-entropy of logits, in value and gradient, in any chunks."""

import pytest
import torch
from torch.nn import functional as F

from contracts.bases import FAMILIES, tiny_base
from perft.models.families import FAMILIES as SUPPORTED
from perft.models.head import cross_entropy, has_plain_head, head_at, token_losses
from perft.models.tiny import VOCABULARY, tiny_model

V, D = 37, 6


def drawn(count: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x_ND = torch.randn(count, D, generator=generator, dtype=torch.float64)
    weight_VD = torch.randn(V, D, generator=generator, dtype=torch.float64)
    label_N = torch.randint(V, (count,), generator=generator)
    return x_ND.to(dtype), weight_VD.to(dtype), label_N


@pytest.mark.parametrize("at_once", [1, 3 * V, 4 * V + 1, 1000 * V])
def test_loss_and_gradient_are_those_of_the_logits(at_once: int) -> None:
    x_ND, weight_VD, label_N = drawn(11, torch.float64)
    factor_N = torch.linspace(-1, 2, 11, dtype=torch.float64)
    plain_ND, own_ND = (x_ND.clone().requires_grad_() for _ in range(2))
    plain_N = F.cross_entropy(plain_ND @ weight_VD.T, label_N, reduction="none")
    own_N = cross_entropy(own_ND, weight_VD, label_N, at_once)
    torch.testing.assert_close(own_N, plain_N, rtol=0, atol=1e-12)
    (plain_N * factor_N).sum().backward()
    (own_N * factor_N).sum().backward()
    torch.testing.assert_close(own_ND.grad, plain_ND.grad, rtol=0, atol=1e-12)


def test_a_loss_without_gradient_keeps_nothing() -> None:
    x_ND, weight_VD, label_N = drawn(5, torch.float32)
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda x: x):
        cross_entropy(x_ND, weight_VD, label_N)
        assert not kept
        cross_entropy(x_ND.requires_grad_(), weight_VD, label_N)
    assert [tuple(tensor.shape) for tensor in kept] == [(5, D)]


def test_bfloat16_products_give_float32_losses() -> None:
    x_ND, weight_VD, label_N = drawn(9, torch.bfloat16)
    own_N = cross_entropy(x_ND, weight_VD, label_N)
    logits_NV = (x_ND @ weight_VD.T).float()
    assert own_N.dtype == torch.float32
    torch.testing.assert_close(own_N, F.cross_entropy(logits_NV, label_N, reduction="none"))


def test_no_position_has_no_loss() -> None:
    x_ND, weight_VD, label_N = drawn(0, torch.float32)
    loss_N = cross_entropy(x_ND.requires_grad_(), weight_VD, label_N)
    assert loss_N.shape == (0,)
    loss_N.sum().backward()
    assert x_ND.grad is not None


SAMPLE = (*FAMILIES, "granitemoe", "cohere2_moe", "gemma4_text", "inkling_text")
CHANGED = {"granitemoe": {}, "cohere2_moe": {}, "gemma4_text": {"final_logit_softcapping": 2.0}}
"""Families that scale or cap what their head returns."""


@pytest.mark.parametrize("family", [*FAMILIES, "gemma4_text"])
def test_plain_heads_are_known(family: str) -> None:
    assert has_plain_head(tiny_base(family).requires_grad_(False))


@pytest.mark.parametrize("family", CHANGED)
def test_heads_whose_logits_are_changed_are_not_plain(family: str) -> None:
    model = tiny_model(family, **CHANGED[family]).requires_grad_(False)
    assert not has_plain_head(model)


def test_a_head_that_is_trained_or_has_a_bias_is_not_plain() -> None:
    assert not has_plain_head(tiny_model("olmoe"))
    model = tiny_base("olmoe").requires_grad_(False)
    model.lm_head.bias = torch.nn.Parameter(torch.ones(50).double(), requires_grad=False)
    assert not has_plain_head(model)


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=() if family in SAMPLE else pytest.mark.families)
        for family, of in SUPPORTED.items()
        if not of.encoder_decoder
    ],
)
@torch.no_grad()
def test_token_losses_are_those_of_transformers_logits(family: str) -> None:
    """At more positions than there are words: some families cut their logits to the vocabulary."""
    model = tiny_model(family, **CHANGED.get(family, {})).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    ids_BS = torch.randint(3, VOCABULARY, (9, 7), generator=generator)
    position_N = torch.arange(1, 63)
    label_N = torch.randint(3, VOCABULARY, (62,), generator=generator)
    logits_NV = model(input_ids=ids_BS).logits.flatten(0, 1)[position_N]
    for plain in {False, has_plain_head(model)}:
        loss_N = token_losses(model, ids_BS, position_N, label_N, plain=plain)
        torch.testing.assert_close(
            loss_N, F.cross_entropy(logits_NV.float(), label_N, reduction="none")
        )


@pytest.mark.parametrize("plain", [False, True])
@torch.no_grad()
def test_the_head_is_restored(plain: bool) -> None:
    model = tiny_base("olmoe").requires_grad_(False)
    ids_BS = torch.randint(2, 50, (2, 4))
    whole = model(input_ids=ids_BS).logits
    token_losses(model, ids_BS, torch.tensor([1]), torch.tensor([2]), plain=plain)
    with pytest.raises(IndexError):  # no such position
        token_losses(model, ids_BS, torch.tensor([99]), torch.tensor([2]), plain=plain)
    assert torch.equal(model(input_ids=ids_BS).logits, whole)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_head_sees_only_the_chosen_positions(family: str) -> None:
    model = tiny_base(family)
    ids_BS = torch.randint(2, 50, (3, 5))
    whole = model(input_ids=ids_BS).logits
    with head_at(model, torch.tensor([0, 7, 14])):
        chosen = model(input_ids=ids_BS).logits
    torch.testing.assert_close(chosen, whole.flatten(0, 1)[[0, 7, 14]])
