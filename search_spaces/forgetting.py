"""Study of forgetting: what is lost on the base's own text and on another task.

The built-in base was pretrained on the text "pretraining", and on the facts that "commonsense" asks
for. For a base of one's own, name texts of which something can be lost: `--other-text FILE`.
"""

from perft import (
    AdapterConfig,
    EmbeddedConfig,
    LoraAttentionConfig,
    LoraQVConfig,
    RoutedConfig,
    SearchSpace,
    SingleConfig,
)
from perft.studies import Design, Forgets
from search_spaces.bottleneck import usual

_RANKS = (4, 16)


def _of_rank(rank: int) -> dict[str, AdapterConfig]:
    return {
        "LoRA q,v": LoraQVConfig(rank=rank),
        "LoRA attention": LoraAttentionConfig(rank=rank),
        "PERFT-R 2/4": RoutedConfig(rank=rank, num_experts=4, top_k=2),
        "PERFT-E": EmbeddedConfig(rank=rank),
        "PERFT-S": SingleConfig(rank=rank),
    }


_METHODS = tuple(_of_rank(4))

DESIGN = Design(
    adapters={f"{each} r{rank}": _of_rank(rank)[each] for each in _METHODS for rank in _RANKS},
    rates=(0.3, 1.0, 3.0),
    usual=usual,
)
STUDY = Forgets(
    question="What do adapters forget?",
    design=DESIGN,
    other_texts=("pretraining", "commonsense"),
    methods={each: tuple(f"{each} r{rank}" for rank in _RANKS) for each in _METHODS},
    reference="LoRA q,v",
)
SPACE = SearchSpace.of_study("arithmetic", STUDY)
