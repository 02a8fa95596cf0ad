"""Form "parallel": D(x) = W2 f(drop(W1 x)), f(z) = z sigmoid(z) (silu) unless set."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from perft.adapters.dropout import NO_DROP, Drop
from perft.adapters.forms.parallel import Activation
from perft.adapters.products import Products
from perft.adapters.weights import Weights

if TYPE_CHECKING:  # the configuration of PEFT experts knows the table of forms
    from perft.adapters.experts import ExpertsConfig

ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "relu2": lambda z: F.relu(z).square(),
    "silu": F.silu,
    "tanh": torch.tanh,
}


def products(config: "ExpertsConfig", weights: Weights, drop: Drop) -> Products:
    """W1 and W2, with dropout's gain on W1, since f comes after it."""
    down_MRD = weights["perft_down"]
    if drop is not NO_DROP:
        down_MRD = down_MRD * drop.gain
    activate = ACTIVATIONS[config.activation]
    return Products(down_MRD, weights["perft_up"], zero_hidden=drop.zero, activate=activate)
