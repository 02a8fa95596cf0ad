"""Whatever form a tensor's key has, what is taken apart is put together again."""

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perft import tensor_keys
from perft.tensor_keys import (
    LORA_A,
    LORA_B,
    PEFT_PREFIX,
    LoraKey,
    TensorKey,
    is_of_adapter,
    key_of,
    lora_kind,
    module_and_name,
    on_base,
    with_prefix,
    without_prefix,
)

PERFT = Path(tensor_keys.__file__).parent
PART = st.from_regex(r"[a-z0-9_]{1,8}", fullmatch=True)
PATH = st.lists(PART | st.just("adapters") | st.just("model"), min_size=1, max_size=5).map(".".join)
KIND = st.sampled_from(["perft_down", "perft_up", "perft_router", "lora_A"]) | PART
NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}", fullmatch=True)
MATRIX = st.sampled_from([LORA_A, LORA_B])


@given(PATH, KIND, NAME | st.just(""))
def test_a_key_says_module_kind_and_adapter(path: str, kind: str, adapter: str) -> None:
    key = TensorKey(path, kind, adapter)
    parsed = TensorKey.parse(str(key))
    assert parsed == TensorKey.parse(with_prefix(str(key)))
    assert str(parsed) == str(key)
    if ".adapters" not in f".{path}" and "adapters" not in (kind, adapter):
        assert parsed == key
    assert is_of_adapter(str(key))


@given(PATH, KIND, NAME)
def test_the_key_on_a_base_is_that_of_the_adapter_and_its_name(
    path: str, kind: str, adapter: str
) -> None:
    assert str(TensorKey(path, kind)) == key_of(path, kind)
    assert str(TensorKey(path, kind, adapter)) == on_base(key_of(path, kind), adapter)


@given(PATH, MATRIX, st.integers(0, 3))
def test_a_key_of_a_plain_lora_says_module_matrix_and_depth(
    path: str, matrix: str, depth: int
) -> None:
    key = LoraKey(path, matrix, depth)
    assert LoraKey.parse(str(key)) == key
    assert LoraKey.parse(with_prefix(str(key))) == key
    assert not is_of_adapter(f"base_layer.{matrix}.weight")


@given(PATH, PART, MATRIX)
def test_a_matrix_of_a_lora_says_its_weight(path: str, weight: str, matrix: str) -> None:
    alone = TensorKey(path, matrix)
    assert (alone.weight, alone.matrix) == (f"{path}.weight", matrix)
    one = TensorKey(path, lora_kind(weight, matrix))
    assert (one.weight, one.matrix) == (f"{path}.{weight}", matrix)
    assert module_and_name(one.weight) == (path, weight)


@given(PATH)
def test_the_prefix_comes_and_goes(path: str) -> None:
    assert without_prefix(with_prefix(path)) == path
    assert without_prefix(path) == path


@pytest.mark.parametrize("key", ["", "weight", "adapters.x", "m.adapters.", "m.adapters.a.b.c"])
def test_other_keys_are_of_no_adapter(key: str) -> None:
    with pytest.raises(ValueError, match="is no tensor of an adapter"):
        TensorKey.parse(key)


@pytest.mark.parametrize(
    "key", ["", "lora_A.weight", "m.lora_A", "m.lora_C.weight", "m.lora_A.bias"]
)
def test_other_keys_are_of_no_lora(key: str) -> None:
    with pytest.raises(ValueError, match="is no matrix of a LoRA"):
        LoraKey.parse(key)


@pytest.mark.parametrize("kind", ["perft_down", "lora_C", "xlora_A"])
def test_other_kinds_are_of_no_lora(kind: str) -> None:
    with pytest.raises(ValueError, match="is no matrix of a LoRA"):
        _ = TensorKey("m", kind).weight


def test_no_other_module_spells_a_part_of_a_key() -> None:
    for file in PERFT.rglob("*.py"):
        tree = ast.parse(file.read_text())
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            if id(node) not in docs and not node.value.startswith("perft.adapters.")
            if any(p in node.value for p in (".adapters.", PEFT_PREFIX, ".base_layer", ".lora_"))
            or node.value == "adapters."
        ]
        assert not found or file.name == "tensor_keys.py", f"{file}: {found}"
