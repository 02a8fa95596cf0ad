"""Shards a base over the ranks of a worker group with FSDP2, while it is read where possible.

The unit is a decoder layer and never an expert: ranks that route differently must still run the
same collectives. Adapters are added afterwards and stay whole on every rank.
"""

from collections.abc import Iterator

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from transformers import PreTrainedModel

from perft.compat.transformers import (
    FREE_FULL_WEIGHT,
    Concatenate,
    ConversionOps,
    DistributedConfig,
    Transpose,
    WeightConverter,
    get_model_conversion_mapping,
)
from perft.models.blocks import decoder_layers
from perft.models.dequantise import FP8
from perft.models.skeleton import skeleton
from perft.ranks import Ranks


def sharded_loading(base: str, ranks: Ranks) -> dict[str, object]:
    """Arguments for `from_pretrained` that make each rank read only its own part.

    Args:
        base: a local directory.
        ranks: the processes that share it.

    Returns:
        Empty for one rank, for a base that has to be read whole (see `_needs_whole_weights` and
        `_has_blocks`), and for ranks on CPUs of a machine whose GPUs torch sees, since
        transformers would use those.

    Raises:
        BaseModelError: if its configuration makes no sense.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if ranks.size == 1 or ranks.device.type != (accelerator.type if accelerator else "cpu"):
        return {}
    model = skeleton(base)
    if any(map(_needs_whole_weights, _operations(model))) or _has_blocks(model):
        return {}
    layers = set(decoder_layers(model))
    plan = {
        _of_every_layer(name): FREE_FULL_WEIGHT
        for name, module in model.named_modules()
        if module in layers
    }
    return {"distributed_config": DistributedConfig(fsdp_size=ranks.size, fsdp_plan=plan)}


def shard(model: PreTrainedModel, ranks: Ranks) -> None:
    """Shards every decoder layer, then the rest, of a base that every rank has read whole.

    Changes nothing for one rank, nor for a base that was sharded while it was read.
    """
    if ranks.size == 1 or isinstance(model, FSDPModule):
        return
    # An explicit mesh: without one, FSDP moves ranks on CPUs to the GPUs that torch sees.
    mesh = init_device_mesh(ranks.device.type, (ranks.size,))
    for layer in decoder_layers(model):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def _operations(model: PreTrainedModel) -> Iterator[ConversionOps]:
    """The operations on a base's weights when they are read."""
    for conversion in get_model_conversion_mapping(model):
        if isinstance(conversion, WeightConverter):
            yield from conversion.operations


def _needs_whole_weights(operation: ConversionOps) -> bool:
    """Whether an operation is wrong for a rank that reads only its part of a weight.

    If pieces of a weight are concatenated in the sharded dimension, a rank would join its parts of
    the pieces instead of taking a part of the whole (Kimi Linear's convolutions). Or the shape of
    the whole weight tells which of two layouts it has (Qwen3-VL-MoE's experts). Both hold for
    transformers 5.23.
    """
    if isinstance(operation, Transpose):
        return bool(operation.check_dims)
    return isinstance(operation, Concatenate) and operation.dim == 0


def _has_blocks(model: PreTrainedModel) -> bool:
    """Whether weights are read in blocks of fp8, each with one scale.

    Rows and scales would be sharded separately, before they are multiplied: a rank whose rows
    begin inside a block would get wrong scales (transformers 5.23).
    """
    stored = getattr(model.config, "quantization_config", None)
    return isinstance(stored, dict) and stored["quant_method"] == FP8


def _of_every_layer(name: str) -> str:
    return ".".join("*" if part.isdecimal() else part for part in name.split("."))
