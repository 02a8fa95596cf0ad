"""Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290, equation 7).

    loss = -log sigmoid(beta * ((log pi(chosen) - log ref(chosen))
                                - (log pi(rejected) - log ref(rejected))))

`pi` is the base with the adapter, `ref` the frozen base alone; a log-probability is summed over the
tokens of an answer, end of sequence included. `beta` times the difference of an answer's two
log-probabilities is its implicit reward. The loss is the negative log-likelihood of the preferences
under these rewards, so it also compares trials of different `beta`.

Shapes: P pairs, R = 2P rows.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from perft.config import TrainingConfig
from perft.training.objective.contract import Unit

if TYPE_CHECKING:
    from torch import Tensor

    from perft.forward import AdapterLosses


class Dpo:
    """The DPO loss, with equal weight for every pair."""

    reads_pairs = True
    needs_reference = True
    unit: Unit = "pair"

    def loss(self, found: "AdapterLosses", training: TrainingConfig) -> "Tensor":
        """The sum of the loss over the pairs."""
        reward_P2 = _rewards(found, training)
        margin_P = reward_P2[:, 0] - reward_P2[:, 1]
        # log(exp(-margin) + exp(0)) is -log sigmoid(margin), without overflow.
        return margin_P.neg().logaddexp(margin_P.new_zeros(())).sum()

    def measures(self, found: "AdapterLosses", training: TrainingConfig) -> Mapping[str, float]:
        """Mean implicit rewards; those of chosen answers may fall while the margin grows."""
        chosen, rejected = _rewards(found, training).mean(0).tolist()
        return {
            "reward_chosen": chosen,
            "reward_rejected": rejected,
            "reward_margin": chosen - rejected,
        }


def _rewards(found: "AdapterLosses", training: TrainingConfig) -> "Tensor":
    """The implicit rewards of each pair's chosen and rejected answer, shape (P, 2)."""
    # Cross-entropies are negative logs.
    return (training.beta * (found.reference() - found.rows())).view(-1, 2)
