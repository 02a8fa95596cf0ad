"""Tiny random bases in forms that real checkpoints have: in fp8, in mxfp4, in two files."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from contracts.bases import save_base, tiny_base

FP8_BLOCK = (8, 8)
"""Smaller than most matrices of a tiny base, and no divisor of some: their last blocks are cut."""

MXFP4_VALUES = (0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6)


def edit(path: Path, name: str = "config.json", **values: Any) -> Path:
    """Changes keys of a JSON file of a base; None takes one away."""
    file = path / name
    content = (json.loads(file.read_text()) if file.is_file() else {}) | values
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return path


def rewrite(path: Path, tensors: dict[str, Tensor]) -> None:
    """Replaces a base's weights."""
    save_file(tensors, path / "model.safetensors", {"format": "pt"})


def in_two_files(path: Path) -> Path:
    """The same base with its weights in two files and an index."""
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    places = {}
    for number in (1, 2):
        name = f"model-0000{number}-of-00002.safetensors"
        part = {key: tensors[key] for key in sorted(tensors)[number - 1 :: 2]}
        save_file(part, path / name, {"format": "pt"})
        places |= dict.fromkeys(part, name)
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return path


def fp8_base(path: Path, family: str, scale: str = "blocks") -> tuple[Path, Path]:
    """A base in fp8, and the same one in fp32, as a plain product of numbers and scales.

    Args:
        path: where the two folders go.
        family: its type.
        scale: "blocks", as DeepSeek-V3 and Qwen3 have them; "rows" or "one" for a matrix, as
            compressed-tensors has them.
    """
    stored = save_base(tiny_base(family, torch.float32), path / "fp8")
    plain = Path(shutil.copytree(stored, path / "plain"))
    quantised, dense = {}, {}
    torch.manual_seed(1)
    for key, tensor in load_file(stored / "model.safetensors").items():
        if tensor.dim() != 2 or "embed" in key or "head" in key or "gate.weight" in key:
            quantised[key] = dense[key] = tensor
            continue
        rows, columns = tensor.shape
        sides = {"blocks": FP8_BLOCK, "rows": (1, columns), "one": (rows, columns)}[scale]
        grid = [math.ceil(n / side) for n, side in zip(tensor.shape, sides, strict=True)]
        scales = torch.rand(grid) * 0.01 + 0.001
        numbers = (torch.randn(rows, columns) * 50).to(torch.float8_e4m3fn)
        whole = scales.repeat_interleave(sides[0], 0).repeat_interleave(sides[1], 1)
        suffix = "weight_scale_inv" if scale == "blocks" else "weight_scale"
        quantised[key] = numbers
        quantised[key.removesuffix("weight") + suffix] = (
            scales.view(1) if scale == "one" else scales
        )
        dense[key] = numbers.float() * whole[:rows, :columns]
    rewrite(stored, quantised)
    rewrite(plain, dense)
    if scale == "blocks":
        config: dict[str, Any] = {"quant_method": "fp8", "weight_block_size": list(FP8_BLOCK)}
    else:
        weights = {"type": "float", "num_bits": 8, "strategy": "channel", "symmetric": True}
        config = {
            "quant_method": "compressed-tensors",
            "format": "float-quantized",
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
            "ignore": ["lm_head"],
        }
    return edit(stored, quantization_config=config), plain


def mxfp4_base(path: Path) -> tuple[Path, Path]:
    """A gpt_oss in mxfp4, and the same one in fp32, looked up number by number."""
    stored = save_base(
        tiny_base("gpt_oss", torch.float32, hidden_size=32, intermediate_size=32), path / "mxfp4"
    )
    plain = Path(shutil.copytree(stored, path / "plain"))
    packed, dense = {}, {}
    torch.manual_seed(1)
    for key, tensor in load_file(stored / "model.safetensors").items():
        if not key.endswith(("gate_up_proj", "down_proj")):
            packed[key] = dense[key] = tensor
            continue
        experts, rows, columns = tensor.shape
        blocks = torch.randint(0, 256, (experts, columns, rows // 32, 16), dtype=torch.uint8)
        scales = torch.randint(118, 126, (experts, columns, rows // 32), dtype=torch.uint8)
        table = torch.tensor(MXFP4_VALUES)
        low, high = table[(blocks & 15).long()], table[(blocks >> 4).long()]
        numbers = (
            torch.stack([low, high], -1).flatten(-2) * 2.0 ** (scales.float() - 127)[..., None]
        )
        packed[f"{key}_blocks"], packed[f"{key}_scales"] = blocks, scales
        dense[key] = numbers.flatten(-2).transpose(1, 2).contiguous()
    rewrite(stored, packed)
    rewrite(plain, dense)
    return edit(stored, quantization_config={"quant_method": "mxfp4"}), plain
