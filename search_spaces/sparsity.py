"""Study of sparsity: how many PEFT experts, and how many of them a token activates.

PERFT-R with M experts of bottleneck r, of which a token activates K. The experts of a layer train
M r columns of width in all and a token activates K r of them; each curve keeps one of the two.
"""

from perft import RoutedConfig, SearchSpace
from perft.studies import Curves, Design, Series
from search_spaces.bottleneck import usual

_CURVES = {
    "K of 8 experts, all trained width 32": {k: (k, 8, 4) for k in (1, 2, 4, 8)},
    "1 of M experts, activated width 8": {m: (1, m, 8) for m in (1, 2, 4, 8, 16)},
    "a quarter of M experts, widths 32 and 8": {m: (m // 4, m, 32 // m) for m in (4, 8, 16)},
}
"""By curve and by the number on it: K, M and r."""


def _name(k: int, m: int, r: int) -> str:
    return f"PERFT-R {k}/{m} r{r}"


_ALL = dict.fromkeys(each for curve in _CURVES.values() for each in curve.values())

DESIGN = Design(
    adapters={_name(k, m, r): RoutedConfig(rank=r, num_experts=m, top_k=k) for k, m, r in _ALL},
    rates=(0.3, 1.0, 3.0),
    usual=usual,
)
STUDY = Curves(
    question="Does it help to have more PEFT experts, or to activate more of them?",
    design=DESIGN,
    number="experts on the curve (K or M)",
    series=[
        Series(name=name, adapters={x: _name(*each) for x, each in curve.items()})
        for name, curve in _CURVES.items()
    ],
)
SPACE = SearchSpace.of_study("arithmetic", STUDY)
