"""Storage on a real S3 server: few requests, 503s survived, refusals said at once."""

from collections.abc import Iterator

import pytest

from perft.errors import StorageError
from perft.storage import Storage, is_whole, read_folder, storage, write_folder
from s3_server import CREDENTIALS, DENIED, SLOW_DOWN, S3Server, s3_server


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def server(running: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    running.fault = lambda _request: None
    running.requests.clear()
    return running


@pytest.mark.parametrize("path", ["", "a", "a/b/", "a%20b", "50%25", "ü", "a b", "x%23%3Fy"])
def test_what_is_written_is_read(server: S3Server, path: str):
    root = Storage(server.uri(path))
    root.child("s").write("f/g", b"x")
    assert Storage(root.child("s").uri).read("f/g") == b"x"
    assert root.exists("s/f")
    assert root.names("s") == ["f"]
    assert root.child("s").names("f") == ["g"]
    root.delete("s")
    assert not root.exists("s/f/g")
    assert not root.exists("nothing")
    assert root.names("nothing") == []


def test_a_write_is_one_request(server: S3Server):
    found = Storage(server.uri("few"))
    found.write("a/b", b"x" * 1000)
    assert server.requests == [("PUT", "/bucket/few/a/b")]


@pytest.mark.parametrize("size", [0, 1, 12_000_000])
def test_any_size_comes_back(server: S3Server, size: int):
    found, data = Storage(server.uri("size")), bytes(size)
    found.write("f", data)
    assert found.read("f") == data


def test_a_busy_store_is_tried_again(server: S3Server):
    found = Storage(server.uri("busy"))
    server.refuse(SLOW_DOWN, times=3)
    found.write("f", b"x")
    server.refuse(SLOW_DOWN, times=3)
    assert found.read("f") == b"x"
    server.refuse(SLOW_DOWN, times=3)
    assert found.names() == ["f"]
    server.refuse(SLOW_DOWN, times=3)
    write_folder(found, "g", {"a": b"1", "b": b"2"})
    assert is_whole(found, "g")
    assert read_folder(found, "g") == {"a": b"1", "b": b"2"}


def test_a_store_that_stays_busy_is_given_up(server: S3Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(storage, "FIRST_TIMEOUT", 0.5)
    server.fault = lambda _request: SLOW_DOWN
    with pytest.raises(StorageError, match=r"cannot write s3://bucket/busy/f: SLOW_DOWN"):
        Storage(server.uri("busy")).write("f", b"x")


def test_a_refusal_is_said_at_once(server: S3Server):
    server.fault = lambda _request: DENIED
    with pytest.raises(StorageError, match=r"cannot write s3://bucket/mine/\.probe.*ACCESS_DENIED"):
        Storage(server.uri("mine")).prepare()
    assert len(server.requests) == 1


def test_a_bucket_that_is_not_there_is_said_at_once(server: S3Server):
    place = server.uri("x").replace("s3://bucket/", "s3://nosuch/")
    with pytest.raises(StorageError, match=r"cannot write s3://nosuch/x/.*NO_SUCH_BUCKET"):
        Storage(place).prepare()
    with pytest.raises(StorageError, match=r"s3://nosuch/x/name: Bucket 'nosuch' not found"):
        Storage(place).claim("name")
    assert len(server.requests) < 6


def test_a_server_that_is_not_there_is_given_up_soon(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(storage, "FIRST_TIMEOUT", 0.5)
    place = "s3://bucket/x?endpoint_override=127.0.0.1%3A9&scheme=http&region=us-east-1"
    with pytest.raises(StorageError, match=r"cannot write s3://bucket/x/.*NETWORK_CONNECTION"):
        Storage(place).prepare()


def test_a_deleted_search_is_noticed(server: S3Server):
    search = Storage(server.uri("gone")).child("search")
    search.write("search.json", b"{}")
    anchored = search.anchored("search.json")
    anchored.write("trials/a", b"x")
    Storage(server.uri("gone")).delete("search")
    with pytest.raises(StorageError, match=r"search\.json is gone"):
        anchored.write("trials/a", b"x")


def test_of_two_who_claim_a_folder_the_second_does_not_get_it(server: S3Server):
    root = Storage(server.uri("claims"))
    assert root.claim("a")
    assert not root.claim("a")
