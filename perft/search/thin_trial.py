"""A Ray Tune trial that trains nothing itself: it asks the coordinator and hands on the answer.

Its process imports no torch, so that many of them fit beside a worker group.
"""

from typing import Any

import ray
from ray import tune

from perft.errors import SearchError


class ThinTrial(tune.Trainable):  # type: ignore[misc]
    """One trial of a search, as Ray Tune sees it."""

    def setup(self, config: dict[str, Any]) -> None:
        """Finds the coordinator and takes the trial's configuration."""
        self._coordinator = ray.get_actor(config["coordinator"], namespace=config["namespace"])
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Becomes another trial: the process is reused."""
        self._number: int = new_config["number"]
        self._trial: dict[str, Any] = new_config["trial"]
        self._max_steps: int = new_config["trial"]["max_steps"]
        self._reached = 0
        return True

    def step(self) -> dict[str, Any]:
        """Waits for the trial's next report.

        Raises:
            SearchError: if the trial failed, or no worker group can work any more.
        """
        answer = ray.get(
            self._coordinator.next_report.remote(self._number, self._trial, self._reached)
        )
        if reason := answer.get("fatal") or answer.get("failure"):
            raise SearchError(reason)
        report = answer["report"]
        self._reached = report["step"]
        return {
            "step": report["step"],
            "val_loss": report["val_loss"],
            "report": report,
            "size": answer["size"],
            "done": report["step"] >= self._max_steps,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: the worker group keeps the trial's state."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""
