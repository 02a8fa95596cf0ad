"""Every base expert's weight gets the update of its own pair, whichever way round it is stored."""

import pytest
import torch
from torch import Tensor

from contracts.equations import low_rank
from perft import adapters
from perft.adapters.geometry import FusedGeometry, FusedWeight
from perft.adapters.lora_experts import mathematics as lora_experts
from perft.config import LoraExpertsConfig

CONFIG = LoraExpertsConfig(rank=2, alpha=3.0)
FUSED = FusedGeometry((FusedWeight("up", 3, 8, 5), FusedWeight("down", 3, 5, 4)), top_k=2)


def drawn(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        kind: torch.randn(shape, generator=generator, dtype=dtype)
        for kind, shape in adapters.shapes(CONFIG, FUSED).items()
    }


def test_every_weight_has_a_pair_for_every_expert() -> None:
    assert adapters.shapes(CONFIG, FUSED) == {
        "up_lora_A": (3, 2, 5),
        "up_lora_B": (3, 8, 2),
        "down_lora_A": (3, 2, 4),
        "down_lora_B": (3, 5, 2),
    }
    assert adapters.activated(CONFIG, FUSED) == 2 * 2 * (5 + 8 + 4 + 5)


@pytest.mark.parametrize("transposed", [False, True])
def test_update_is_alpha_over_r_times_b_a_of_each_expert(transposed: bool) -> None:
    weights = drawn()
    weight_EOI = torch.randn(3, 8, 5, dtype=torch.float64)
    stored = weight_EOI.transpose(1, 2) if transposed else weight_EOI
    merged = lora_experts.merge(CONFIG, weights, "up", stored, transposed)
    assert merged.shape == stored.shape
    merged_EOI = merged.transpose(1, 2) if transposed else merged
    for e in range(3):
        wanted = weight_EOI[e] + low_rank(CONFIG, weights["up_lora_A"][e], weights["up_lora_B"][e])
        torch.testing.assert_close(merged_EOI[e], wanted, rtol=0, atol=1e-12)


def test_merged_weight_is_in_the_base_s_dtype_and_the_update_is_rounded_once() -> None:
    weights = {kind: tensor.requires_grad_(True) for kind, tensor in drawn(torch.float32).items()}
    weight = torch.randn(3, 8, 5, dtype=torch.bfloat16)
    merged = lora_experts.merge(CONFIG, weights, "up", weight, False)
    exact = weight.double() + 1.5 * (weights["up_lora_B"] @ weights["up_lora_A"]).double()
    assert merged.dtype == torch.bfloat16
    assert torch.equal(merged, exact.to(torch.bfloat16))
    merged.sum().backward()
    assert weights["up_lora_A"].grad is not None
    assert weights["up_lora_B"].grad is not None
    assert weights["down_lora_A"].grad is None
