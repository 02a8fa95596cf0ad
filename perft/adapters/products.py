"""The computation of every form of PEFT experts: two products, with functions around them.

Shapes: D hidden size, M PEFT experts, R rank.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


def same(z: Tensor) -> Tensor:
    """The identity."""
    return z


@dataclass(frozen=True)
class Products:
    """The M experts up_j^T f(zero_hidden(down_j zero_input(x))).

    Attributes:
        down_MRD: first product of each expert.
        up_MRD: second product of each expert, transposed.
        activate: f, with f(0) = 0.
        zero_input: dropout on a token's hidden state.
        zero_hidden: dropout on all M R units of a token's bottlenecks.
    """

    down_MRD: Tensor
    up_MRD: Tensor
    activate: Callable[[Tensor], Tensor]
    zero_input: Callable[[Tensor], Tensor] = same
    zero_hidden: Callable[[Tensor], Tensor] = same
