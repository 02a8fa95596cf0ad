"""Study of methods: all PERFT variants against LoRA and DoRA, each tuned with the same budget.

In the authors' own runs PERFT-E was ten points above LoRA on OLMoE, and no variant above it on
Mixtral, at one fixed learning rate each.
"""

from collections.abc import Callable

from perft import (
    AdapterConfig,
    DenseConfig,
    EmbeddedConfig,
    LoraAttentionConfig,
    LoraExpertsConfig,
    LoraQVConfig,
    LoraRouterConfig,
    RoutedConfig,
    SearchSpace,
    SingleConfig,
)
from perft.studies import Design, Methods
from perft.studies.answers import Cell
from search_spaces.bottleneck import usual

_RANKS = (4, 8, 16)
_FIRST = 8
"""The rank that everybody would try first."""

_METHODS: dict[str, Callable[[int], AdapterConfig]] = {
    "LoRA q,v": lambda rank: LoraQVConfig(rank=rank),
    "LoRA attention": lambda rank: LoraAttentionConfig(rank=rank),
    "LoRA experts": lambda rank: LoraExpertsConfig(rank=rank),
    "LoRA router": lambda rank: LoraRouterConfig(rank=rank),
    "PERFT-R 2/4": lambda rank: RoutedConfig(rank=rank, num_experts=4, top_k=2),
    "PERFT-E": lambda rank: EmbeddedConfig(rank=rank),
    "PERFT-D x2": lambda rank: DenseConfig(rank=rank, num_experts=2),
    "PERFT-S": lambda rank: SingleConfig(rank=rank),
    "PERFT-S DoRA": lambda rank: SingleConfig(rank=rank, form="dora"),
}


def _name(method: str, rank: int) -> str:
    return f"{method} r{rank}"


DESIGN = Design(
    adapters={_name(each, r): make(r) for each, make in _METHODS.items() for r in _RANKS},
    rates=(0.3, 1.0, 3.0),
    usual=usual,
)
STUDY = Methods(
    question="Which method is best once each is tuned, and does the ranking survive that?",
    design=DESIGN,
    methods={each: tuple(_name(each, rank) for rank in _RANKS) for each in _METHODS},
    reference="LoRA q,v",
    fixed={each: Cell(_name(each, _FIRST), 1.0) for each in _METHODS},
)
SPACE = SearchSpace.of_study("arithmetic", STUDY)
