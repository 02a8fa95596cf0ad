"""Quantises a frozen base's large weights after loading, one at a time.

Large are, in decoder layers, the matrices of linear layers and of experts, fused or not. Routers,
norms, biases, embeddings and the head keep the base's dtype.
"""

from collections.abc import Iterator

from torch import Tensor, nn
from transformers import PreTrainedModel

from perft.models.blocks import decoder_layers, experts_and_routers
from perft.models.fused import is_transposed
from perft.models.precision import NONE
from perft.models.quantised_weight import QuantisedWeight

SMALLEST = 64
"""Rows and columns that a weight has at least if it is quantised."""


def quantise(model: PreTrainedModel, precision: str) -> None:
    """Holds a base's large weights in few bits from now on.

    Args:
        model: frozen, in the dtype in which it computes.
        precision: one of `perft.models.precision.PRECISIONS`.
    """
    if precision == NONE:
        return
    places: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {}
    for module, name in _large(model):
        places.setdefault(module.get_parameter(name), []).append((module, name))
    while places:  # emptied on the way: each weight is freed before the next one is packed
        weight, owners = places.popitem()
        inputs = -2 if weight.dim() == 3 and is_transposed(owners[0][0]) else -1
        packed = QuantisedWeight.of(weight.detach(), precision, inputs)
        frozen = nn.Parameter(packed, requires_grad=False)
        for module, name in owners:
            setattr(module, name, frozen)


def stored_bytes(tensor: Tensor) -> int:
    """The memory that a parameter takes, packed or not."""
    return sum(each.numel() * each.element_size() for each in tensors_in(tensor))


def tensors_in(tensor: Tensor) -> tuple[Tensor, ...]:
    """A parameter itself, or the tensors inside a packed one."""
    if isinstance(tensor, QuantisedWeight):
        return tensor.codes, tensor.scales
    return (tensor,)


def _large(model: PreTrainedModel) -> Iterator[tuple[nn.Module, str]]:
    """The weights to quantise: their modules, and their names there."""
    experts, routers = experts_and_routers(model)
    inside = {module for each in experts for module in each.modules()}
    left_out = {module for each in routers for module in each.modules()}
    for layer in decoder_layers(model):
        for module in layer.modules():
            if module in left_out or not (module in inside or isinstance(module, nn.Linear)):
                continue
            for name, weight in module.named_parameters(recurse=False):
                if "bias" not in name and weight.dim() in (2, 3) and _is_large(weight):
                    yield module, name


def _is_large(weight: Tensor) -> bool:
    return min(weight.shape[-2:]) >= SMALLEST
