"""The samplers of a search, which propose the next trial, in one table.

To add one, write a function beside these and its line in `SAMPLERS`. It makes a `Sampler` from what
a search draws (`sampler.py`), most simply an `OptunaSampler` of any of Optuna's. A resumed search
makes its sampler again and repeats all results to it.

`hub:NAME` is the sampler of that name on OptunaHub. OptunaHub downloads and runs its code; whoever
names it says so.
"""

import importlib.util
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from perft.errors import ConfigError, unknown

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from perft.searching.sampling.sampler import Sampler, Sampling

HUB = "hub:"


def _ehvi(sampling: "Sampling") -> "Sampler":
    from perft.searching.sampling.ehvi import Ehvi  # noqa: PLC0415 - the table is read without Optuna

    return Ehvi(sampling)


def _tpe(sampling: "Sampling") -> "Sampler":
    """Tree-structured Parzen estimator (Bergstra et al., 2011), of several objectives."""
    from optuna.samplers import TPESampler  # noqa: PLC0415 - as above

    from perft.searching.sampling.quiet import quiet_optuna  # noqa: PLC0415

    with quiet_optuna():
        return _optuna(sampling, TPESampler(seed=sampling.seed, multivariate=True, group=True))


def _gp(sampling: "Sampling") -> "Sampler":
    """Optuna's Gaussian process, which models the parameters that all trials have."""
    from optuna.samplers import GPSampler  # noqa: PLC0415 - as above

    return _optuna(sampling, GPSampler(seed=sampling.seed, warn_independent_sampling=False))


def _random(sampling: "Sampling") -> "Sampler":
    """Independent draws."""
    from optuna.samplers import RandomSampler  # noqa: PLC0415 - as above

    return _optuna(sampling, RandomSampler(seed=sampling.seed))


def _optuna(sampling: "Sampling", sampler: "BaseSampler") -> "Sampler":
    from perft.searching.sampling.optuna_sampler import OptunaSampler  # noqa: PLC0415 - as above

    return OptunaSampler(sampling, sampler)


DEFAULT_SAMPLER = "ehvi"
SAMPLERS: Mapping[str, Callable[["Sampling"], "Sampler"]] = {
    DEFAULT_SAMPLER: _ehvi,
    "tpe": _tpe,
    "gp": _gp,
    "random": _random,
}
"""By name, makes a sampler."""


def require_sampler(name: str) -> None:
    """Refuses what is no sampler's name; the hub is not asked.

    Raises:
        ConfigError: if it is in no table; names the nearest.
    """
    if name not in SAMPLERS and not (name.startswith(HUB) and name != HUB):
        raise ConfigError(unknown("sampler", name, [*SAMPLERS, f"{HUB}NAME"]))


def require_installed(name: str) -> None:
    """Refuses a sampler of OptunaHub without its package.

    Raises:
        ConfigError: if it is not installed.
    """
    if name.startswith(HUB) and importlib.util.find_spec("optunahub") is None:
        raise ConfigError(
            f"sampler {name} is one of OptunaHub's, whose package is not installed; install it by: "
            "pip install optunahub"
        )


def make_sampler(name: str, sampling: "Sampling") -> "Sampler":
    """The sampler of a name that `require_sampler` accepts.

    Raises:
        ConfigError: if OptunaHub has none of that name.
    """
    if name.startswith(HUB):
        return _optuna(sampling, _of_hub(name.removeprefix(HUB), sampling.seed))
    return SAMPLERS[name](sampling)


def _of_hub(name: str, seed: int) -> "BaseSampler":
    from optuna.samplers import BaseSampler  # noqa: PLC0415 - as above

    hub = importlib.import_module("optunahub")
    try:
        module = hub.load_module(f"samplers/{name}")
    except Exception as error:  # of any type: the package's own, or its network's
        raise ConfigError(f"OptunaHub gives no sampler {name!r}: {error}") from error
    found = [
        each
        for each in vars(module).values()
        if inspect.isclass(each) and issubclass(each, BaseSampler) and each is not BaseSampler
    ]
    own = [each for each in found if each.__module__.startswith(module.__name__)]
    if len(own) != 1:
        names = ", ".join(sorted(each.__name__ for each in own)) or "none"
        raise ConfigError(f"samplers/{name} of OptunaHub should have one sampler, found {names}")
    make: Callable[..., BaseSampler] = own[0]
    return make(seed=seed) if "seed" in inspect.signature(make).parameters else make()
