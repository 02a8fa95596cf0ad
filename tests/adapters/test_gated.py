"""PERFT-G is one PEFT expert behind a gate that each token opens for itself."""

import pytest
import torch
from torch import Tensor

from perft import adapters
from perft.adapters.block import BlockInput
from perft.adapters.forms import FORMS
from perft.adapters.geometry import BlockGeometry
from perft.adapters.init import draw
from perft.config import GatedConfig, SingleConfig

BLOCK = BlockGeometry(hidden_size=6, num_experts=4, top_k=2)


def drawn(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def weights_of(config: GatedConfig) -> dict[str, Tensor]:
    shapes = adapters.shapes(config, BLOCK).items()
    return {kind: drawn(*shape, seed=i) for i, (kind, shape) in enumerate(shapes)}


def apply(config, weights: dict[str, Tensor], x_TD: Tensor) -> Tensor:
    return adapters.apply_beside_block(config, weights, BlockInput(x_TD))[0]


@pytest.mark.parametrize("form", FORMS)
def test_each_token_takes_its_share_of_what_perft_s_adds(form: str):
    config, x_TD = GatedConfig(rank=3, form=form), drawn(5, 6, seed=9)
    weights = weights_of(config)
    pair = {kind: tensor for kind, tensor in weights.items() if kind != "perft_gate"}
    single_TD = apply(SingleConfig(rank=3, form=form), pair, x_TD)
    gate_T = torch.sigmoid((x_TD * weights["perft_gate"][0]).sum(-1))
    torch.testing.assert_close(apply(config, weights, x_TD), gate_T[:, None] * single_TD)
    for open_, share in ((1e4, 1.0), (-1e4, 0.0)):
        gate_1D = open_ * torch.sign(x_TD[:1])
        found = apply(config, {**pair, "perft_gate": gate_1D}, x_TD[:1])
        torch.testing.assert_close(found, share * single_TD[:1])


@pytest.mark.parametrize("form", ["lora", "parallel"])
def test_gradients_are_those_of_finite_differences(form: str):
    config, x_TD = GatedConfig(rank=2, form=form), drawn(3, 6, seed=9)
    weights = weights_of(config)

    def y(x_TD: Tensor, *tensors: Tensor) -> Tensor:
        return apply(config, dict(zip(weights, tensors, strict=True)), x_TD)

    assert torch.autograd.gradcheck(y, (x_TD, *weights.values()))


@pytest.mark.parametrize("init", ["lora", "perft"])
def test_the_gate_starts_half_open_and_learns_from_the_second_step_on(init: str):
    config, x_TD = GatedConfig(rank=3, init=init), drawn(5, 6, seed=9)
    tensors = draw(config, adapters.shapes(config, BLOCK), torch.Generator().manual_seed(0))
    weights = {kind: tensor.double().requires_grad_() for kind, tensor in tensors.items()}
    assert not weights["perft_gate"].any()
    if init == "lora":
        assert not apply(config, weights, x_TD).any()
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        (apply(config, weights, x_TD) - x_TD.detach()).square().sum().backward()
        optimizer.step()
    assert weights["perft_gate"].all()


def test_the_gate_is_a_master_and_computed_as_one():
    config = GatedConfig(rank=2)
    weights = {kind: tensor.detach().float() for kind, tensor in weights_of(config).items()}
    x_TD = drawn(5, 6, seed=1).detach().bfloat16()
    found = apply(config, weights, x_TD)
    assert found.dtype == torch.bfloat16
    wide = apply(config, weights, x_TD.float())
    torch.testing.assert_close(found.float(), wide, rtol=0.02, atol=0.02)
