"""The interface to transformers: how a family stores the weights of a block's base experts.

Most keep each weight of all experts as one parameter of three dimensions, (E, O, I) or, in a few
families, (E, I, O). Adapters on them need experts that take each token's choice.
"""

import inspect

from torch import nn

from perft.adapters.table import by_base_router
from perft.errors import BaseModelError
from perft.models.blocks import MoEBlock


def is_transposed(experts: nn.Module) -> bool:
    """Whether the fused weights are stored as (E, I, O)."""
    return bool(getattr(experts, "is_transposed", False))


def fused_weights(block: MoEBlock) -> dict[str, tuple[int, int, int]]:
    """(E, O, I) of each fused weight of a block's base experts, by parameter name.

    Raises:
        BaseModelError: if the experts are not fused, or do not take (hidden states, chosen experts,
            their weights) of each token.
    """
    found: dict[str, tuple[int, int, int]] = {}
    for name, parameter in block.experts.named_parameters(recurse=False):
        if parameter.dim() == 3:
            experts, rows, columns = parameter.shape
            swap = is_transposed(block.experts)
            found[name] = (experts, columns, rows) if swap else (experts, rows, columns)
    if not found or len(inspect.signature(block.experts.forward).parameters) < 3:
        kind = type(block.experts).__name__
        raise BaseModelError(
            f"the experts of {block.name} of base {block.base!r} are not kept as fused weights "
            f"that are applied to each token's choice ({kind}), so LoRA cannot be put on them; "
            f"{by_base_router()} puts one PEFT expert beside each base expert instead"
        )
    return found
