"""Shards a base over the ranks of a worker group with FSDP2."""

from torch.distributed.fsdp import fully_shard

from perft.models.blocks import decoder_layers
from perft.models.load import Base
from perft.ranks import Ranks


def shard(base: Base, ranks: Ranks) -> Base:
    """Divides every decoder layer, then the rest, among the ranks; alone, changes nothing.

    The unit is a decoder layer and never an expert: ranks that route differently must still run
    the same collectives. Adapters are added afterwards and stay whole on every rank.
    """
    if ranks.size > 1:
        for layer in decoder_layers(base.model):
            fully_shard(layer)
        fully_shard(base.model)
    return base
