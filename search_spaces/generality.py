"""Study of generality: does the ranking of methods hold on bases of other architectures?

Run it once for each base, then compare the runs. Tiny bases of four architectures, pretrained on
the same text, are made by `python -m perft.models.pretrain --architecture NAME --out DIR`.
"""

from perft import (
    AdapterConfig,
    EmbeddedConfig,
    LoraAttentionConfig,
    LoraExpertsConfig,
    LoraQVConfig,
    RoutedConfig,
    SearchSpace,
    SingleConfig,
)
from perft.studies import Design, Methods
from perft.studies.answers import Cell
from search_spaces.bottleneck import usual

_RANK = 8

_METHODS: dict[str, AdapterConfig] = {
    "LoRA q,v": LoraQVConfig(rank=_RANK),
    "LoRA attention": LoraAttentionConfig(rank=_RANK),
    "LoRA experts": LoraExpertsConfig(rank=_RANK),
    "PERFT-R 2/4": RoutedConfig(rank=_RANK, num_experts=4, top_k=2),
    "PERFT-E": EmbeddedConfig(rank=_RANK),
    "PERFT-S": SingleConfig(rank=_RANK),
}

DESIGN = Design(
    adapters=_METHODS,
    rates=(0.3, 1.0, 3.0),
    usual=usual,
)
STUDY = Methods(
    question="Does the ranking of methods hold on bases of other architectures?",
    design=DESIGN,
    methods={each: (each,) for each in _METHODS},
    reference="LoRA q,v",
    fixed={each: Cell(each, 1.0) for each in _METHODS},
)
SPACE = SearchSpace.of_study("arithmetic", STUDY)
