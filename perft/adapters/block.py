"""The tensors that an adapter beside an MoE block sees."""

from dataclasses import dataclass

from torch import Tensor

from perft.adapters.dropout import NO_DROP, Drop
from perft.adapters.routing import Routing


@dataclass(frozen=True)
class BlockInput:
    """One adapter's share of what enters an MoE block.

    Attributes:
        x_TD: hidden states after the post-attention norm, the block's own input.
        drop: dropout of this adapter at this block.
        routing: the base router's choice for these tokens; None where no adapter asked for it.
    """

    x_TD: Tensor
    drop: Drop = NO_DROP
    routing: Routing | None = None
