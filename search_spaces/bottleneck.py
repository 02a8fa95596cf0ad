"""Study of the bottleneck: the score over the width of the PEFT experts, from 2 to 64.

In the authors' own runs PERFT-S fell by ten points from 8 to 64, at one fixed learning rate.
"""

import dataclasses

from perft import (
    AdapterConfig,
    DenseConfig,
    EmbeddedConfig,
    LoraQVConfig,
    RoutedConfig,
    SearchSpace,
    SingleConfig,
    TrainingConfig,
)
from perft.studies import Curves, Design, Series
from search_spaces import arithmetic

_WIDTHS = (2, 4, 8, 16, 32, 64)


def usual(builtin: bool) -> TrainingConfig:
    """The training configuration with the usual learning rate."""
    return dataclasses.replace(arithmetic.training(builtin), lr=1e-2 if builtin else 2e-4)


def _of_width(rank: int) -> dict[str, AdapterConfig]:
    return {
        "PERFT-R 2/4": RoutedConfig(rank=rank, num_experts=4, top_k=2),
        "PERFT-E": EmbeddedConfig(rank=rank),
        "PERFT-D x2": DenseConfig(rank=rank, num_experts=2),
        "PERFT-S": SingleConfig(rank=rank),
        "LoRA q,v": LoraQVConfig(rank=rank),
    }


_KINDS = tuple(_of_width(2))

DESIGN = Design(
    adapters={f"{kind} r{rank}": _of_width(rank)[kind] for kind in _KINDS for rank in _WIDTHS},
    rates=(0.3, 1.0, 3.0),
    usual=usual,
)
STUDY = Curves(
    question="Where does the score over the bottleneck turn, and does the learning rate move it?",
    design=DESIGN,
    number="bottleneck",
    series=[Series(name=kind, adapters={r: f"{kind} r{r}" for r in _WIDTHS}) for kind in _KINDS],
)
SPACE = SearchSpace.of_study("arithmetic", STUDY)
