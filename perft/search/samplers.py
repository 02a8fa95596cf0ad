"""The samplers that a search can have: what proposes the next trial. One table names them all.

To add one, write a function beside these and its line in `SAMPLERS`. What it makes is Optuna's
`BaseSampler`, of which a search asks one thing more: that what it proposes follows from its seed
and from what it was told, in that order. A search that goes on makes its sampler anew, and tells it
everything again. What it is told of a trial, `perft.search.proposer` says.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from perft.errors import ConfigError, unknown

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def _tpe(seed: int) -> "BaseSampler":
    """Tree-structured Parzen estimator (Bergstra et al., 2011): more of what did well."""
    from optuna.samplers import TPESampler  # noqa: PLC0415 - who only reads the names needs none

    return TPESampler(seed=seed)


def _random(seed: int) -> "BaseSampler":
    """Independent draws, whatever came of those before."""
    from optuna.samplers import RandomSampler  # noqa: PLC0415 - as above

    return RandomSampler(seed=seed)


DEFAULT_SAMPLER = "tpe"
SAMPLERS: Mapping[str, Callable[[int], "BaseSampler"]] = {DEFAULT_SAMPLER: _tpe, "random": _random}
"""What makes each sampler, of the search's seed."""


def require_sampler(name: str) -> None:
    """Checks that there is such a sampler.

    Raises:
        ConfigError: if there is none; says which there are.
    """
    if name not in SAMPLERS:
        raise ConfigError(unknown("sampler", name, SAMPLERS))
