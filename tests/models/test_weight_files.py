"""Files of weights are checked by their headers: whatever is wrong is found before any is read."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from contracts.bases import save_base, tiny_base
from models.odd_bases import edit, in_two_files
from perft.errors import BaseModelError
from perft.models.rehearsal import rehearse
from perft.models.source import check_base
from perft.models.weight_files import BITS, linked_files, read_header, stored_tensors

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5368709120\n"


@pytest.fixture
def file(base: Path) -> Path:
    return base / "model.safetensors"


def assert_refused(base: Path, message: str) -> None:
    with pytest.raises(BaseModelError, match=message) as refusal:
        check_base(str(base))
    assert "\n" not in str(refusal.value)


def with_header(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_a_header_says_what_the_tensors_are(file: Path):
    found = read_header(file)
    assert {key: tensor.shape for key, tensor in found.items()} == {
        key: tuple(tensor.shape) for key, tensor in load_file(file).items()
    }
    assert {tensor.dtype for tensor in found.values()} == {"F32"}


@pytest.mark.parametrize("name", BITS)
def test_every_dtype_that_is_read_has_the_bits_that_torch_gives_it(name: str, tmp_path: Path):
    dtypes = {
        "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
        "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
        "BOOL": "bool",
    }  # fmt: skip
    kind = dtypes.get(name) or name.replace("I", "int").replace("U", "u").replace("u", "uint", 1)
    kind = kind if name[0] != "U" else f"uint{name[1:]}"
    save_file({"a": torch.zeros(3, 2).to(getattr(torch, kind))}, tmp_path / "a.safetensors")
    assert read_header(tmp_path / "a.safetensors")["a"].dtype == name


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty; download it again"),
        (POINTER.encode(), "is a git-lfs pointer in place of the file; run git lfs pull there"),
        (b"<!DOCTYPE html><html>Access denied", "is a web page, saved in place of the file"),
        (b"  <html><body>404", "is a web page"),
        (b"PK\x03\x04 archive of torch", "is a pickled PyTorch file by another name"),
        (b"\x80\x02}q\x00.", "is a pickled PyTorch file by another name"),
        (b"abc", "is not a safetensors file"),
        (b'{"error": "not found"}', "is not a safetensors file"),
        (struct.pack("<Q", 5000) + b"{", "is cut short"),
        (with_header(b"{"), "its header makes no sense"),
        (with_header([]), "its header makes no sense"),
        (with_header({"a": 3}), "its header makes no sense"),
        (with_header({"a": {"dtype": "F32", "shape": [2]}}), "its header makes no sense"),
        (with_header({"a": {"dtype": "F9", "shape": [], "data_offsets": [0, 4]}}), "dtype 'F9'"),
        (with_header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}), "has 4 bytes"),
        (with_header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}), "no sense"),
        (with_header({"a": {"dtype": "F32", "shape": "ab", "data_offsets": [0, 4]}}), "no sense"),
    ],
)
def test_what_is_no_file_of_weights_is_said_to_be_what_it_is(file: Path, content: bytes, what: str):
    file.write_bytes(content)
    assert_refused(file.parent, rf"cannot be loaded: model\.safetensors .*{what}")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_file_that_is_cut_short(file: Path, share: float):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    assert_refused(file.parent, r"model\.safetensors is cut short: it has [\d,]+ bytes")


def test_a_file_that_is_too_long(file: Path):
    file.write_bytes(file.read_bytes() + b"\0")
    assert_refused(file.parent, r"model\.safetensors is longer than its header says")


def test_one_bad_file_of_several_is_named(base: Path):
    in_two_files(base)
    check_base(str(base))
    (base / "model-00002-of-00002.safetensors").write_text(POINTER)
    assert_refused(base, r"model-00002-of-00002\.safetensors is a git-lfs pointer")


def test_an_index_that_names_a_tensor_which_is_not_there(base: Path):
    in_two_files(base)
    index = json.loads((base / "model.safetensors.index.json").read_text())
    index["weight_map"]["lm_head.bias"] = "model-00001-of-00002.safetensors"
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_refused(base, r"names the tensor lm_head\.bias in model-00001-of-00002\.safetensors")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../model.safetensors", "no file of its own folder"),
        ("/etc/passwd", "no file of its own folder"),
        ("pytorch_model.bin", "pickled weights are refused"),
        (3, "no file of its own folder"),
    ],
)
def test_an_index_that_names_what_is_not_read(base: Path, name: Any, message: str):
    (base / "model.safetensors").unlink()
    edit(base, "model.safetensors.index.json", weight_map={"a": name})
    assert_refused(base, message)


def test_the_single_file_is_preferred_as_transformers_does(base: Path):
    edit(base, "model.safetensors.index.json", weight_map={"a": "gone.safetensors"})
    assert "lm_head.weight" in stored_tensors(base)
    rehearse(str(base))


def test_only_what_is_read_is_linked(base: Path):
    for name in ("adapter_config.json", "pytorch_model.bin", "consolidated.safetensors", "x.py"):
        (base / name).write_text("{}")
    with linked_files(base) as folder:
        names = {path.name for path in Path(folder).iterdir()}
    assert names == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    assert not Path(folder).exists()
    assert (base / "model.safetensors").is_file()


@pytest.mark.parametrize("family", ["mixtral", "deepseek_v3", "gpt_oss", "gemma4", "qwen3_vl_moe"])
def test_a_good_base_is_rehearsed_without_fault(family: str, tmp_path: Path):
    base = save_base(tiny_base(family, torch.float32), tmp_path)
    assert rehearse(str(base)).embeddings == 50


def test_rehearsed_weights_of_another_shape(file: Path):
    tensors = load_file(file)
    tensors["model.embed_tokens.weight"] = torch.zeros(64, 16)
    save_file(tensors, file)
    with pytest.raises(BaseModelError, match=r"embed_tokens.weight is of shape \[64, 16\], and"):
        rehearse(str(file.parent))


def test_rehearsed_weights_that_lack_one(file: Path):
    tensors = load_file(file)
    del tensors["model.norm.weight"]
    save_file(tensors, file)
    with pytest.raises(BaseModelError, match=r"lacks 1 weights .* model\.norm\.weight"):
        rehearse(str(file.parent))


def test_rehearsed_experts_of_which_one_is_gone(file: Path):
    tensors = load_file(file)
    gone = [key for key in tensors if "experts.3." in key and "layers.1" in key]
    save_file({key: t for key, t in tensors.items() if key not in gone}, file)
    with pytest.raises(BaseModelError):
        rehearse(str(file.parent))


def test_a_configuration_of_more_layers_than_there_are(base: Path):
    with pytest.raises(BaseModelError, match=r"lacks \d+ weights that"):
        rehearse(str(edit(base, num_hidden_layers=3)))
