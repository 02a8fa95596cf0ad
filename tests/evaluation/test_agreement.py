"""Agreement of routers: known values, and none that depends on what experts are called."""

import pytest
import torch

from perft.evaluation.agreement import linear_cka, mutual_information


def routed(tokens: int, experts: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, experts, generator=generator).softmax(-1)


def test_a_router_agrees_wholly_with_itself_under_other_names() -> None:
    prob_TM = routed(500, 6, seed=0)
    renamed_TM = prob_TM[:, torch.tensor([3, 1, 5, 0, 2, 4])]
    assert linear_cka(prob_TM, renamed_TM) == pytest.approx(1.0)
    assert mutual_information(prob_TM.argmax(-1), renamed_TM.argmax(-1)) == pytest.approx(1.0)


def test_independent_routers_of_different_sizes_hardly_agree() -> None:
    first, second = routed(20_000, 4, seed=1), routed(20_000, 8, seed=2)
    assert linear_cka(first, second) < 0.01
    assert mutual_information(first.argmax(-1), second.argmax(-1)) < 0.01


def test_a_router_that_always_does_the_same_agrees_with_none() -> None:
    constant, other = torch.full((100, 4), 0.25), routed(100, 4, seed=3)
    assert linear_cka(constant, other) == 0.0
    one = torch.zeros(100, dtype=torch.long)
    assert mutual_information(one, other.argmax(-1)) == pytest.approx(0.0, abs=1e-12)
    assert mutual_information(one, one) == 0.0


def test_mutual_information_of_a_table_by_hand() -> None:
    # 4 tokens: (0, 0), (0, 1), (1, 1), (1, 1); entropies ln 2 and 0.5623, joint 1.0397.
    first, second = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])
    wanted = (0.693147 + 0.562335 - 1.039721) / ((0.693147 + 0.562335) / 2)
    assert mutual_information(first, second) == pytest.approx(wanted, abs=1e-5)


def test_cka_is_that_of_the_naive_kernels() -> None:
    first, second = routed(40, 3, seed=4).double(), routed(40, 5, seed=5).double()
    centre = torch.eye(40, dtype=torch.float64) - 1 / 40
    kernels = [centre @ (each @ each.T) @ centre for each in (first, second)]
    wanted = (kernels[0] * kernels[1]).sum() / (kernels[0].norm() * kernels[1].norm())
    assert linear_cka(first, second) == pytest.approx(float(wanted), abs=1e-9)
