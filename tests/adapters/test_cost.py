"""The rule that says when grouping routed PEFT experts pays, and what it says of known models."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perft.adapters.cost import BALANCE, grouped_pays, is_grouped

sizes = st.integers(1, 512)


@given(
    experts=sizes,
    top_k=st.integers(1, 16),
    rank=sizes,
    hidden=sizes,
    element_bytes=st.sampled_from([2, 4]),
    gigaflops=st.floats(1, 1e6),
    gigabytes=st.floats(1, 1e4),
)
def test_grouped_pays_where_its_flops_and_bytes_take_less_time(
    experts, top_k, rank, hidden, element_bytes, gigaflops, gigabytes
):
    """Six products of 2 D flops for each unit of rank; 14 rows of D moved for each choice."""
    dense = 6 * 2 * hidden * experts * rank / gigaflops
    grouped = 6 * 2 * hidden * top_k * rank / gigaflops
    grouped += 14 * hidden * top_k * element_bytes / gigabytes
    found = grouped_pays(
        experts, top_k, rank, element_bytes=element_bytes, balance=gigaflops / gigabytes
    )
    assert found == (grouped < dense) or grouped == pytest.approx(dense, rel=1e-9)


@given(experts=st.integers(1, 64), more=st.integers(0, 64), rank=sizes, balance=st.floats(0, 500))
def test_experts_that_all_tokens_use_are_never_grouped(experts, more, rank, balance):
    assert not grouped_pays(experts, experts + more, rank, element_bytes=2, balance=balance)


# (base or variant, M, K, R) and where it is computed grouped
CPU, CPU_BF16, GPU = BALANCE
KNOWN = [
    ("R 2/8", 8, 2, 16, set()),
    ("E on Mixtral", 8, 2, 16, set()),
    ("E on OLMoE", 64, 8, 16, set()),
    ("E on OLMoE", 64, 8, 64, {CPU}),
    ("E on Switch", 128, 1, 16, {CPU, CPU_BF16, GPU}),
    ("E on Qwen3-MoE", 128, 8, 16, {CPU}),
    ("E on DeepSeek-V3", 256, 8, 32, {CPU, CPU_BF16, GPU}),
]


@pytest.mark.parametrize(("name", "experts", "top_k", "rank", "where"), KNOWN)
def test_what_the_rule_says_of_known_models(name, experts, top_k, rank, where):
    found = {
        place
        for place, balance in BALANCE.items()
        if grouped_pays(experts, top_k, rank, element_bytes=place[1].itemsize, balance=balance)
    }
    assert found == where


@pytest.mark.parametrize(
    ("dtype", "rank", "hidden", "grouped"),
    [
        (torch.float32, 4, 8, True),
        (torch.bfloat16, 8, 8, True),
        (torch.bfloat16, 4, 8, False),  # rows of 8 bytes
        (torch.float32, 5, 8, False),
        (torch.float32, 4, 6, False),
        (torch.float64, 8, 8, False),  # no grouped product
        (torch.float16, 8, 8, False),
    ],
)
def test_only_what_a_grouped_product_takes_is_grouped(dtype, rank, hidden, grouped):
    assert is_grouped(torch.zeros(1024, rank, hidden, dtype=dtype), 1) == grouped


def test_few_experts_are_not_grouped():
    assert not is_grouped(torch.zeros(8, 16, 64), 2)
