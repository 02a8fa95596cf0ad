"""Dequantises weights while transformers reads them, on every machine and without more packages.

transformers (5.23) chooses kernels by the machine, asks for packages that dequantising does not
need, and refuses matrices whose last block of fp8 is cut, as DeepSeek-V3's. So the formats defined
here replace its own: they read the same files, and only dequantise.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import FineGrainedFP8Config, Mxfp4Config, PreTrainedConfig

from perft.compat.transformers import (
    FineGrainedFP8HfQuantizer,
    Fp8Dequantize,
    Mxfp4HfQuantizer,
    WeightRenaming,
    dtype_of_weight,
    register_quantization_config,
    register_quantizer,
)
from perft.models.quantization import quantization_of

FP8, MXFP4 = "perft-fp8", "perft-mxfp4"


def dequantise(config: PreTrainedConfig, base: str) -> None:
    """Makes loading from `config` dequantise a base's weights, if they are quantised.

    Raises:
        BaseModelError: if they are in a format that is not read.
    """
    quantization = quantization_of(config.to_dict(), base)
    if quantization is None:
        return
    own = {"quant_method": FP8 if quantization.kind == "fp8" else MXFP4, "dequantize": True}
    if quantization.kind == "fp8":
        own["weight_block_size"] = quantization.block
    config.quantization_config = own


@register_quantization_config(FP8)
class DequantisedFp8(FineGrainedFP8Config):  # type: ignore[misc]
    """Blocks of fp8 with their scales."""


@register_quantization_config(MXFP4)
class DequantisedMxfp4(Mxfp4Config):  # type: ignore[misc]
    """The mxfp4 of gpt_oss."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.quant_method = MXFP4


class DequantiseBlocks(Fp8Dequantize):  # type: ignore[misc]
    """Multiplies blocks of fp8 with their scales; the last block of a row or column may be cut."""

    def convert(
        self,
        input_dict: dict[str, object],
        full_layer_name: str | None = None,
        model: object = None,
        **others: object,
    ) -> dict[str, object]:
        """The dequantised weights; all, also unquantised ones, get the dtype of the base."""
        found = super().convert(input_dict, full_layer_name=full_layer_name, model=model, **others)
        dtype = dtype_of_weight(self, model, full_layer_name)
        return {
            key: [part.to(dtype) for part in parts] if isinstance(parts, list) else parts.to(dtype)
            for key, parts in found.items()
        }

    def _dequantize_one(
        self, quantized: Tensor, scales: Tensor, output_dtype: torch.dtype | None = None
    ) -> Tensor:
        block = self.hf_quantizer.quantization_config.weight_block_size
        rows, columns = quantized.shape[-2:]
        if block is None or quantized.dtype == torch.int8 or scales.dim() < 2:
            whole: Tensor = super()._dequantize_one(quantized, scales, output_dtype)
            return whole
        lower, right = (
            side * count - size
            for side, count, size in zip(block, scales.shape[-2:], (rows, columns), strict=True)
        )
        if not (0 <= lower < block[0] and 0 <= right < block[1]):  # scales of other blocks
            lower = right = 0
        filled = pad(quantized.float(), (0, right, 0, lower))
        whole = super()._dequantize_one(filled, scales, output_dtype)
        return whole[..., :rows, :columns].contiguous()


@register_quantizer(FP8)
class Fp8Reader(FineGrainedFP8HfQuantizer):  # type: ignore[misc]
    """Reads fp8 and dequantises it."""

    def validate_environment(self, *_args: object, **_kwargs: object) -> None:
        """Accepts every machine: dequantising only multiplies."""

    def get_load_operations(self) -> dict[str, object]:
        """The operation before a weight's own conversions."""
        return {"dequantize": DequantiseBlocks}

    def update_weight_conversions(self, weight_conversions: object, model: object) -> object:
        """Renames the scales of compressed-tensors to those of fp8."""
        renamed = WeightRenaming(r"\.weight_scale$", ".weight_scale_inv")
        return [renamed, *super().update_weight_conversions(weight_conversions, model)]


@register_quantizer(MXFP4)
class Mxfp4Reader(Mxfp4HfQuantizer):  # type: ignore[misc]
    """Reads mxfp4 and dequantises it."""

    def validate_environment(self, *_args: object, **_kwargs: object) -> None:
        """Accepts every machine: dequantising only looks values up."""

    def _process_model_before_weight_loading(self, model: object, **_kwargs: object) -> None:
        """Leaves the model's experts and routers as they are."""
