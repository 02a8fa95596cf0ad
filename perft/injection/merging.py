"""Merges a LoRA adapter into the weights of its base: W becomes W + (alpha/r) B A.

What runs beside an MoE block is no update of a weight, and cannot be merged.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from perft import adapters
from perft.adapters.lora_experts import mathematics as lora_experts
from perft.adapters.table import TABLE, variant_of
from perft.adapters.weights import Weights
from perft.config import AdapterConfig
from perft.errors import AdapterError, listed
from perft.injection.attach_points import AttachPoint, attach_points_of
from perft.injection.host import AdapterHost
from perft.models.blocks import MoEBlock
from perft.models.fused import fused_weights, is_transposed
from perft.tensor_keys import key_of


def require_mergeable(config: AdapterConfig) -> None:
    """Checks that a variant is an update of weights.

    Raises:
        AdapterError: if it is not.
    """
    if variant_of(config).attach == "moe block":
        others = listed(v.name for v in TABLE.values() if v.attach != "moe block")
        raise AdapterError(
            f"{config.variant} runs beside each MoE block and changes no weight of the base, so "
            f"there is nothing that it could be merged into ({others} can be merged); serve it as "
            "it is: perft serve"
        )


@torch.no_grad()
def merge_into_base(host: AdapterHost, name: str) -> None:
    """Adds an adapter's update to the base's own weights, and removes the adapter.

    Sums are computed in the adapter's dtype and rounded once to the base's.

    Args:
        host: a base that is not sharded, with the adapter.
        name: the adapter.

    Raises:
        AdapterError: if its variant cannot be merged.
    """
    config = host.configs[name]
    require_mergeable(config)
    tensors = host.tensors(name)
    for point in attach_points_of(host.model, host.blocks, config):
        kinds = adapters.shapes(config, point.geometry)
        weights = {kind: tensors[key_of(point.path, kind)] for kind in kinds}
        for parameter, merged in _merged(point, config, weights):
            parameter.copy_(merged)
    host.remove(name)


def _merged(
    point: AttachPoint, config: AdapterConfig, weights: Weights
) -> Iterator[tuple[Tensor, Tensor]]:
    """The base's parameters at one place, and what they become."""
    if isinstance(point.target, nn.Linear):
        yield point.target.weight, adapters.merge(config, weights, point.target.weight)
    elif point.attach == "router":
        weight = point.target.scorer.get_parameter(point.target.scorer_weight)
        yield weight, adapters.merge(config, weights, weight)
    else:
        yield from _of_experts(point.target, config, weights)


def _of_experts(
    block: MoEBlock, config: AdapterConfig, weights: Weights
) -> Iterator[tuple[Tensor, Tensor]]:
    swap = is_transposed(block.experts)
    for name in fused_weights(block):
        weight = block.experts.get_parameter(name)
        yield weight, lora_experts.merge(config, weights, name, weight, swap)
