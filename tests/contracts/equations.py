"""The equations of PERFT (arXiv 2411.08212, section 3), token by token and expert by expert.

Written from the paper alone, with no regard to speed: what the adapters must agree with.
Tensors: x_TD hidden states, down_MRD (A or W1 of each expert), up_MRD (B or W2, transposed).
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from perft.config import (
    AdapterConfig,
    DenseConfig,
    EmbeddedConfig,
    ExpertsConfig,
    GatedConfig,
    RoutedConfig,
)

Gates = list[dict[int, float | Tensor]]  # per token: weight by chosen expert


def silu(z: Tensor) -> Tensor:
    return z / (1.0 + torch.exp(-z))


def gelu(z: Tensor) -> Tensor:
    return z * (1.0 + torch.erf(z / math.sqrt(2.0))) / 2.0


def peft_expert(
    config: ExpertsConfig,
    down_RD: Tensor,
    up_RD: Tensor,
    x_D: Tensor,
    magnitude_D: Tensor | None = None,
) -> Tensor:
    """D(x) = (alpha/r) B A x, or W2 f(W1 x), or m (B A x) / |B A|, output by output."""
    if config.form == "dora":
        assert magnitude_D is not None
        product_OI = up_RD.T @ down_RD
        directions = [(row_I @ x_D) / row_I.norm().detach() for row_I in product_OI]
        return magnitude_D * torch.stack(directions)
    if config.form == "parallel":
        activation = {"silu": silu, "gelu": gelu}[config.activation]
        return up_RD.T @ activation(down_RD @ x_D)
    alpha = 2 * config.rank if config.alpha is None else config.alpha
    return (alpha / config.rank) * (up_RD.T @ (down_RD @ x_D))


def softmax_then_top_k(logits: list[float], top_k: int, normalize: bool) -> dict[int, float]:
    """Probabilities over all experts first; then the K largest are kept."""
    powers = [math.exp(value - max(logits)) for value in logits]
    probabilities = [power / sum(powers) for power in powers]
    chosen = sorted(range(len(logits)), key=lambda j: -probabilities[j])[:top_k]
    total = sum(probabilities[j] for j in chosen) if normalize else 1.0
    return {j: probabilities[j] / total for j in chosen}


def route(router_MD: Tensor, x_TD: Tensor, top_k: int, normalize: bool) -> Gates:
    """The weights that a router W gives each token's experts."""
    return [
        softmax_then_top_k([float(row @ x_D) for row in router_MD], top_k, normalize)
        for x_D in x_TD
    ]


def gates_of_variant(
    config: AdapterConfig, weights: Mapping[str, Tensor], x_TD: Tensor, base_gates: Gates
) -> Gates:
    """Which PEFT experts each token uses, and how much."""
    if isinstance(config, RoutedConfig):
        return route(weights["perft_router"], x_TD, config.top_k, config.normalize_top_k)
    if isinstance(config, EmbeddedConfig):
        return base_gates
    if isinstance(config, GatedConfig):
        (gate_D,) = weights["perft_gate"]
        return [{0: 1.0 / (1.0 + math.exp(-float(gate_D @ x_D)))} for x_D in x_TD]
    count = config.num_experts if isinstance(config, DenseConfig) else 1
    return [dict.fromkeys(range(count), 1.0) for _ in x_TD]


def beside_block(
    config: ExpertsConfig, weights: Mapping[str, Tensor], x_TD: Tensor, base_gates: Gates
) -> Tensor:
    """What the PERFT variant adds to the MoE block's output, (T, D)."""
    gates = gates_of_variant(config, weights, x_TD, base_gates)
    y_TD = torch.zeros_like(x_TD)
    for t, x_D in enumerate(x_TD):
        for j, gate in gates[t].items():
            kinds = ("perft_down", "perft_up", "perft_magnitude")
            down_RD, up_RD, magnitude_D = (weights[k][j] if k in weights else None for k in kinds)
            y_TD[t] += gate * peft_expert(config, down_RD, up_RD, x_D, magnitude_D)
    return y_TD


def low_rank(config: AdapterConfig, a_RI: Tensor, b_OR: Tensor) -> Tensor:
    """(alpha/r) B A, entry by entry."""
    alpha = 2 * config.rank if config.alpha is None else config.alpha
    product = torch.zeros(len(b_OR), a_RI.shape[1], dtype=a_RI.dtype)
    for o in range(len(b_OR)):
        for i in range(a_RI.shape[1]):
            product[o, i] = sum(b_OR[o, r] * a_RI[r, i] for r in range(config.rank))
    return (alpha / config.rank) * product
