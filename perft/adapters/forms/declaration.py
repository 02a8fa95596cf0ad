"""The declaration of a form of PEFT experts. Free of torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from perft.adapters.config import Init
from perft.adapters.tensors import Shapes, Start, as_init_says


def pair(num_experts: int, rank: int, hidden_size: int) -> Shapes:
    """`perft_down` and `perft_up`, both (M, R, D), which every form has."""
    shape = (num_experts, rank, hidden_size)
    return {"perft_down": shape, "perft_up": shape}


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form of PEFT experts: the definition of D(x).

    Attributes:
        name: the name in configurations and on the command line.
        settings: its settings that not all forms have.
        mathematics: dotted name of the module that computes it, imported when tensors are computed.
        shapes: from M, R and D, the shapes of the tensors of M experts.
        starts: from R, by kind, the start of tensors not initialised by `init`.
        inits: the values of `init` that it allows.
    """

    name: str
    settings: frozenset[str]
    mathematics: str
    shapes: Callable[[int, int, int], Shapes] = pair
    starts: Callable[[int], Mapping[str, Start]] = as_init_says
    inits: tuple[Init, ...] = ("lora", "perft")
