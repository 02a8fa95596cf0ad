"""PEFT experts for the tokens that chose them equal those computed for every token.

In fp32 and bf16, where a grouped product exists; what they must equal is in fp64.
"""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from contracts.equations import beside_block, peft_expert
from perft import adapters
from perft.adapters.block import BlockInput
from perft.adapters.bottleneck import all_experts, apply_experts
from perft.adapters.cost import is_grouped
from perft.adapters.dropout import NO_DROP, DropKey, keyed_drop
from perft.adapters.forms import FORMS
from perft.adapters.geometry import BlockGeometry
from perft.adapters.grouped import grouped_experts
from perft.adapters.routing import Routing, gates_of
from perft.config import EmbeddedConfig, ExpertsConfig, RoutedConfig
from perft.grouped import sort_pairs

BLOCK = BlockGeometry(hidden_size=8, num_experts=64, top_k=2)
TOKENS = 9
# So many small experts that they are computed grouped in fp32, and dense in fp64.
R, E = RoutedConfig(rank=8, num_experts=64, top_k=2), EmbeddedConfig(rank=8)
GROUPED = [dataclasses.replace(config, form=form) for config in (R, E) for form in FORMS]


def drawn(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def identity(z: Tensor) -> Tensor:
    return z


@dataclasses.dataclass
class Case:
    """Leaves of one computation, and a gradient of its output."""

    x_TD: Tensor
    down_MRD: Tensor
    up_MRD: Tensor
    weight_TK: Tensor
    index_TK: Tensor
    grad_TD: Tensor

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        return self.x_TD, self.down_MRD, self.up_MRD, self.weight_TK

    @property
    def routing(self) -> Routing:
        return Routing(self.weight_TK, self.index_TK)

    def to(self, dtype: torch.dtype) -> "Case":
        """With leaves of their own, rounded to `dtype`."""
        leaves = [leaf.detach().to(dtype).requires_grad_() for leaf in self.leaves]
        return Case(*leaves, self.index_TK, self.grad_TD.to(dtype))


def case(tokens: int, experts: int, top_k: int, seed: int, to_one: bool = False) -> Case:
    generator = torch.Generator().manual_seed(seed)
    index_TK = torch.randint(experts, (1 if to_one else tokens, top_k), generator=generator)
    return Case(
        drawn(tokens, 8, seed=seed),
        drawn(experts, 4, 8, seed=seed + 1, scale=0.5),
        drawn(experts, 4, 8, seed=seed + 2, scale=0.5),
        drawn(tokens, top_k, seed=seed + 3),
        index_TK.expand(tokens, top_k),
        drawn(tokens, 8, seed=seed + 4),
    ).to(torch.float32)


def grouped(c: Case, activate: Callable[[Tensor], Tensor] = F.silu) -> Tensor:
    return grouped_experts(
        c.down_MRD, c.up_MRD, c.x_TD, c.routing, activate=activate, zero=identity
    )


def masked(c: Case, activate: Callable[[Tensor], Tensor] = F.silu) -> Tensor:
    gate_TM = gates_of(c.routing, len(c.down_MRD))
    return all_experts(c.down_MRD, c.up_MRD, c.x_TD, gate_TM, activate=activate, zero=identity)


def grad_of(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad


def assert_near(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    found, wanted = found.detach(), wanted.detach()
    bound = tolerance * (1.0 + float(wanted.abs().max())) if wanted.numel() else 0.0
    torch.testing.assert_close(found.double(), wanted.double(), rtol=0, atol=bound)


def assert_same_gradients(found: Case, wanted: Case, tolerance: float = 1e-5) -> None:
    for mine, theirs in zip(found.leaves, wanted.leaves, strict=True):
        assert_near(grad_of(mine), grad_of(theirs), tolerance)


cases = st.builds(
    case,
    tokens=st.integers(0, 12),
    experts=st.integers(1, 6),
    top_k=st.integers(1, 4),  # more than there are experts: some are chosen twice
    seed=st.integers(0, 2**16),
    to_one=st.booleans(),
)


@settings(deadline=None, max_examples=60)
@example(c=case(0, 3, 2, 0))
@example(c=case(1, 1, 1, 0))
@example(c=case(12, 6, 1, 0, to_one=True))
@example(c=case(12, 1, 3, 0))
@given(c=cases)
def test_grouped_equals_masked_and_so_do_the_gradients(c: Case):
    wide = c.to(torch.float64)
    found, wanted = grouped(c), masked(wide)
    assert_near(found, wanted)
    found.backward(c.grad_TD)
    wanted.backward(wide.grad_TD)
    assert_same_gradients(c, wide)


@settings(deadline=None, max_examples=30)
@given(c=cases)
@torch.no_grad()
def test_grouped_equals_each_expert_on_its_own(c: Case):
    wide, config = c.to(torch.float64), EmbeddedConfig(rank=4, form="parallel")
    wanted = torch.zeros_like(wide.x_TD)
    for t, x_D in enumerate(wide.x_TD):
        for j, weight in zip(wide.index_TK[t], wide.weight_TK[t], strict=True):
            wanted[t] += weight * peft_expert(config, wide.down_MRD[j], wide.up_MRD[j], x_D)
    assert_near(grouped(c), wanted)


def test_pairs_are_all_choices_by_expert_and_within_one_by_token():
    index_TK = torch.tensor([[3, 0], [0, 3], [3, 3]])
    pairs = sort_pairs(index_TK, 5)
    found = list(zip(pairs.expert_N.tolist(), pairs.token_N.tolist(), strict=True))
    assert found == [(0, 0), (0, 1), (3, 0), (3, 1), (3, 2), (3, 2)]
    assert pairs.end_M.tolist() == [2, 2, 2, 6, 6]
    assert torch.equal(index_TK, pairs.expert_N[pairs.place_TK])
    assert torch.equal(pairs.expert_N, index_TK.flatten()[pairs.order_N])


def test_expert_that_no_token_chose_gets_no_gradient_and_gives_nothing():
    c = case(12, 4, 2, seed=1)
    c.index_TK = c.index_TK.clamp(max=2)
    grouped(c).backward(c.grad_TD)
    for weight_MRD in (c.down_MRD, c.up_MRD):
        assert not grad_of(weight_MRD)[3].any()
        assert grad_of(weight_MRD)[:3].any(-1).all()


def test_first_layer_s_input_needs_no_gradient():
    c, wide = case(12, 4, 2, seed=1), case(12, 4, 2, seed=1).to(torch.float64)
    c.x_TD = c.x_TD.detach()
    grouped(c).backward(c.grad_TD)
    masked(wide).backward(wide.grad_TD)
    assert c.x_TD.grad is None
    assert_near(grad_of(c.down_MRD), grad_of(wide.down_MRD))


def test_gradient_is_the_same_where_the_forward_pass_is_recomputed():
    c = case(12, 4, 2, seed=1)
    again = c.to(torch.float32)
    grouped(c).backward(c.grad_TD)
    recomputed = checkpoint(lambda _: grouped(again), again.x_TD, use_reentrant=False)
    recomputed.backward(again.grad_TD)
    for one, other in zip(c.leaves, again.leaves, strict=True):
        assert torch.equal(grad_of(one), grad_of(other))


def test_bf16_differs_from_fp64_by_rounding_only():
    c = case(64, 6, 3, seed=1)
    c.down_MRD, c.up_MRD = (w.detach().repeat(1, 2, 1) for w in (c.down_MRD, c.up_MRD))
    narrow = c.to(torch.bfloat16)
    wide = narrow.to(torch.float64)
    found, wanted = grouped(narrow), masked(wide)
    assert found.dtype == torch.bfloat16
    assert_near(found, wanted, 0.02)
    found.backward(narrow.grad_TD)
    wanted.backward(wide.grad_TD)
    assert_same_gradients(narrow, wide, 0.02)


def weights_of(config: ExpertsConfig, dtype: torch.dtype) -> dict[str, Tensor]:
    return {
        kind: drawn(*shape, seed=i, scale=0.5).float().to(dtype).requires_grad_()
        for i, (kind, shape) in enumerate(adapters.shapes(config, BLOCK).items())
    }


def block_input(dtype: torch.dtype, probability: float = 0.0) -> BlockInput:
    """With the base's routing, which PERFT-E uses, and dropout that follows from a key."""
    x_TD = drawn(TOKENS, 8, seed=7).float().to(dtype).requires_grad_()
    index_TK = torch.randint(64, (TOKENS, 2), generator=torch.Generator().manual_seed(2))
    weight_TK = drawn(TOKENS, 2, seed=8).float().to(dtype).requires_grad_()
    key = DropKey.of(seed=1, step=2, rows=slice(0, 3))
    return BlockInput(
        x_TD,
        keyed_drop(key, 0, probability),
        Routing(weight_TK, index_TK),
    )


def taken(config: ExpertsConfig, dtype: torch.dtype, probability: float) -> list[Tensor]:
    """The variant's output, and every gradient there is: router and gates included."""
    weights, block = weights_of(config, dtype), block_input(dtype, probability)
    assert block.routing is not None
    assert is_grouped(weights["perft_down"], 2) == (dtype != torch.float64)
    y_TD, _ = adapters.apply_beside_block(config, weights, block)
    y_TD.backward(drawn(TOKENS, 8, seed=3).to(dtype))
    leaves = [block.x_TD, *weights.values()]
    if isinstance(config, EmbeddedConfig):
        leaves.append(block.routing.weight_TK)
    for leaf in leaves:
        assert grad_of(leaf).any()
    return [y_TD, *(grad_of(leaf) for leaf in leaves)]


@pytest.mark.parametrize("probability", [0.0, 0.4])
@pytest.mark.parametrize("config", GROUPED, ids=lambda c: f"{c.variant}-{c.form}")
def test_variant_gives_and_learns_the_same_grouped_and_dropping_the_same(config, probability):
    found, wanted = (taken(config, dtype, probability) for dtype in (torch.float32, torch.float64))
    for mine, theirs in zip(found, wanted, strict=True):
        assert_near(mine, theirs)


@pytest.mark.parametrize("config", GROUPED, ids=lambda c: f"{c.variant}-{c.form}")
def test_dropout_says_something_in_either_form(config: ExpertsConfig):
    dropping, not_dropping = (taken(config, torch.float32, p)[0] for p in (0.4, 0.0))
    assert not torch.allclose(dropping, not_dropping, rtol=0.1)


@pytest.mark.parametrize("config", GROUPED, ids=lambda c: f"{c.variant}-{c.form}")
@torch.no_grad()
def test_variant_grouped_is_its_equation(config: ExpertsConfig):
    block, wide = block_input(torch.float32), weights_of(config, torch.float64)
    assert block.routing is not None
    gates = [
        dict(zip(index.tolist(), weight.double(), strict=True))
        for index, weight in zip(block.routing.index_TK, block.routing.weight_TK, strict=True)
    ]
    found, _ = adapters.apply_beside_block(config, weights_of(config, torch.float32), block)
    assert_near(found, beside_block(config, wide, block.x_TD.double(), gates))


@torch.no_grad()
def test_lora_form_s_scale_counts_when_grouped():
    weights, block = weights_of(E, torch.float32), block_input(torch.float32)
    found = [
        apply_experts(dataclasses.replace(E, alpha=a), weights, block.x_TD, NO_DROP, block.routing)
        for a in (8.0, 4.0)
    ]
    assert_near(found[0], 2 * found[1])
