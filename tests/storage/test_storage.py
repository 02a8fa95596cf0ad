"""Files are whole or not there at all, on a plain directory and behind a URI."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import fs

from perft.errors import StorageError
from perft.storage import Storage


@pytest.fixture(params=["directory", "file URI"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    place = tmp_path / "a place"
    return Storage(str(place) if request.param == "directory" else place.as_uri())


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 5000])
def test_what_is_written_is_read(storage: Storage, content: bytes):
    storage.write("file.bin", content)
    assert storage.read("file.bin") == content
    assert storage.exists("file.bin")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(), name=st.text("abcXYZ012-_. ", min_size=1).filter(str.strip))
def test_any_name_and_content_come_back(tmp_path: Path, content: bytes, name: str):
    if set(name) <= {"."}:
        return
    storage = Storage(str(tmp_path))
    storage.write(name, content)
    assert storage.read(name) == content


def test_second_write_replaces_the_first(storage: Storage):
    storage.write("f", b"a long first content")
    storage.write("f", b"short")
    assert storage.read("f") == b"short"
    assert storage.names() == ["f"]


def test_folders_are_made_on_the_way(storage: Storage):
    storage.write("a/b/c.json", b"{}")
    assert storage.names() == ["a"]
    assert storage.names("a/b") == ["c.json"]
    assert storage.child("a").child("b").read("c.json") == b"{}"


def test_names_are_sorted_and_empty_where_nothing_is(storage: Storage):
    for name in ("b", "c/d", "a"):
        storage.write(name, b"")
    assert storage.names() == ["a", "b", "c"]
    assert storage.names("nowhere") == []
    assert storage.child("nowhere").names() == []


def test_deleting_takes_a_file_or_a_folder_and_minds_nothing_missing(storage: Storage):
    storage.write("keep", b"")
    storage.write("folder/one", b"")
    storage.write("two", b"")
    for name in ("folder", "two", "never-there"):
        storage.delete(name)
        assert not storage.exists(name)
    assert storage.names() == ["keep"]


@pytest.mark.parametrize("is_folder", [False, True])
def test_what_another_process_deletes_first_is_deleted(tmp_path: Path, is_folder: bool):
    storage, path = Storage(str(tmp_path)), tmp_path / "f"

    class Late:
        """A file system whose answers come when the file is gone already."""

        def get_file_info(self, path: str) -> fs.FileInfo:
            return fs.FileInfo(path, fs.FileType.Directory if is_folder else fs.FileType.File)

        def __getattr__(self, name: str) -> object:
            return getattr(fs.LocalFileSystem(), name)

    storage._fs = Late()
    storage.delete("f")
    assert not path.exists()


def test_folder_exists_and_nothing_else_does(storage: Storage):
    assert not storage.exists("a")
    storage.write("a/b", b"")
    assert storage.exists("a")
    assert not storage.exists("a/c")


def test_prepared_place_is_there_and_empty(storage: Storage):
    assert storage.prepare() is storage
    assert storage.names() == []


def test_relative_place_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    storage = Storage("here")
    monkeypatch.chdir("/")
    storage.write("f", b"x")
    assert (tmp_path / "here" / "f").read_bytes() == b"x"


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Storage("~/mine").write("f", b"x")
    assert (tmp_path / "mine" / "f").is_file()


def test_missing_file_is_reported_with_its_place(storage: Storage):
    storage.prepare()
    with pytest.raises(StorageError, match=r"cannot read .*a.*place/no-such-file"):
        storage.read("no-such-file")


def test_place_below_a_file_cannot_be_prepared(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    storage = Storage(str(tmp_path / "file" / "below"))
    with pytest.raises(StorageError, match="cannot write"):
        storage.prepare()
    assert (tmp_path / "file").read_text() == "in the way"


def test_folder_in_the_way_of_a_file_is_reported_and_nothing_is_left_over(tmp_path: Path):
    (tmp_path / "taken" / "x").mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot write"):
        Storage(str(tmp_path)).write("taken", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("place", ["nosuchscheme://x/y", "file://host/share"])
def test_place_that_cannot_be_opened_is_named(place: str):
    with pytest.raises(StorageError, match=f"cannot open storage '{place}'"):
        Storage(place)


class _Cut:
    """A stream that breaks off in the middle."""

    def __init__(self, stream: object) -> None:
        self.stream = stream

    def __enter__(self) -> "_Cut":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def write(self, data: bytes) -> None:
        self.stream.write(data[: len(data) // 2])
        raise OSError("no space left")


class _FullDisk(fs.LocalFileSystem):
    def open_output_stream(self, path: str) -> _Cut:
        return _Cut(super().open_output_stream(path))


def test_write_that_breaks_off_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    storage = Storage(str(tmp_path))
    storage.write("f", b"the old content")
    storage._fs = _FullDisk()
    with pytest.raises(StorageError, match=r"cannot write .*/f: no space left"):
        storage.write("f", b"the new content")
    assert storage.read("f") == b"the old content"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_reader_sees_a_whole_file_while_it_is_written_again_and_again(tmp_path: Path):
    storage = Storage(str(tmp_path))
    size, done = 200_000, threading.Event()
    storage.write("f", b"0" * size)

    def write() -> None:
        for i in range(60):
            storage.write("f", str(i % 10).encode() * size)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        content = storage.read("f")
        assert len(content) == size
        assert len(set(content)) == 1
        assert storage.names() == ["f"]
    writer.join()


def test_two_writers_do_not_mix(tmp_path: Path):
    storage = Storage(str(tmp_path))
    writers = [
        threading.Thread(target=storage.write, args=("f", letter * 100_000))
        for letter in (b"a", b"b", b"c", b"d")
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(set(storage.read("f"))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_of_many_who_claim_a_folder_one_gets_it(storage: Storage):
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: storage.claim("a/b"), range(8))) == 1
    assert storage.exists("a/b")


def test_a_claim_where_nothing_can_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*file/below"):
        Storage(str(tmp_path / "file")).claim("below")
