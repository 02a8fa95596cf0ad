"""Bases in fp8 and mxfp4 are read as their own numbers times their scales; others are refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from contracts.ranks import run_ranks
from models import sharded_loads
from models.odd_bases import edit, fp8_base, mxfp4_base, rewrite
from perft.errors import BaseModelError
from perft.models.blocks import find_moe_blocks
from perft.models.load import load_base
from perft.models.quantised_weight import QuantisedWeight
from perft.models.rehearsal import rehearse
from perft.models.sharding import sharded_loading
from perft.models.skeleton import skeleton
from perft.models.source import check_base, config_directory, note_once
from perft.ranks import Ranks

READ = {
    "fp8 in blocks": lambda path: fp8_base(path, "qwen3_moe"),
    "fp8 in blocks that are cut": lambda path: fp8_base(path, "deepseek_v3"),
    "fp8 by row": lambda path: fp8_base(path, "mixtral", "rows"),
    "fp8 by matrix": lambda path: fp8_base(path, "qwen3_moe", "one"),
    "mxfp4": mxfp4_base,
}


@pytest.mark.parametrize("form", READ)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_read_is_the_numbers_times_their_scales(form: str, dtype: str, tmp_path: Path):
    stored, plain = map(str, READ[form](tmp_path))
    found, wanted = load_base(stored, dtype=dtype).model, load_base(plain, dtype=dtype).model
    assert type(found) is type(wanted)
    assert not hasattr(found.config, "quantization_config")
    for key, tensor in wanted.state_dict().items():
        assert torch.equal(found.state_dict()[key], tensor), key


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_stored_in_mxfp4_is_held_in_it_without_any_loss(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("perft.models.quantise.SMALLEST", 8)
    stored, _plain = map(str, mxfp4_base(tmp_path))
    plain, found = (
        load_base(stored, dtype=dtype, quantize=each).model for each in ("none", "mxfp4")
    )
    for block, packed in zip(find_moe_blocks(plain), find_moe_blocks(found), strict=True):
        for name in ("gate_up_proj", "down_proj"):
            weight = packed.experts.get_parameter(name)
            assert isinstance(weight, QuantisedWeight)
            assert torch.equal(weight.dequantise(), block.experts.get_parameter(name))


@pytest.mark.parametrize("form", READ)
def test_a_line_says_so_and_what_memory_it_takes(form: str, tmp_path: Path, capsys):
    note_once.cache_clear()
    stored, plain = map(str, READ[form](tmp_path))
    capsys.readouterr()
    check_base(plain)
    assert capsys.readouterr().err == ""
    check_base(stored)
    load_base(stored)
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("note")]
    method = form.split()[0] if "blocks" in form or form == "mxfp4" else "compressed-tensors fp8"
    assert f"is stored in {method} and is dequantised when it is loaded: " in line
    assert " MB in bfloat16, " in line


@pytest.mark.parametrize("form", READ)
def test_it_is_rehearsed_and_planned_as_what_it_becomes(form: str, tmp_path: Path):
    stored, plain = map(str, READ[form](tmp_path))
    assert rehearse(stored).embeddings == rehearse(plain).embeddings == 50
    shapes = [
        {k: tuple(p.shape) for k, p in skeleton(b).named_parameters()} for b in (stored, plain)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("form", READ)
def test_blocks_of_fp8_are_read_whole_by_every_rank(form: str, tmp_path: Path, monkeypatch):
    """Divided among ranks, a block would lose its scale where it spans two of them."""
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)
    stored, _ = READ[form](tmp_path)
    on_two = sharded_loading(str(stored), Ranks(0, 2, torch.device("cpu")))
    assert (on_two == {}) == form.startswith("fp8")


@pytest.mark.multi_rank
def test_ranks_read_their_own_parts_of_it(tmp_path: Path) -> None:
    want = {}
    for number, form in enumerate(("fp8 in blocks that are cut", "fp8 by matrix", "mxfp4")):
        stored, plain = READ[form](tmp_path / "made" / str(number))
        place = tmp_path / "bases" / form.replace(" ", "-")
        shutil.copytree(stored, place)
        with torch.no_grad():
            want[place.name] = sharded_loads.answer(
                load_base(str(plain)).model, sharded_loads.token_ids(2)
            )
    run_ranks(sharded_loads.load_and_answer, 2, tmp_path)
    for rank in range(2):
        for name, logits in want.items():
            found = torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True)
            torch.testing.assert_close(found, logits, msg=lambda text, n=name: f"{n}: {text}")
        held = json.loads((tmp_path / f"found-{rank}.json").read_text())["held"]
        assert all(0.3 < share < 0.7 for share in held.values()), held


def assert_refused(base: Path, message: str) -> None:
    for look in (check_base, config_directory):
        with pytest.raises(BaseModelError, match=message):
            look(str(base))


INT4, FLOAT8 = {"type": "int", "num_bits": 4}, {"type": "float", "num_bits": 8}
REFUSED: dict[str, dict[str, Any]] = {
    r"bitsandbytes \(4 bits\)": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    r"bitsandbytes \(8 bits\)": {"load_in_8bit": True},
    r"gptq \(4 bits\)": {"quant_method": "gptq", "bits": 4, "group_size": 128},
    r"awq \(4 bits\)": {"quant_method": "awq", "bits": 4},
    **{
        f"{name}, which": {"quant_method": name}
        for name in (
            "hqq", "aqlm", "eetq", "quanto", "torchao", "fbgemm_fp8", "bitnet", "vptq", "higgs",
            "modelopt", "quark", "auto-round", "nvfp4", "what-is-new",
        )
    },
    "'mixtral', is quantised with mxfp4, which": {"quant_method": "mxfp4"},
    "fp8, which": {"quant_method": "fp8", "modules_to_convert": ["model.embed_tokens"]},
    "compressed-tensors, which": {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": {"weights": INT4}},
    },
    "compressed-tensors": {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "config_groups": {"a": {"weights": FLOAT8}, "b": {"weights": INT4}},
    },
}  # fmt: skip


@pytest.mark.parametrize("named", REFUSED)
def test_other_formats_are_refused_by_name_with_what_to_do(base: Path, named: str):
    edit(base, quantization_config=REFUSED[named])
    assert_refused(base, rf"is quantised with {named}|{named}")
    assert_refused(base, "use the checkpoint that is not quantised, or one in fp8 or mxfp4")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("fp8", "quantization_config='fp8' in its config.json, wanted an object"),
        ([], r"quantization_config=\[\] in its config.json, wanted an object"),
        ({}, "quant_method=None, wanted the name of a format"),
        ({"quant_method": 8}, "quant_method=8, wanted the name"),
        ({"quant_method": ""}, "quant_method='', wanted the name"),
        ({"quant_method": "fp8", "weight_block_size": [128]}, r"blocks of \[128\]"),
        ({"quant_method": "fp8", "weight_block_size": [0, 128]}, r"blocks of \[0, 128\]"),
        ({"quant_method": "fp8", "weight_block_size": "128"}, "blocks of '128'"),
    ],
)
def test_a_declaration_of_no_sense_is_refused(base: Path, found: Any, message: str):
    assert_refused(edit(base, quantization_config=found), message)


def test_a_declaration_in_the_text_part_counts(base: Path):
    edit(base, text_config={"quantization_config": {"quant_method": "gptq", "bits": 4}})
    assert_refused(base, r"gptq \(4 bits\)")


def test_fp8_that_nobody_declares_is_refused(tmp_path: Path):
    stored, _ = fp8_base(tmp_path, "mixtral")
    config = json.loads((stored / "config.json").read_text())
    del config["quantization_config"]
    (stored / "config.json").write_text(json.dumps(config))
    with pytest.raises(BaseModelError, match="stored as F8_E4M3, but its config"):
        check_base(str(stored))


def test_fp8_without_scales_is_refused(tmp_path: Path):
    stored, _ = fp8_base(tmp_path, "mixtral")
    tensors = load_file(stored / "model.safetensors")
    gone = next(key for key in tensors if key.endswith("_scale_inv"))
    del tensors[gone]
    rewrite(stored, tensors)
    with pytest.raises(BaseModelError, match=r"is of dtype F8_E4M3 and has no scales"):
        check_base(str(stored))
