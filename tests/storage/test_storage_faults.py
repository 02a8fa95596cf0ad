"""What passes is tried again, what cannot pass is said at once: on a disk, without a real fault."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from perft.errors import StorageError
from perft.storage import Storage, faults
from perft.storage.faults import is_transient, retry


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(faults, "time", clock)
    return clock


def failing(*errors: OSError) -> Callable[[], str]:
    """Fails with each error once, then goes well."""
    left = list(errors)

    def action() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return action


def of(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EINTR])
def test_an_error_that_passes_is_tried_again(number: int, clock: Clock):
    assert retry(failing(*[of(number)] * 5), 60, print) == "done"
    assert 1 < clock.now < 10


@pytest.mark.parametrize(
    "number",
    [errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS,
     errno.ENOTDIR, errno.ENAMETOOLONG],
)  # fmt: skip
def test_an_error_that_stays_is_said_at_once(number: int, clock: Clock):
    with pytest.raises(OSError, match=os.strerror(number)):
        retry(failing(of(number)), 60, print)
    assert clock.now == 0


@pytest.mark.parametrize(
    "said",
    [
        "AWS Error SLOW_DOWN during PutObject operation: Please reduce your request rate.",
        "AWS Error UNKNOWN (HTTP status 503) during HeadObject operation: No response body.",
        "AWS Error INTERNAL_FAILURE during PutObject operation: We",
        "AWS Error NETWORK_CONNECTION during PutObject operation: curlCode: 28, Timeout was",
        "AWS Error UNKNOWN (HTTP status 429) during PutObject operation: TooManyRequests",
        "google::cloud::Status(UNAVAILABLE: Retry policy exhausted)",
    ],
)
def test_words_of_a_store_that_is_busy(said: str):
    assert is_transient(OSError(f"When uploading object with key 'a': {said}"))


@pytest.mark.parametrize(
    "said",
    [
        "AWS Error NO_SUCH_BUCKET during PutObject operation: The bucket does not exist",
        "AWS Error ACCESS_DENIED during PutObject operation: Access Denied",
        "AWS Error INVALID_ACCESS_KEY_ID during PutObject operation: bad",
        "AWS Error UNKNOWN (HTTP status 403) during PutObject operation: QuotaExceeded",
        "AWS Error UNKNOWN (HTTP status 507) during PutObject operation: XMinioStorageFull",
        "AWS Error UNKNOWN (HTTP status 301) during HeadObject operation: No response body.",
    ],
)
def test_words_of_a_store_that_will_not(said: str):
    assert not is_transient(OSError(f"When uploading object with key 'a': {said}"))


def test_patience_ends_and_the_user_has_heard_of_it_once(clock: Clock):
    told: list[str] = []
    with pytest.raises(OSError, match="Stale"):
        retry(failing(*[of(errno.ESTALE)] * 100), 60, told.append)
    assert 50 < clock.now <= 60
    assert told == ["does not answer (Stale file handle); trying again for 60 s in all"]


class Faulty(fs.LocalFileSystem):
    """A disk whose next writes fail."""

    errors: list[OSError]

    def open_output_stream(self, path: str) -> Any:
        stream = super().open_output_stream(path)
        if self.errors:
            stream.close()
            raise self.errors.pop(0)
        return stream


def faulty(tmp_path: Path, *errors: OSError) -> Storage:
    storage = Storage(str(tmp_path))
    storage._fs = Faulty()
    storage._fs.errors = list(errors)
    return storage


def test_a_write_is_tried_again_and_leaves_nothing_behind(tmp_path: Path, clock: Clock):
    storage = faulty(tmp_path, of(errno.ESTALE), of(errno.EIO))
    storage.write("f", b"x")
    assert storage.read("f") == b"x"
    assert [file.name for file in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_with_the_place_and_what_is_free(
    tmp_path: Path, clock: Clock, number: int
):
    storage = faulty(tmp_path, of(number))
    free = rf"\([\d.,]+ MB free in {tmp_path}; make room there\)$"
    message = rf"^cannot write {tmp_path}/f: {os.strerror(number)} {free}"
    with pytest.raises(StorageError, match=message):
        storage.write("f", b"x")
    assert list(tmp_path.iterdir()) == []
    assert clock.now == 0


def test_what_killed_writers_left_is_swept_away(tmp_path: Path):
    storage = Storage(str(tmp_path))
    storage.write("trials/a", b"x")
    (tmp_path / "trials" / f"a.{'0f' * 16}.tmp").write_bytes(b"half")
    (tmp_path / "mine.tmp").write_bytes(b"not ours")
    storage.sweep()
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["a", "mine.tmp", "trials"]


def test_a_deleted_folder_is_not_made_again(tmp_path: Path):
    storage = Storage(str(tmp_path / "search"))
    storage.write("search.json", b"{}")
    anchored = storage.anchored("search.json")
    anchored.write("a/b", b"x")
    (tmp_path / "search").rename(tmp_path / "elsewhere")
    message = r"cannot write .*/search/a/b: the folder's search\.json is gone"
    with pytest.raises(StorageError, match=message):
        anchored.write("a/b", b"x")
    assert [file.name for file in tmp_path.iterdir()] == ["elsewhere"]
