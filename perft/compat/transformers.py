"""The undocumented interfaces of transformers that perft uses.

Bases are built, loaded, run and cached by transformers' own code; perft hooks into it at the points
listed here: activation checkpointing, masks, experts, caches, loading, quantization, kernels.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from perft.compat.library import Library, names_in

TRANSFORMERS = Library("transformers", tested="5.23.0")

_CHECKPOINTING = "to have a recomputed layer follow its pass: its gradients would be wrong"
_MASKS = "to capture a pass"
_EXPERTS = "to compute the experts of a frozen base, and adapters on them"
_CACHES = "to decode with a cache"
_LOADING = "to load a base, each rank its own part"
_QUANTIZED = "to dequantise weights while they are read"
_KERNELS = "to say which kernels --experts needs"

with TRANSFORMERS.needs(_CHECKPOINTING):
    from transformers.modeling_layers import GradientCheckpointingLayer

    _set_checkpointing = PreTrainedModel._set_gradient_checkpointing
with TRANSFORMERS.needs(_MASKS):
    from transformers import masking_utils

    _find_packed = masking_utils.find_packed_sequence_indices
with TRANSFORMERS.needs(_EXPERTS):
    from transformers.activations import ACT2FN
    from transformers.integrations.moe import (
        ExpertsInterface,
        _default_apply_gate,
        grouped_mm_experts_forward,
        use_experts_implementation,
    )

    grouped_mm_fallback = torch.ops.transformers.grouped_mm_fallback
    grouped_mm_fallback_backward = torch.ops.transformers.grouped_mm_fallback_backward
with TRANSFORMERS.needs(_CACHES):
    from transformers.cache_utils import (
        Cache,
        CacheLayerMixin,
        DynamicLayer,
        LinearAttentionCacheLayerMixin,
        StaticLayer,
    )

    _compilable = PreTrainedModel._can_compile_fullgraph
    _attention = PreTrainedConfig._attn_implementation
with TRANSFORMERS.needs(_LOADING):
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import (
        Concatenate,
        ConversionOps,
        Transpose,
        WeightConverter,
        revert_weight_conversion,
    )
    from transformers.distributed import DistributedConfig
    from transformers.distributed.fsdp import ALL_FSDP_STYLES
with TRANSFORMERS.needs(_QUANTIZED):
    from transformers.core_model_loading import WeightRenaming
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize
    from transformers.quantizers.auto import register_quantization_config, register_quantizer
    from transformers.quantizers.quantizer_finegrained_fp8 import FineGrainedFP8HfQuantizer
    from transformers.quantizers.quantizer_mxfp4 import Mxfp4HfQuantizer

    _dequantize = (Fp8Dequantize.convert, Fp8Dequantize._dequantize_one)
    _dtype_of = Fp8Dequantize._get_target_dtype
with TRANSFORMERS.needs(_KERNELS):
    from transformers.integrations.deepgemm import is_deepgemm_loadable
    from transformers.integrations.hub_kernels import _HUB_KERNEL_MAPPING
    from transformers.integrations.sonicmoe import is_sonicmoe_loadable
    from transformers.utils.import_utils import (
        KERNELS_MAX_VERSION,
        KERNELS_MIN_VERSION,
        is_kernels_available,
    )

FREE_FULL_WEIGHT = "free_full_weight"
"""A style of `DistributedConfig.fsdp_plan`: gathers a unit's weights only while it runs."""

EXPERT_ATTRIBUTES = ("has_gate", "has_bias", "has_post_expert_norm", "is_transposed")
"""Attributes of experts with transformers' interface that perft reads."""

FP8_HOOKS = ("validate_environment", "get_load_operations", "update_weight_conversions")
MXFP4_HOOKS = ("validate_environment", "_process_model_before_weight_loading")
"""Methods that perft's quantizers override."""


def _asks_for_its_function() -> bool:
    """Whether a layer with checkpointing calls `_gradient_checkpointing_func`."""

    class Probe(GradientCheckpointingLayer):  # type: ignore[misc]
        def forward(self, x: int) -> int:
            return x

    probe = Probe().train()
    probe.gradient_checkpointing = True
    probe._gradient_checkpointing_func = lambda forward, x: forward(x) + 1
    return bool(probe(1) == 2)


TRANSFORMERS.require(
    _asks_for_its_function() and "_gradient_checkpointing_func" in names_in(_set_checkpointing),
    "layers that are recomputed by their _gradient_checkpointing_func",
    _CHECKPOINTING,
)
TRANSFORMERS.require(
    _find_packed.__name__ in names_in(masking_utils._preprocess_mask_arguments),
    "masks that are made of what masking_utils.find_packed_sequence_indices finds",
    _MASKS,
)
TRANSFORMERS.require(
    {*EXPERT_ATTRIBUTES, "_is_expert_parallel", "_apply_gate"}
    <= names_in(use_experts_implementation),
    f"experts with {', '.join(EXPERT_ATTRIBUTES)}, _is_expert_parallel and _apply_gate",
    _EXPERTS,
)
TRANSFORMERS.require(
    hasattr(Transpose(), "check_dims") and hasattr(Concatenate(), "dim"),
    "core_model_loading.Transpose.check_dims and Concatenate.dim",
    _LOADING,
)
TRANSFORMERS.require(
    "_weight_conversions" in names_in(revert_weight_conversion),
    "weights that are saved as _weight_conversions says that they were stored",
    _LOADING,
)
TRANSFORMERS.require(
    FREE_FULL_WEIGHT in ALL_FSDP_STYLES, f"the FSDP style {FREE_FULL_WEIGHT!r}", _LOADING
)
for _quantizer, _hooks in (
    (FineGrainedFP8HfQuantizer, FP8_HOOKS),
    (Mxfp4HfQuantizer, MXFP4_HOOKS),
):
    for _hook in _hooks:
        TRANSFORMERS.require(
            hasattr(_quantizer, _hook), f"{_quantizer.__name__}.{_hook}", _QUANTIZED
        )

