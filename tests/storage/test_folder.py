"""A folder counts when it is whole, and damage is named."""

from pathlib import Path

import pytest

from perft.errors import DamagedError
from perft.storage import Storage, is_whole, read_folder, write_folder

FILES = {"a.bin": bytes(range(256)), "b.json": b"{}"}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path))
    write_folder(storage, "x", FILES)
    return storage


def test_a_whole_folder_comes_back(storage: Storage):
    assert is_whole(storage, "x")
    assert read_folder(storage, "x") == FILES


@pytest.mark.parametrize("content", [b"", bytes(range(255)), b"\x01" + bytes(range(1, 256)), b"{"])
@pytest.mark.parametrize("name", [*FILES, "checksums.json"])
def test_damage_is_named(storage: Storage, name: str, content: bytes):
    storage.write(f"x/{name}", content)
    assert not is_whole(storage, "x")
    with pytest.raises(DamagedError, match=r"/x/\S+ is damaged"):
        read_folder(storage, "x")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(storage: Storage, name: str):
    storage.delete(f"x/{name}")
    assert not is_whole(storage, "x")
    with pytest.raises(DamagedError, match=f"/x/{name} is missing"):
        read_folder(storage, "x")


def test_a_folder_without_checksums_is_read_but_not_whole(storage: Storage):
    storage.delete("x/checksums.json")
    assert read_folder(storage, "x") == FILES
    assert not is_whole(storage, "x")
    assert not is_whole(storage, "nowhere")
