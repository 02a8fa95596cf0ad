"""Form "dora": a PEFT expert of unit directions and learned magnitudes."""

import dataclasses

import pytest
import torch
from torch import Tensor

from perft import adapters
from perft.adapters.block import BlockInput
from perft.adapters.bottleneck import apply_experts
from perft.adapters.dropout import Drop
from perft.adapters.forms.dora.mathematics import row_norms
from perft.adapters.geometry import BlockGeometry
from perft.adapters.init import draw
from perft.adapters.routing import Routing
from perft.config import DenseConfig, SingleConfig
from perft.errors import ConfigError

BLOCK = BlockGeometry(hidden_size=6, num_experts=4, top_k=2)
CONFIG = DenseConfig(rank=3, num_experts=2, form="dora")


def drawn(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def weights_of(config: DenseConfig = CONFIG) -> dict[str, Tensor]:
    shapes = adapters.shapes(config, BLOCK).items()
    return {kind: drawn(*shape, seed=i) for i, (kind, shape) in enumerate(shapes)}


def started(rank: int = 3) -> dict[str, Tensor]:
    config = dataclasses.replace(CONFIG, rank=rank)
    shapes = adapters.shapes(config, BLOCK)
    tensors = draw(config, shapes, torch.Generator().manual_seed(0))
    return {kind: tensor.double().requires_grad_() for kind, tensor in tensors.items()}


def by_matrices(
    weights: dict[str, Tensor], x_TD: Tensor, norms_are_constant: bool = True
) -> Tensor:
    """Each expert as one D x D matrix: rows of unit length, times m."""
    y_TD = torch.zeros_like(x_TD)
    for a_RD, b_RD, m_D in zip(*weights.values(), strict=True):
        product_OI = b_RD.T @ a_RD
        norm_O1 = product_OI.norm(dim=1, keepdim=True)
        if norms_are_constant:
            norm_O1 = norm_O1.detach()
        y_TD = y_TD + x_TD @ (m_D[:, None] * product_OI / norm_O1).T
    return y_TD


def test_norms_are_those_of_the_rows_of_b_a():
    weights = weights_of()
    product_MOI = weights["perft_up"].transpose(1, 2) @ weights["perft_down"]
    found = row_norms(weights["perft_down"], weights["perft_up"])
    torch.testing.assert_close(found, product_MOI.norm(dim=2))
    assert not found.requires_grad


def test_output_and_gradients_are_those_of_the_whole_matrices():
    weights, x_TD, grad_TD = weights_of(), drawn(5, 6, seed=9), drawn(5, 6, seed=8)
    leaves = (x_TD, *weights.values())
    found, wanted = apply_experts(CONFIG, weights, x_TD), by_matrices(weights, x_TD)
    torch.testing.assert_close(found, wanted)
    gradients, theirs = (torch.autograd.grad(y, leaves, grad_TD.detach()) for y in (found, wanted))
    for mine, other in zip(gradients, theirs, strict=True):
        torch.testing.assert_close(mine, other)
    through = torch.autograd.grad(by_matrices(weights, x_TD, False), leaves, grad_TD.detach())
    assert not torch.allclose(gradients[1], through[1]), "norms with a gradient differ"


def test_gradients_to_input_and_magnitude_are_those_of_finite_differences():
    weights, x_TD = weights_of(), drawn(3, 6, seed=9)
    pair = {kind: weights[kind].detach() for kind in ("perft_down", "perft_up")}

    def y(x_TD: Tensor, m_MD: Tensor) -> Tensor:
        return apply_experts(CONFIG, {**pair, "perft_magnitude": m_MD}, x_TD)

    assert torch.autograd.gradcheck(y, (x_TD, weights["perft_magnitude"]))


def test_neither_the_size_of_b_a_nor_alpha_changes_anything():
    weights, x_TD = weights_of(), drawn(5, 6, seed=9)
    wanted = apply_experts(CONFIG, weights, x_TD)
    scaled = {**weights, "perft_up": 7.0 * weights["perft_up"]}
    torch.testing.assert_close(apply_experts(CONFIG, scaled, x_TD), wanted)
    other = dataclasses.replace(CONFIG, alpha=1.0)
    assert torch.equal(apply_experts(other, weights, x_TD), wanted)


def test_it_starts_as_a_no_op_with_directions_and_all_of_it_learns():
    weights, x_TD = started(), drawn(5, 6, seed=9)
    assert not weights["perft_magnitude"].any()
    assert not apply_experts(CONFIG, weights, x_TD).any()
    assert weights["perft_up"].abs().max() <= 3**-0.5
    assert row_norms(weights["perft_down"], weights["perft_up"]).min() > 0.01
    before = {kind: tensor.detach().clone() for kind, tensor in weights.items()}
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-2, weight_decay=0.0)
    moved = []
    for _ in range(2):
        optimizer.zero_grad()
        (apply_experts(CONFIG, weights, x_TD) - x_TD.detach()).square().sum().backward()
        optimizer.step()
        moved.append({kind for kind in weights if not torch.equal(weights[kind], before[kind])})
    assert moved == [{"perft_magnitude"}, set(weights)]


def test_b_starts_kaiming_uniform_of_its_rank():
    up_MRD = started(rank=64)["perft_up"].detach()
    assert float(up_MRD.std()) == pytest.approx(64**-0.5 / 3**0.5, rel=0.1)


def test_a_row_without_direction_says_nothing():
    weights = {kind: tensor.detach().clone() for kind, tensor in weights_of().items()}
    weights["perft_up"][:, :, 2] = 0.0
    found = apply_experts(CONFIG, weights, drawn(5, 6, seed=9).detach())
    assert found.isfinite().all()
    assert not found[:, 2].any()
    assert found[:, 3].all()


def test_gates_multiply_each_expert_s_output():
    weights, x_TD = weights_of(), drawn(4, 6, seed=9)
    gate_TK, index_TK = drawn(4, 1, seed=5), torch.tensor([[0], [1], [1], [0]])
    found = apply_experts(CONFIG, weights, x_TD, routing=Routing(gate_TK, index_TK))
    for t in range(4):
        one = {kind: tensor[index_TK[t]] for kind, tensor in weights.items()}
        torch.testing.assert_close(found[t], gate_TK[t] * by_matrices(one, x_TD[t : t + 1])[0])


def test_it_drops_its_inputs_with_their_gain():
    weights, x_TD, keep_TD = weights_of(), drawn(4, 6, seed=9), drawn(4, 6, seed=3)
    found = apply_experts(CONFIG, weights, x_TD, Drop(lambda x: x * keep_TD, 2.0))
    torch.testing.assert_close(found, 2.0 * by_matrices(weights, x_TD * keep_TD))


def test_in_bf16_the_norms_are_of_the_masters():
    weights = {kind: tensor.detach().float() for kind, tensor in weights_of().items()}
    x_TD = drawn(5, 6, seed=1).detach().bfloat16()
    found, _ = adapters.apply_beside_block(CONFIG, weights, BlockInput(x_TD))
    assert found.dtype == torch.bfloat16
    wide = apply_experts(CONFIG, weights, x_TD.float())
    torch.testing.assert_close(found.float(), wide, rtol=0.03, atol=0.03)


def test_the_authors_initialisation_and_an_activation_are_refused():
    with pytest.raises(ConfigError, match=r"cannot start by init='perft'; set init to 'lora'"):
        SingleConfig(rank=2, form="dora", init="perft")
    with pytest.raises(ConfigError, match="has no activation, found activation='gelu'"):
        SingleConfig(rank=2, form="dora", activation="gelu")
