"""The input of an adapter beside an MoE block."""

from dataclasses import dataclass

from torch import Tensor

from perft.adapters.dropout import NO_DROP, Drop
from perft.adapters.routing import Routing


@dataclass(frozen=True)
class BlockInput:
    """One adapter's rows of the input of an MoE block.

    Attributes:
        x_TD: hidden states after the post-attention norm, the block's own input.
        drop: dropout of this adapter at this block.
        routing: the base router's choice for these tokens; None if no adapter needs it.
    """

    x_TD: Tensor
    drop: Drop = NO_DROP
    routing: Routing | None = None
