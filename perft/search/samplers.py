"""The samplers of a search, which propose the next trial, in one table.

To add one, write a function beside these and its line in `SAMPLERS`. It returns Optuna's
`BaseSampler`, with one more requirement: its proposals depend only on its seed and on the results
so far, in their order. A resumed search creates its sampler again and repeats all results to it.
`perft.search.proposer` says what Optuna learns of a trial.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def _tpe(seed: int) -> "BaseSampler":
    """Tree-structured Parzen estimator (Bergstra et al., 2011)."""
    from optuna.samplers import TPESampler  # noqa: PLC0415 - the table is read without Optuna

    return TPESampler(seed=seed)


def _random(seed: int) -> "BaseSampler":
    """Independent draws."""
    from optuna.samplers import RandomSampler  # noqa: PLC0415 - as above

    return RandomSampler(seed=seed)


DEFAULT_SAMPLER = "tpe"
SAMPLERS: Mapping[str, Callable[[int], "BaseSampler"]] = {DEFAULT_SAMPLER: _tpe, "random": _random}
"""By name, makes a sampler from the search's seed."""
