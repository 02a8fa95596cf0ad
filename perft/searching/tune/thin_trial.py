"""A Ray Tune trial that trains nothing itself: it returns the coordinator's answers to Tune.

Its process does not import torch, so many of them fit beside a worker group.
"""

from ray import tune

from perft.errors import SearchError
from perft.packing.handle import CoordinatorHandle
from perft.packing.messages import Reported
from perft.searching.tune.tune_dicts import Proposal, to_result


class ThinTrial(tune.Trainable):  # type: ignore[misc]
    """One trial of a search, as Ray Tune sees it."""

    def setup(self, config: dict[str, object]) -> None:
        """Finds the coordinator and takes the trial's configuration."""
        self.reset_config(config)
        self._coordinator = CoordinatorHandle.find(self._trial.coordinator, self._trial.namespace)

    def reset_config(self, new_config: dict[str, object]) -> bool:
        """Becomes another trial in the same process."""
        self._trial = Proposal.from_tune(new_config)
        self._reached = 0
        return True

    def step(self) -> dict[str, object]:
        """Waits for the trial's next report.

        Raises:
            SearchError: if the trial failed, or no worker group can work any more.
        """
        number, config, origin = self._trial.number, self._trial.trial, self._trial.origin
        answer = self._coordinator.next_report(number, config, self._reached, origin)
        if not isinstance(answer, Reported):
            raise SearchError(answer.reason)
        self._reached = answer.report.step
        return to_result(answer, config)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Saves nothing: the worker group keeps the trial's state."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Loads nothing."""
