"""The undocumented interfaces of Ray Tune that perft uses."""

from collections.abc import Iterator
from contextlib import contextmanager

from perft.compat.library import names_in
from perft.compat.ray import RAY

_SECRETS = "to keep the user's keys out of Ray's logs"

with RAY.needs(_SECRETS):
    from ray.tune.execution import class_cache

    _ = class_cache.ENV_VARS_TO_PROPAGATE
with RAY.needs("to print a search in perft's own way"):
    from ray.tune.experimental.output import get_air_verbosity

OUTPUT_VARIABLE = "RAY_AIR_NEW_OUTPUT"
"""Environment: "0" for no output from Tune."""

RAY.require(
    "ENV_VARS_TO_PROPAGATE" in names_in(class_cache._ActorClassCache.get),
    "trials that are started with class_cache.ENV_VARS_TO_PROPAGATE",
    _SECRETS,
)
RAY.require(
    OUTPUT_VARIABLE in names_in(get_air_verbosity),
    f"the variable {OUTPUT_VARIABLE}",
    "to print a search in perft's own way",
)

__all__ = ["OUTPUT_VARIABLE", "kept_from_trials"]


@contextmanager
def kept_from_trials(prefix: str) -> Iterator[None]:
    """Inside, Tune passes no variable with that prefix to trials, where Ray would log it."""
    before = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {each for each in before if not each.startswith(prefix)}
    try:
        yield
    finally:
        class_cache.ENV_VARS_TO_PROPAGATE = before
