"""Many PEFT experts as two matrix products equal each expert on its own.

Here in fp64, dense and masked; test_grouped.py has the other computation.
"""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.activations import ACT2FN

from contracts.equations import peft_expert, silu
from perft.adapters.bottleneck import apply_experts
from perft.adapters.dropout import NO_DROP, Drop
from perft.adapters.experts import expert_shapes
from perft.adapters.forms.parallel.mathematics import ACTIVATIONS
from perft.adapters.routing import Routing
from perft.adapters.weights import master_dtype
from perft.config import Activation, DenseConfig


def drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def random_routing(tokens: int, experts: int, top_k: int, seed: int) -> Routing:
    """An expert may be chosen twice."""
    generator = torch.Generator().manual_seed(seed)
    index_TK = torch.randint(experts, (tokens, top_k), generator=generator)
    return Routing(drawn((tokens, top_k), seed), index_TK)


@settings(deadline=None)
@given(
    tokens=st.integers(0, 5),
    experts=st.integers(1, 4),
    rank=st.integers(1, 4),
    hidden=st.integers(1, 6),
    form=st.sampled_from(["lora", "parallel"]),
    alpha=st.none() | st.floats(0.1, 50),
    top_k=st.integers(0, 3),
    seed=st.integers(0, 2**16),
)
def test_batched_experts_equal_the_sum_over_single_ones(
    tokens, experts, rank, hidden, form, alpha, top_k, seed
):
    config = DenseConfig(rank=rank, num_experts=experts, form=form, alpha=alpha)
    shapes = expert_shapes(config, experts, hidden)
    weights = {kind: drawn(shape, seed + i) for i, (kind, shape) in enumerate(shapes.items())}
    x_TD = drawn((tokens, hidden), seed + 2)
    routing = random_routing(tokens, experts, top_k, seed + 3) if top_k else None
    found = apply_experts(config, weights, x_TD, NO_DROP, routing)
    wanted = torch.zeros_like(x_TD)
    for t, x_D in enumerate(x_TD):
        chosen = [(1.0, j) for j in range(experts)]
        if routing is not None:
            chosen = list(zip(routing.weight_TK[t], routing.index_TK[t], strict=True))
        for weight, j in chosen:
            down_RD, up_RD = weights["perft_down"][j], weights["perft_up"][j]
            wanted[t] += weight * peft_expert(config, down_RD, up_RD, x_D)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_token_not_routed_to_an_expert_gets_exactly_nothing_from_it():
    config = DenseConfig(rank=2, num_experts=2)
    weights = {kind: drawn((2, 2, 3), 1) for kind in ("perft_down", "perft_up")}
    weight_TK = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    routing = Routing(weight_TK, torch.tensor([[0], [1]]))
    found = apply_experts(config, weights, drawn((2, 3), 2), NO_DROP, routing)
    assert not found[0].any()
    assert found[1].any()


def test_lora_form_drops_its_inputs():
    """B A drop(x): D = 5 numbers per token, before A."""
    config = DenseConfig(rank=3, num_experts=2)
    weights = {kind: drawn((2, 3, 5), 1) for kind in ("perft_down", "perft_up")}
    x_TD, drop_TD = drawn((4, 5), 2), drawn((4, 5), 3)
    found = apply_experts(config, weights, x_TD, Drop(lambda x: x * drop_TD))
    torch.testing.assert_close(found, apply_experts(config, weights, x_TD * drop_TD))


def test_parallel_form_drops_its_bottleneck_before_the_activation():
    """W2 silu(drop(W1 x)): M R = 6 numbers per token, between W1 and silu."""
    config = DenseConfig(rank=3, num_experts=2, form="parallel")
    weights = {kind: drawn((2, 3, 5), 1) for kind in ("perft_down", "perft_up")}
    x_TD, drop_TH = drawn((4, 5), 2), drawn((4, 6), 3)
    found = apply_experts(config, weights, x_TD, Drop(lambda h: h * drop_TH))
    wanted = torch.zeros_like(x_TD)
    for t in range(4):
        for j in range(2):
            h_R = (weights["perft_down"][j] @ x_TD[t]) * drop_TH[t, 3 * j : 3 * j + 3]
            wanted[t] += weights["perft_up"][j].T @ silu(h_R)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("activation", get_args(Activation))
def test_activations_are_those_that_transformers_calls_so(activation: str):
    """W2 f(W1 x), and f(0) = 0: what dropout drops says nothing."""
    config = DenseConfig(rank=3, num_experts=2, form="parallel", activation=activation)
    weights = {kind: drawn((2, 3, 5), 1) for kind in ("perft_down", "perft_up")}
    x_TD = drawn((4, 5), 2)
    f = ACT2FN[activation]
    wanted = sum(
        f(x_TD @ down_RD.T) @ up_RD
        for down_RD, up_RD in zip(weights["perft_down"], weights["perft_up"], strict=True)
    )
    torch.testing.assert_close(apply_experts(config, weights, x_TD), wanted)
    assert not apply_experts(config, weights, x_TD, Drop(torch.zeros_like)).any()


def test_every_activation_has_a_function_of_its_own():
    z = drawn((100,), 0)
    values = [ACTIVATIONS[name](z) for name in get_args(Activation)]
    assert set(ACTIVATIONS) == set(get_args(Activation))
    for i, one in enumerate(values):
        assert not any(torch.equal(one, other) for other in values[:i])


@pytest.mark.parametrize(
    ("base", "masters"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_masters_are_fp32_and_fp64_beside_fp64(base: torch.dtype, masters: torch.dtype):
    assert master_dtype(base) == masters


def test_output_is_in_the_dtype_of_the_hidden_states():
    config = DenseConfig(rank=2, num_experts=2)
    weights = {kind: torch.randn(2, 2, 3) for kind in ("perft_down", "perft_up")}
    routing = Routing(torch.rand(4, 1), torch.randint(2, (4, 1)))
    x_TD = torch.randn(4, 3, dtype=torch.bfloat16)
    assert apply_experts(config, weights, x_TD, NO_DROP, routing).dtype == torch.bfloat16
