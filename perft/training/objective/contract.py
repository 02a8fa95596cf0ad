"""The interface of an objective."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol

from perft.config import TrainingConfig

if TYPE_CHECKING:
    from torch import Tensor

    from perft.forward import AdapterLosses

Unit = Literal["answer token", "pair"]


class Objective(Protocol):
    """How one trial's rows become its loss.

    Implementations have no state: what differs between trials is in their `TrainingConfig`.
    """

    @property
    def reads_pairs(self) -> bool:
        """Whether an example is two rows, those of the chosen and of the rejected answer.

        They are adjacent in a batch, in this order. Else an example is the row of its answer.
        """

    @property
    def needs_reference(self) -> bool:
        """Whether the rows also go through the base alone, in the same micro-batch."""

    @property
    def unit(self) -> Unit:
        """The unit that the loss is a mean over, in a training batch and at a rung."""

    def loss(self, found: "AdapterLosses", training: TrainingConfig) -> "Tensor":
        """The sum of the loss over the units of some rows; steps and rungs take the mean.

        Args:
            found: the rows' cross-entropies; in training with gradient.
            training: the trial's.

        Returns:
            Nats, a scalar.
        """

    def measures(self, found: "AdapterLosses", training: TrainingConfig) -> Mapping[str, float]:
        """Other metrics of the validation examples for a report, by name.

        Args:
            found: the cross-entropies of all rows evaluated at this rung.
            training: the trial's.
        """