__all__ = [
    "FREE_FULL_WEIGHT",
    "KERNELS_MAX_VERSION",
    "KERNELS_MIN_VERSION",
    "Cache",
    "CacheLayerMixin",
    "Concatenate",
    "ConversionOps",
    "DistributedConfig",
    "DynamicLayer",
    "ExpertsInterface",
    "FineGrainedFP8HfQuantizer",
    "Fp8Dequantize",
    "Mxfp4HfQuantizer",
    "StaticLayer",
    "Transpose",
    "WeightConverter",
    "WeightRenaming",
    "add_checkpoint_contexts",
    "cached_tensors",
    "compiles_whole",
    "dtype_of_weight",
    "forget_stored_form",
    "gate_of",
    "get_model_conversion_mapping",
    "grouped_mm_experts_forward",
    "grouped_mm_fallback",
    "grouped_mm_fallback_backward",
    "has_silu_gate",
    "is_deepgemm_loadable",
    "is_divided",
    "is_kernels_available",
    "is_sonicmoe_loadable",
    "kernel_source",
    "register_quantization_config",
    "register_quantizer",
    "select_rows",
    "uses_sdpa",
    "without_packed_rows",
]


def add_checkpoint_contexts(module: nn.Module, contexts: Callable[[], Any]) -> None:
    """Sets the `context_fn` of a module's checkpointing, unless it has one or no checkpointing.

    Args:
        module: its checkpointing function must accept a `context_fn`.
        contexts: as for `torch.utils.checkpoint.checkpoint`.
    """
    function = getattr(module, "_gradient_checkpointing_func", None)
    if function is None:
        return
    settings = function.keywords if isinstance(function, functools.partial) else {}
    if "context_fn" not in settings:
        module._gradient_checkpointing_func = functools.partial(function, context_fn=contexts)  # type: ignore[assignment]


@contextmanager
def without_packed_rows() -> Iterator[None]:
    """Inside, transformers takes each row of a batch for one text, and does not search for several.

    The search makes the host wait for the device, which a captured pass must not. During a capture
    transformers does not search, but builds the mask for packed sequences, whose attention is
    slower and rounds differently; inside, masks are the same with and without capture.
    """
    masking_utils.find_packed_sequence_indices = lambda _position_ids: None
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = _find_packed


def is_divided(experts: Any) -> bool:
    """Whether ranks hold different experts of a module."""
    return bool(experts._is_expert_parallel)


def gate_of(experts: Any) -> Callable[[Tensor], Tensor]:
    """The function between an expert's products: a gate, or an activation alone."""
    activate: Callable[[Tensor], Tensor] = (
        experts._apply_gate if experts.has_gate else experts.act_fn
    )
    return activate


def has_silu_gate(experts: Any) -> bool:
    """Whether `gate_of` is silu(gate) up."""
    return (
        experts.has_gate
        and type(experts)._apply_gate is _default_apply_gate
        and isinstance(experts.act_fn, type(ACT2FN["silu"]))
    )


def compiles_whole(model: PreTrainedModel) -> bool:
    """Whether transformers can compile a model as one graph, which never waits for the device."""
    return bool(model._can_compile_fullgraph)


def uses_sdpa(config: PreTrainedConfig) -> bool:
    """Whether a model with this configuration uses torch's SDPA attention."""
    return bool(config._attn_implementation == "sdpa")


def cached_tensors(cache: Any) -> Iterator[Tensor]:
    """The tensors of a cache, in its layers' attributes, lists and dictionaries."""
    return _tensors(vars(cache).values())


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Mapping):
            yield from _tensors(value.values())
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
        elif isinstance(value, CacheLayerMixin | LinearAttentionCacheLayerMixin):
            yield from _tensors(vars(value).values())


def select_rows(cache: Any, row_B: Tensor) -> None:
    """Keeps some rows of a cache, in this order.

    `batch_select_indices` skips the states of convolutions and linear attention, `reorder_cache`
    does not; a family with its own cache overrides the former.
    """
    if "batch_select_indices" in vars(type(cache)):
        cache.batch_select_indices(row_B)
    else:
        cache.reorder_cache(row_B)


def forget_stored_form(model: PreTrainedModel) -> None:
    """Has `save_pretrained` write a model's weights as its class has them by default.

    By itself it writes them as they were stored, also those of a quantised checkpoint that were
    dequantised: without their scales.
    """
    vars(model).pop("_weight_conversions", None)


def dtype_of_weight(operation: Any, model: Any, name: str | None) -> torch.dtype | None:
    """The dtype to which an `Fp8Dequantize` converts the weight `name`."""
    dtype: torch.dtype | None = _dtype_of(operation, model, name)
    return dtype


def kernel_source(name: str) -> Mapping[str, Any]:
    """A kernel's place on the hub: `repo_id`, and revision or version."""
    source: Mapping[str, Any] = _HUB_KERNEL_MAPPING[name]
    return source
