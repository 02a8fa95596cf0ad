"""The undocumented interfaces of Ray Tune that perft uses."""

from collections.abc import Iterator
from contextlib import contextmanager

from optuna import Study, Trial

from perft.compat.library import names_in
from perft.compat.ray import RAY

_TELLING = "to tell Optuna how each trial ended"
_SECRETS = "to keep the user's keys out of Ray's logs"

with RAY.needs(_TELLING):
    from ray.tune.search.optuna import OptunaSearch
with RAY.needs(_SECRETS):
    from ray.tune.execution import class_cache

    _ = class_cache.ENV_VARS_TO_PROPAGATE
with RAY.needs("to print a search in perft's own way"):
    from ray.tune.experimental.output import get_air_verbosity

_KEPT = ("_ot_trials", "_ot_study", "_completed_trials")
OUTPUT_VARIABLE = "RAY_AIR_NEW_OUTPUT"
"""Environment: "0" for no output from Tune."""

RAY.require(
    set(_KEPT) <= names_in(OptunaSearch.__init__),
    f"an OptunaSearch with {', '.join(_KEPT)}",
    _TELLING,
)
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

__all__ = ["OUTPUT_VARIABLE", "OpenOptunaSearch", "kept_from_trials"]


class OpenOptunaSearch(OptunaSearch):  # type: ignore[misc]
    """Tune's Optuna searcher, with access to its study and trials."""

    @property
    def study(self) -> Study:
        """The Optuna study."""
        study: Study = self._ot_study
        return study

    def trial_of(self, trial_id: str) -> Trial:
        """The Optuna trial of a Tune trial."""
        trial: Trial = self._ot_trials[trial_id]
        return trial

    def note_end(self, trial_id: str) -> bool:
        """Notes that a trial has ended; false if that was noted before."""
        is_first = trial_id not in self._completed_trials
        self._completed_trials.add(trial_id)
        return is_first


@contextmanager
def kept_from_trials(prefix: str) -> Iterator[None]:
    """Inside, Tune passes no variable with that prefix to trials, where Ray would log it."""
    before = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {each for each in before if not each.startswith(prefix)}
    try:
        yield
    finally:
        class_cache.ENV_VARS_TO_PROPAGATE = before
