"""Form "lora": D(x) = (alpha/r) B A drop(x)."""

from perft.adapters.config import AdapterConfig
from perft.adapters.dropout import Drop
from perft.adapters.products import Products, same
from perft.adapters.weights import Weights


def products(config: AdapterConfig, weights: Weights, drop: Drop) -> Products:
    """A and B, with scale and dropout's gain applied to B, which is smaller than activations."""
    up_MRD = weights["perft_up"] * (drop.gain * config.scale)
    return Products(weights["perft_down"], up_MRD, zero_input=drop.zero, activate=same)
