"""LoRA on the fused weights of the base experts: W_e + (alpha/r) B_e A_e for every base expert e.

The updates of several adapters are computed together, for (token, choice) pairs sorted by base
expert, then by adapter; W + (alpha/r) B A is computed only for experts that `perft.models.experts`
does not support.

Shapes: E base experts, A adapters, R rank, I inputs, O outputs, N pairs. Each fused weight has one
pair of matrices per base expert: `<weight>_lora_A` is (E, R, I) and `<weight>_lora_B` is (E, O, R),
even if the family stores the weight transposed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from perft.adapters.config import AdapterConfig
from perft.adapters.weights import Weights
from perft.grouped import ALIGNMENT, MAX_GROUPS, Pairs, combine, dispatch, product


@dataclass(frozen=True)
class Stack:
    """The pairs of one fused weight of A adapters, for E A groups: by expert, then by adapter.

    Ranks are padded with zeros to the largest.

    Attributes:
        down_GRI: every `lora_A`.
        up_GOR: every `lora_B`, scaled.
    """

    down_GRI: Tensor
    up_GOR: Tensor


def max_adapters_per_stack(num_experts: int) -> int:
    """How many adapters one stack may have: a grouped product has at most `MAX_GROUPS` groups."""
    return max(1, MAX_GROUPS // num_experts)


def stack(
    adapters: Sequence[tuple[AdapterConfig, Weights]], name: str, dtype: torch.dtype
) -> Stack:
    """Stacks the pairs of the weight `name`, in the dtype of the products.

    Args:
        adapters: configuration and tensors of each.
        name: which weight.
        dtype: of the products.
    """
    aligned = ALIGNMENT // dtype.itemsize
    rank = -(-max(config.rank for config, _ in adapters) // aligned) * aligned
    downs, ups = [], []
    for config, weights in adapters:
        missing = rank - config.rank
        up_EOR = weights[f"{name}_lora_B"] * config.scale
        downs.append(F.pad(weights[f"{name}_lora_A"].to(dtype), (0, 0, 0, missing)))
        ups.append(F.pad(up_EOR.to(dtype), (0, missing)))
    return Stack(torch.stack(downs, 1).flatten(0, 1), torch.stack(ups, 1).flatten(0, 1))


def add_to_pairs(stacked: Stack, x_TI: Tensor, pairs: Pairs) -> Tensor:
    """The update (N, O) of the product from tokens to pairs."""
    h_NR = dispatch(x_TI, stacked.down_GRI, pairs)
    return product(h_NR, stacked.up_GOR.transpose(1, 2), pairs.end_M)


def add_to_tokens(stacked: Stack, h_NI: Tensor, pairs: Pairs) -> Tensor:
    """The update (T, O) of the sums over each token's pairs."""
    h_NR = product(h_NI, stacked.down_GRI.transpose(1, 2), pairs.end_M)
    return combine(h_NR, stacked.up_GOR.transpose(1, 2), pairs)


def merge(
    config: AdapterConfig, weights: Weights, name: str, weight: Tensor, transposed: bool
) -> Tensor:
    """The weight `name` with every expert's update, in its own dtype, with gradient to A and B.

    Args:
        config: rank and scale.
        weights: the pairs.
        name: which weight.
        weight: (E, O, I), or (E, I, O) if `transposed`.
        transposed: whether the family stores it transposed.
    """
    update_EOI = config.scale * (weights[f"{name}_lora_B"] @ weights[f"{name}_lora_A"])
    update = update_EOI.transpose(1, 2) if transposed else update_EOI
    # Added in the adapter's dtype: in bf16 the sum would be rounded twice.
    return (weight.to(update.dtype) + update).to(weight.dtype)
