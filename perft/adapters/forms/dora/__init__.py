"""Form "dora": D(x) = m * (B A drop(x)) / |B A|, with a learned magnitude m of each output.

DoRA (Liu et al., arXiv 2402.09353) writes a weight as magnitude times direction, and learns both. A
PEFT expert has no base weight to start from: its own product B A is the direction. |B A| is the
norm of each of its rows, over the inputs; m, one number per output, is the whole magnitude, so
alpha/r would have no effect and is left out.

At the start m = 0, which makes the expert an exact no-op, and B is random: with B = 0, as in LoRA,
there would be no direction, and no gradient. B is kaiming-uniform like A, with its R inputs. The
first step changes only m, later ones all three.
"""

import math
from collections.abc import Mapping

from perft.adapters.forms.declaration import Form, pair
from perft.adapters.tensors import Shapes, Start


def shapes(num_experts: int, rank: int, hidden_size: int) -> Shapes:
    """`perft_down` and `perft_up`, both (M, R, D), and `perft_magnitude` (M, D)."""
    return {
        **pair(num_experts, rank, hidden_size),
        "perft_magnitude": (num_experts, hidden_size),
    }


def starts(rank: int) -> Mapping[str, Start]:
    """B kaiming-uniform, m at zero."""
    return {"perft_up": Start(uniform=1.0 / math.sqrt(rank)), "perft_magnitude": Start()}


FORM = Form(
    name="dora",
    settings=frozenset(),
    mathematics="perft.adapters.forms.dora.mathematics",
    shapes=shapes,
    starts=starts,
    inits=("lora",),
)
