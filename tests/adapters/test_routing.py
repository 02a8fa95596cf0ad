"""Top-K gates and the load-balancing loss, against their definitions written as loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from contracts.equations import softmax_then_top_k
from perft.adapters.routing import (
    RouterSums,
    Routing,
    choose,
    gates_of,
    load_balancing_loss,
    sum_router,
)

COEFFICIENT = 3.7


@st.composite
def routers(draw: st.DrawFn) -> tuple[Tensor, int]:
    """Logits (T, M) in fp64 and a K."""
    tokens, experts = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    logits = torch.randn(tokens, experts, generator=generator, dtype=torch.float64)
    return logits * draw(st.floats(0.01, 5)), draw(st.integers(1, experts))


@settings(deadline=None)
@given(routers(), st.booleans())
def test_gates_are_softmax_then_top_k(router: tuple[Tensor, int], normalize: bool):
    logits, top_k = router
    gates = gates_of(choose(logits.softmax(-1), top_k, normalize), logits.shape[1])
    for row, gate in zip(logits.tolist(), gates.tolist(), strict=True):
        wanted = softmax_then_top_k(row, top_k, normalize)
        assert {j: g for j, g in enumerate(gate) if g} == pytest.approx(wanted, rel=1e-12)


@settings(deadline=None)
@given(routers())
def test_normalized_gates_sum_to_one_and_others_to_at_most_one(router: tuple[Tensor, int]):
    logits, top_k = router
    probabilities = logits.softmax(-1)
    ones = torch.ones(len(logits), dtype=torch.float64)
    torch.testing.assert_close(choose(probabilities, top_k, True).weight_TK.sum(-1), ones)
    assert (choose(probabilities, top_k, False).weight_TK.sum(-1) <= 1 + 1e-12).all()


def test_base_weights_are_spread_over_all_experts():
    routing = Routing(torch.tensor([[0.7, 0.2], [0.5, 0.1]]), torch.tensor([[3, 0], [1, 3]]))
    wanted = torch.tensor([[0.2, 0.0, 0.0, 0.7], [0.0, 0.5, 0.0, 0.1]])
    assert torch.equal(gates_of(routing, 4), wanted)


def test_expert_chosen_twice_has_both_weights():
    routing = Routing(torch.tensor([[0.75, 0.5]]), torch.tensor([[1, 1]]))
    assert torch.equal(gates_of(routing, 2), torch.tensor([[0.0, 1.25]]))


def sums_of(logits: Tensor, top_k: int, mask: Tensor | None = None) -> RouterSums:
    """Sums of one layer, as PERFT-R makes them."""
    probabilities = logits.softmax(-1)
    mask = torch.ones(len(logits), dtype=torch.bool) if mask is None else mask
    return sum_router(probabilities, choose(probabilities, top_k, False).index_TK, mask)


def loss_of(sums: RouterSums) -> Tensor:
    return load_balancing_loss(sums, sums.load_M, sums.tokens)


def naive_loss(layers: list[Tensor], top_k: int, keep: list[bool]) -> float:
    """M sum_j f_j P_j: f_j tokens with j among their K over all tokens, P_j mean probability."""
    experts = layers[0].shape[1]
    chosen, mass, tokens = [0.0] * experts, [0.0] * experts, 0
    for logits in layers:
        for row, kept in zip(logits.tolist(), keep, strict=True):
            if kept:
                tokens += 1
                for j, probability in softmax_then_top_k(row, experts, False).items():
                    mass[j] += probability
                for j in softmax_then_top_k(row, top_k, False):
                    chosen[j] += 1
    return experts * sum(f / tokens * (p / tokens) for f, p in zip(chosen, mass, strict=True))


@settings(deadline=None)
@given(routers(), st.integers(0, 2**16))
def test_balancing_loss_is_its_definition_over_layers_and_unpadded_tokens(router, seed):
    logits, top_k = router
    generator = torch.Generator().manual_seed(seed)
    layers = [logits, torch.randn(logits.shape, generator=generator, dtype=torch.float64)]
    mask = torch.rand(len(logits), generator=generator) < 0.7
    mask[0] = True
    found = loss_of(sums_of(layers[0], top_k, mask) + sums_of(layers[1], top_k, mask))
    assert float(found) == pytest.approx(naive_loss(layers, top_k, mask.tolist()), rel=1e-12)


@settings(deadline=None)
@given(routers())
def test_balancing_loss_is_the_one_of_transformers(router: tuple[Tensor, int]):
    logits, top_k = router
    mask = torch.ones(1, len(logits))
    mask[0, len(logits) // 2 + 1 :] = 0
    wanted = load_balancing_loss_func((logits,), logits.shape[1], top_k, mask)
    found = loss_of(sums_of(logits, top_k, mask[0].bool()))
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize(("experts", "top_k"), [(4, 1), (4, 2), (6, 3), (5, 5), (1, 1)])
def test_balancing_loss_is_k_when_uniform(experts: int, top_k: int):
    """Every expert is the k-th choice of as many tokens; the probabilities average out."""
    first = torch.arange(experts, 0, -1, dtype=torch.float64)
    logits = torch.stack([first.roll(shift) for shift in range(experts)])
    assert float(loss_of(sums_of(logits, top_k))) == pytest.approx(top_k, rel=1e-12)


def test_balancing_loss_is_m_when_all_tokens_choose_one_expert():
    logits = torch.tensor([[60.0, 0.0, 0.0, 0.0]] * 5, dtype=torch.float64)
    assert float(loss_of(sums_of(logits, 1))) == pytest.approx(4.0)


@settings(deadline=None)
@given(routers(), st.data())
def test_parts_of_several_processes_add_up_to_the_whole(router: tuple[Tensor, int], data):
    logits, top_k = router
    cut = data.draw(st.integers(0, len(logits)), label="rows of the first process")
    whole = logits.clone().requires_grad_()
    loss_whole = loss_of(sums_of(whole, top_k))
    loss_whole.backward()
    split = logits.clone().requires_grad_()
    parts = [sums_of(split[:cut], top_k), sums_of(split[cut:], top_k)]
    load_M, tokens = parts[0].load_M + parts[1].load_M, parts[0].tokens + parts[1].tokens
    losses = [load_balancing_loss(part, load_M, tokens) for part in parts]
    sum(losses).backward()
    torch.testing.assert_close(sum(losses), loss_whole, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(split.grad, whole.grad, rtol=1e-10, atol=1e-14)


def test_entropy_is_that_of_the_distribution_in_nats():
    sums = sums_of(torch.zeros(3, 4, dtype=torch.float64), 2)
    assert float(sums.entropy / sums.tokens) == pytest.approx(math.log(4))
    certain = torch.tensor([[500.0, 0.0]], dtype=torch.float64)
    assert float(sums_of(certain, 1).entropy) == pytest.approx(0.0)


def test_layers_add_up_in_every_sum():
    first, second = (
        sums_of(torch.randn(5, 3, generator=torch.Generator().manual_seed(i)), 2) for i in (1, 2)
    )
    both = first + second
    for field in ("load_M", "prob_M", "entropy", "tokens"):
        wanted = getattr(first, field) + getattr(second, field)
        torch.testing.assert_close(getattr(both, field), wanted)
        assert not torch.equal(getattr(both, field), getattr(first, field))


def test_load_and_entropy_carry_no_gradient_and_the_probabilities_do():
    sums = sums_of(torch.randn(4, 3).requires_grad_(), 2)
    assert not sums.load_M.requires_grad
    assert not sums.entropy.requires_grad
    assert sums.prob_M.requires_grad


def test_batch_of_padding_alone_counts_nothing():
    sums = sums_of(torch.randn(4, 3), 2, torch.zeros(4, dtype=torch.bool))
    assert float(sums.tokens) == 0
    assert not sums.load_M.any()
    assert not sums.prob_M.any()
