"""What a form of PEFT experts says of itself. Free of torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from perft.adapters.config import Init
from perft.adapters.tensors import Shapes, Start


def pair(num_experts: int, rank: int, hidden_size: int) -> Shapes:
    """`perft_down` and `perft_up`, both (M, R, D): what every form has."""
    shape = (num_experts, rank, hidden_size)
    return {"perft_down": shape, "perft_up": shape}


def as_init_says(_rank: int) -> Mapping[str, Start]:
    """No tensor starts otherwise than `init` says."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form of PEFT experts: what D(x) is.

    Attributes:
        name: the name in configurations and on the command line.
        settings: the settings that only some forms have, of which it has these.
        mathematics: dotted name of the module that computes it, imported when tensors are.
        shapes: of the tensors of M experts: of M, R and D.
        starts: how tensors start that do not start as `init` says: of R, by kind.
        inits: the initialisations that it can have.
    """

    name: str
    settings: frozenset[str]
    mathematics: str
    shapes: Callable[[int, int, int], Shapes] = pair
    starts: Callable[[int], Mapping[str, Start]] = as_init_says
    inits: tuple[Init, ...] = ("lora", "perft")
