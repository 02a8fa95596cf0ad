"""The sizes of the places on a base that adapters attach to. Free of torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockGeometry:
    """An MoE block's sizes: hidden size D, base experts E, base experts per token K."""

    hidden_size: int
    num_experts: int
    top_k: int


@dataclass(frozen=True)
class FusedWeight:
    """One weight of all base experts of a block: its name, E, O and I."""

    name: str
    experts: int
    outputs: int
    inputs: int


@dataclass(frozen=True)
class FusedGeometry:
    """The fused weights of one MoE block's base experts, and base experts per token, K."""

    weights: tuple[FusedWeight, ...]
    top_k: int


Geometry = BlockGeometry | FusedGeometry | tuple[int, int]
"""Of an MoE block, of the fused weights of its base experts, or the (O, I) shape of a weight."""
