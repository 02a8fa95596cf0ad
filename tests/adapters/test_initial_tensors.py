"""Initial tensors have the distributions that the two initialisations promise."""

import math

import pytest
import torch

from contracts.adapters import SIX
from perft import adapters
from perft.adapters.geometry import BlockGeometry
from perft.adapters.init import DOWN, UP, draw
from perft.adapters.routed import ROUTER_STD
from perft.config import AdapterConfig, LoraQVConfig, RoutedConfig

BLOCK = BlockGeometry(hidden_size=512, num_experts=4, top_k=2)


def tensors(config: AdapterConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    geometry = (512, 512) if config.variant.startswith("lora") else BLOCK
    generator = torch.Generator().manual_seed(seed)
    return draw(config, adapters.shapes(config, geometry), generator)


@pytest.mark.parametrize("variant", SIX)
def test_every_variant_draws_its_shapes_in_fp32(variant: str):
    geometry = (512, 512) if variant.startswith("lora") else BLOCK
    found = tensors(SIX[variant])
    assert {kind: tuple(t.shape) for kind, t in found.items()} == dict(
        adapters.shapes(SIX[variant], geometry)
    )
    assert {t.dtype for t in found.values()} == {torch.float32}
    assert set(found) <= {*DOWN, *UP, "perft_router"}


@pytest.mark.parametrize("variant", SIX)
def test_lora_init_has_zero_up_and_kaiming_uniform_down(variant: str):
    found = tensors(SIX[variant])
    for kind in set(UP) & set(found):
        assert not found[kind].any()
    for kind in set(DOWN) & set(found):
        bound = 1 / math.sqrt(512)
        assert found[kind].abs().max() <= bound
        assert float(found[kind].std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
        assert abs(float(found[kind].mean())) < bound / 10


def test_lora_init_has_the_std_of_torch_s_linear_layers():
    torch.manual_seed(0)
    wanted = torch.nn.Linear(512, 64, bias=False).weight.detach()
    found = tensors(LoraQVConfig(rank=64))["lora_A"]
    assert float(found.std()) == pytest.approx(float(wanted.std()), rel=0.02)


@pytest.mark.parametrize("rank", [4, 16])
def test_perft_init_has_the_authors_deviations(rank: int):
    """At rank 16, A has a deviation of 0.35."""
    found = tensors(RoutedConfig(rank=rank, num_experts=8, top_k=2, init="perft"))
    assert float(found["perft_down"].std()) == pytest.approx(math.sqrt(2 / rank), rel=0.03)
    assert float(found["perft_up"].std()) == pytest.approx(1e-6, rel=0.03)
    assert float(found["perft_router"].std()) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("init", ["lora", "perft"])
def test_router_starts_the_same_way_in_both(init: str):
    config = RoutedConfig(rank=2, num_experts=8, top_k=2, init=init)
    assert float(tensors(config)["perft_router"].std()) == pytest.approx(ROUTER_STD, rel=0.05)


def test_experts_of_one_block_differ():
    down_MRD = tensors(RoutedConfig(rank=2, num_experts=3, top_k=1))["perft_down"]
    assert not torch.equal(down_MRD[0], down_MRD[1])
