"""One trial in training: its step, its optimiser and its progress."""

from dataclasses import dataclass, field

from torch import Tensor

from perft.adapters.routing import RouterSums
from perft.checkpoint import Progress
from perft.checks import is_number
from perft.forward import TokenizedExample
from perft.tasks.tokenize import TokenizedSplit
from perft.training.evaluator import Measured
from perft.training.objective import objective_of
from perft.training.optimizer import AdapterOptimizer
from perft.training.schedule import example_indices, learning_rate
from perft.training.shapes import RowCapacity
from perft.training.step import TrialBatch
from perft.trial import Report, TrialConfig


@dataclass
class RunningTrial:
    """A trial that a pack trains.

    Attributes:
        config: its configuration.
        rows: the training split's token rows, two per example if its objective reads pairs.
        optimizer: its optimiser.
        capacity: of each training row, where micro-batches have fixed shapes.
        step: optimiser steps done.
        reports: its reports so far.
        failure: why it failed; empty if it has not.
        progress: sums since its last report.
        can_learn: whether its first step in this process has shown that it can learn.
    """

    config: TrialConfig
    rows: TokenizedSplit
    optimizer: AdapterOptimizer
    capacity: RowCapacity
    step: int = 0
    reports: list[Report] = field(default_factory=list)
    failure: str = ""
    progress: Progress = field(default_factory=Progress)
    can_learn: bool = False

    @property
    def is_full_length(self) -> bool:
        """Whether all its optimiser steps are done."""
        return self.config.training.is_full_length(self.step)

    def batch(self) -> TrialBatch:
        """The rows of its next step."""
        training = self.config.training
        together = 1 + objective_of(training).reads_pairs
        indices = example_indices(training, self.step, len(self.rows) // together)
        rows: list[TokenizedExample] = [
            self.rows.row(i * together + j) for i in indices for j in range(together)
        ]
        return TrialBatch(training, self.step, rows, self.optimizer, self.capacity)

    def take_step(
        self,
        loss: Tensor,
        tokens: int,
        seconds: float,
        routing: RouterSums | None,
        *,
        fault: str = "",
    ) -> None:
        """Applies the gradient; fails the trial for a `fault` or a loss that is not finite."""
        value = float(loss)
        if not is_number(value):
            fault = f"the training loss is {value} at step {self.step + 1}"
        if fault:
            self.failure = fault
            self.optimizer.skip()
            return
        self.can_learn = True
        self.optimizer.step(learning_rate(self.config.training, self.step))
        self.step += 1
        self.progress.add(value, tokens, seconds, routing)

    def report(self, measured: Measured) -> Report | None:
        """Adds and returns this rung's report; fails the trial if the loss is not finite."""
        if not is_number(measured.loss):
            self.failure = f"the validation loss is {measured.loss} at step {self.step}"
            return None
        done, routing = self.progress, self.progress.routing
        layers_tokens = float(routing.tokens) if routing is not None else 0.0
        load = (routing.load_M / routing.load_M.sum()).tolist() if routing is not None else []
        report = Report(
            step=self.step,
            train_loss=done.loss / done.steps,
            val_loss=measured.loss,
            correct=measured.correct,
            scored=measured.scored,
            lr=learning_rate(self.config.training, self.step - 1),
            tokens_per_second=done.tokens / done.seconds if done.seconds else 0.0,
            router_load=tuple(load),
            router_entropy=float(routing.entropy) / layers_tokens if routing is not None else None,
            measures=measured.others,
        )
        self.reports.append(report)
        self.progress = Progress()
        return report
