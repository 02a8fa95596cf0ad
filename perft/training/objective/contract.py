"""What an objective says of itself, and computes."""

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
        """Whether an example is read as two rows, the chosen answer's and the rejected one's.

        They are next to each other in a batch, in this order. Else an example is the row of its
        answer.
        """

    @property
    def needs_reference(self) -> bool:
        """Whether the rows also go through the base alone, in the same micro-batch."""

    @property
    def unit(self) -> Unit:
        """What the loss is a mean over: of a batch in training, of the examples at a rung."""

    def loss(self, found: "AdapterLosses", training: TrainingConfig) -> "Tensor":
        """The sum over the units of some rows, of which a step and a rung take the mean.

        Args:
            found: the rows' cross-entropies; in training with gradient.
            training: the trial's.

        Returns:
            Nats, a scalar.
        """

    def measures(self, found: "AdapterLosses", training: TrainingConfig) -> Mapping[str, float]:
        """What else a report says of the validation examples, by the name of its metric.

        Args:
            found: the cross-entropies of all rows that count at this rung.
            training: the trial's.
        """
