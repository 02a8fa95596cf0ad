"""Quantised bases: which formats are read, and what they hold. Free of torch.

Adapters train beside unquantised weights, and hooks must fire: weights are dequantised while
they are loaded, on every machine, and no quantised kernel runs. Other formats are refused by name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from perft.errors import BaseModelError
from perft.models.weight_files import StoredTensor, bytes_of

PLAIN = "use the checkpoint that is not quantised, or one in fp8 or mxfp4, which are dequantised"

_KEYS = ("quantization_config", "compression_config")
_MXFP4_FAMILY = "gpt_oss"
_FLOAT8 = ("F8_E4M3", "F8_E5M2")
_SCALES = ("weight_scale_inv", "weight_scale", "scale", "qscale_weight")
_OF_INPUTS = ("activation_scale", "input_scale", "k_scale", "v_scale")
_MXFP4_BLOCK = 32  # numbers, two per byte


@dataclass(frozen=True)
class Quantization:
    """How a base's weights are stored.

    Attributes:
        method: name of the format in the configuration.
        kind: blocks of fp8 with their scales, or the mxfp4 of gpt_oss.
        block: rows and columns of a block of fp8; None if only the scales tell.
    """

    method: str
    kind: Literal["fp8", "mxfp4"]
    block: tuple[int, int] | None = None

    def dequantised(
        self, tensors: Mapping[str, StoredTensor], base: str
    ) -> dict[str, StoredTensor]:
        """The tensors after dequantisation, without the scales.

        Raises:
            BaseModelError: if scales are missing, or do not fit.
        """
        pairs = _from_blocks(tensors) if self.kind == "fp8" else _from_mxfp4(tensors)
        try:
            return dict(pairs)
        except ValueError as error:
            raise BaseModelError(
                f"base {base!r} is not stored in {self.method}, as its config.json says: {error}; "
                f"{PLAIN}"
            ) from None


def quantization_of(config: Mapping[str, object], base: str) -> Quantization | None:
    """How a base's weights are quantised; None if they are not.

    Args:
        config: its `config.json`.
        base: what the user called it, for messages.

    Raises:
        BaseModelError: if the format is unsupported, or the configuration does not name it.
    """
    for part in (config, config.get("text_config")):
        for key in _KEYS:
            if isinstance(part, Mapping) and part.get(key) is not None:
                return _quantization(part[key], key, str(config.get("model_type")), base)
    return None


def dequantised(
    tensors: Mapping[str, StoredTensor], quantization: Quantization | None, base: str
) -> dict[str, StoredTensor]:
    """The tensors as they are after loading.

    Raises:
        BaseModelError: if they are not stored as the configuration says.
    """
    if quantization is not None:
        return quantization.dequantised(tensors, base)
    for name, tensor in tensors.items():
        packed = name.endswith("weight") and tensor.dtype[0] in "IU"
        if tensor.dtype.startswith("F8") or packed:
            raise BaseModelError(
                f"base {base!r} is quantised, since {name} is stored as {tensor.dtype}, but its "
                f"config.json has no quantization_config that says how; {PLAIN}"
            )
    return dict(tensors)


def dequantised_note(
    before: Mapping[str, StoredTensor],
    after: Mapping[str, StoredTensor],
    method: str,
    base: str,
) -> str:
    """A note for the user: the memory that a dequantised base takes."""
    numbers = sum(tensor.numbers for tensor in after.values())
    return (
        f"base {base!r} is stored in {method} and is dequantised when it is loaded: "
        f"{_size(2 * numbers)} in bfloat16, {_size(4 * numbers)} in float32, where its files have "
        f"{_size(bytes_of(list(before.values())))}"
    )


def _quantization(found: object, key: str, model_type: str, base: str) -> Quantization:
    if not isinstance(found, Mapping):
        raise BaseModelError(
            f"base {base!r} has {key}={found!r} in its config.json, wanted an object with a "
            "quant_method; leave the key out if the weights are not quantised"
        )
    method = found.get("quant_method")
    for bits in ("4", "8"):
        if found.get(f"load_in_{bits}bit"):
            method = f"bitsandbytes ({bits} bits)"
    if not isinstance(method, str) or not method:
        raise BaseModelError(
            f"base {base!r} has a {key} in its config.json with quant_method={method!r}, wanted "
            "the name of a format; leave the key out if the weights are not quantised"
        )
    if method == "mxfp4" and model_type == _MXFP4_FAMILY:
        return Quantization(method, "mxfp4")
    if method == "fp8" and not found.get("modules_to_convert"):
        return Quantization(method, "fp8", _block(found.get("weight_block_size"), base))
    if method == "compressed-tensors" and (weights := _compressed_fp8(found)) is not None:
        block = _block(weights.get("block_structure"), base)
        return Quantization("compressed-tensors fp8", "fp8", block)
    width = found.get("bits")
    told = f" ({width} bits)" if isinstance(width, int) and "bits" not in method else ""
    raise BaseModelError(
        f"base {base!r}, of type {model_type!r}, is quantised with {method}{told}, which is not "
        f"read in this form; {PLAIN}"
    )


def _compressed_fp8(found: Mapping[str, object]) -> Mapping[str, object] | None:
    """How weights are stored if all of them are plain fp8; else None."""
    groups = found.get("config_groups")
    plain = found.get("format") in ("float-quantized", "naive-quantized")
    if not (plain and isinstance(groups, Mapping) and groups) or found.get("transform_config"):
        return None
    sparse = found.get("sparsity_config")
    if isinstance(sparse, Mapping) and sparse.get("format") not in (None, "dense"):
        return None
    weights = [group.get("weights") for group in groups.values() if isinstance(group, Mapping)]
    is_fp8 = [
        isinstance(w, Mapping) and (w.get("type"), w.get("num_bits")) == ("float", 8)
        for w in weights
    ]
    return weights[0] if is_fp8 and all(is_fp8) and len(weights) == len(groups) else None


def _block(found: object, base: str) -> tuple[int, int] | None:
    if found is None:
        return None
    sizes = found if isinstance(found, list) else []
    if len(sizes) != 2 or not all(type(size) is int and size > 0 for size in sizes):
        raise BaseModelError(
            f"base {base!r} has blocks of {found!r} in its quantization_config, wanted two sizes "
            "from 1 on"
        )
    return sizes[0], sizes[1]


def _from_blocks(tensors: Mapping[str, StoredTensor]) -> Iterator[tuple[str, StoredTensor]]:
    scales: set[str] = set()
    for name, tensor in tensors.items():
        if tensor.dtype not in (*_FLOAT8, "I8"):
            continue
        owner = name.removesuffix("weight")
        scale = next((owner + s for s in _SCALES if owner + s in tensors), None)
        if owner == name or scale is None:
            raise ValueError(f"{name} is of dtype {tensor.dtype} and has no scales that are read")
        scales.add(scale)
        # DeepSeek-V4 stores two numbers of four bits in a byte of its experts.
        wide = 2 if tensor.dtype == "I8" else 1
        yield name, StoredTensor("BF16", (*tensor.shape[:-1], wide * tensor.shape[-1]))
    for name, tensor in tensors.items():
        rest = tensor.dtype not in (*_FLOAT8, "I8") and name not in scales
        if rest and not name.endswith(_OF_INPUTS):
            yield name, tensor


def _from_mxfp4(tensors: Mapping[str, StoredTensor]) -> Iterator[tuple[str, StoredTensor]]:
    for name, tensor in tensors.items():
        if name.endswith("_blocks"):
            owner = name.removesuffix("_blocks")
            scales = tensors.get(f"{owner}_scales")
            shape = tensor.shape
            fits = len(shape) == 4 and 2 * shape[-1] == _MXFP4_BLOCK
            if not fits or scales is None or scales.shape != shape[:-1]:
                raise ValueError(f"{name} of shape {list(shape)} has no scales that fit")
            experts, rows, blocks = shape[:3]
            yield owner, StoredTensor("BF16", (experts, blocks * _MXFP4_BLOCK, rows))
        elif not name.endswith("_scales"):
            if tensor.dtype[0] in "IU" or tensor.dtype.startswith("F8"):
                raise ValueError(f"{name} is of dtype {tensor.dtype}")
            yield name, tensor


def _size(count: int) -> str:
    unit, size = ("GB", 1e9) if count >= 1e9 else ("MB", 1e6)
    return f"{count / size:.1f} {unit}"
