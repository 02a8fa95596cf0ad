"""Study of routers: PERFT-R's learned router against PERFT-E's frozen one.

The built-in base has eight experts, two per token: R (2/8) has as many, so that the base's router
fits in place of its own.
"""

from perft import AdapterConfig, EmbeddedConfig, RoutedConfig, SearchSpace
from perft.studies import Design, Routers
from search_spaces.bottleneck import usual

_RANK = 8
_LEARNED = {
    "PERFT-R 2/8": RoutedConfig(rank=_RANK, num_experts=8, top_k=2),
    "PERFT-R 2/4": RoutedConfig(rank=_RANK, num_experts=4, top_k=2),
    "PERFT-R 1/8": RoutedConfig(rank=_RANK, num_experts=8, top_k=1),
}
_FROZEN: dict[str, AdapterConfig] = {"PERFT-E": EmbeddedConfig(rank=_RANK)}

DESIGN = Design(adapters={**_LEARNED, **_FROZEN}, rates=(0.3, 1.0, 3.0), usual=usual)
STUDY = Routers(
    question="Is a learned router meaningfully different from the base's?",
    design=DESIGN,
    router_measures=True,
    learned=tuple(_LEARNED),
    frozen="PERFT-E",
)
SPACE = SearchSpace.of_study("arithmetic", STUDY)
