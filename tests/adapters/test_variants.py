"""Each variant as a pure function: what it adds, what it shares with the others."""

import pytest
import torch
from torch import Tensor

from contracts.adapters import EVERY
from contracts.equations import beside_block, low_rank
from perft import adapters
from perft.adapters.block import BlockInput
from perft.adapters.forms import FORMS
from perft.adapters.geometry import BlockGeometry
from perft.adapters.init import draw
from perft.adapters.lora import mathematics as lora
from perft.adapters.lora import shapes as lora_shapes
from perft.adapters.routing import Routing
from perft.config import DenseConfig, EmbeddedConfig, LoraQVConfig, RoutedConfig, SingleConfig

BLOCK = BlockGeometry(hidden_size=6, num_experts=4, top_k=2)
TOKENS = 5


def weights_of(config, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        kind: torch.randn(shape, generator=generator, dtype=torch.float64)
        for kind, shape in adapters.shapes(config, BLOCK).items()
    }


def block_input(routing: Routing | None = None) -> BlockInput:
    x_TD = torch.randn(TOKENS, 6, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return BlockInput(x_TD, routing=routing)


def base_routing() -> Routing:
    generator = torch.Generator().manual_seed(4)
    weight_TK = torch.rand(TOKENS, 2, generator=generator, dtype=torch.float64)
    index_TK = torch.stack([torch.randperm(4, generator=generator)[:2] for _ in range(TOKENS)])
    return Routing(weight_TK, index_TK)


@pytest.mark.parametrize("variant", [name for name in EVERY if name.startswith("perft-")])
def test_variant_adds_what_its_equation_says(variant: str):
    config, block = EVERY[variant], block_input(base_routing())
    assert block.routing is not None
    gates = [
        dict(zip(index.tolist(), weight, strict=True))
        for index, weight in zip(block.routing.index_TK, block.routing.weight_TK, strict=True)
    ]
    found, sums = adapters.apply_beside_block(config, weights_of(config), block)
    wanted = beside_block(config, weights_of(config), block.x_TD, gates)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    assert (sums is not None) == isinstance(config, RoutedConfig)


@pytest.mark.parametrize("form", FORMS)
def test_dense_is_the_plain_sum_of_single_ones(form: str):
    dense = DenseConfig(rank=3, num_experts=4, form=form)
    weights = weights_of(dense)
    found, _ = adapters.apply_beside_block(dense, weights, block_input())
    parts = [
        adapters.apply_beside_block(
            SingleConfig(rank=3, form=form),
            {kind: tensor[j : j + 1] for kind, tensor in weights.items()},
            block_input(),
        )[0]
        for j in range(4)
    ]
    torch.testing.assert_close(found, sum(parts), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_routed_one_of_one_is_single_exactly(form: str):
    routed = RoutedConfig(rank=3, num_experts=1, top_k=1, form=form)
    weights = weights_of(routed)
    single = {kind: tensor for kind, tensor in weights.items() if kind != "perft_router"}
    found, _ = adapters.apply_beside_block(routed, weights, block_input())
    wanted, _ = adapters.apply_beside_block(SingleConfig(rank=3, form=form), single, block_input())
    assert torch.equal(found, wanted)


def test_embedded_without_the_base_s_choice_is_our_own_bug():
    config = EmbeddedConfig(rank=2)
    with pytest.raises(AssertionError, match="captures the base router's choice"):
        adapters.apply_beside_block(config, weights_of(config), block_input(None))


@pytest.mark.parametrize("alpha", [None, 1.0, 7.5])
def test_lora_adds_b_a_x_scaled_by_alpha_over_rank(alpha: float | None):
    config = LoraQVConfig(rank=2, alpha=alpha)
    shapes = lora_shapes(config, (3, 6))
    weights = {
        kind: tensor.double()
        for kind, tensor in draw(config, shapes, torch.Generator().manual_seed(1)).items()
    }
    weights["lora_B"] = torch.randn(3, 2, dtype=torch.float64)
    x_TI = block_input().x_TD
    update_OI = low_rank(config, weights["lora_A"], weights["lora_B"])
    found = lora.apply(config, weights, x_TI)
    torch.testing.assert_close(found, x_TI @ update_OI.T, rtol=1e-12, atol=1e-12)
    weight_OI = torch.randn(3, 6, dtype=torch.float64)
    merged = lora.merge(config, weights, weight_OI)
    torch.testing.assert_close(merged, weight_OI + update_OI, rtol=1e-12, atol=1e-12)


def test_merged_weight_is_in_the_adapter_s_dtype():
    config = LoraQVConfig(rank=2)
    weights = {"lora_A": torch.zeros(2, 6), "lora_B": torch.zeros(3, 2)}
    assert lora.merge(config, weights, torch.ones(3, 6).bfloat16()).dtype == torch.float32
