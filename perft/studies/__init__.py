"""Studies: questions that a search space with a fixed design answers, and the pages that do.

A study trains every adapter of its design at every learning rate with several seeds, and says what
follows from that and what does not. Everything here is a pure function of `TrialResult`s.
"""

from perft.studies.curves import Curves, Series
from perft.studies.design import MAX_SEEDS, SEEDS, Design
from perft.studies.forgets import Forgets
from perft.studies.methods import Methods
from perft.studies.published import Published
from perft.studies.routers import Routers
from perft.studies.study import Study

__all__ = [
    "MAX_SEEDS",
    "SEEDS",
    "Curves",
    "Design",
    "Forgets",
    "Methods",
    "Published",
    "Routers",
    "Series",
    "Study",
]
