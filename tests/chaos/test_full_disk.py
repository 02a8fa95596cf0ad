"""A disk that is full in mid-search: one line, and the search goes on once it is not."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from books import results
from searches import FIRST_ROUND, REFERENCE, REPOSITORY, SEARCH, SIZE, SPACE, Job

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]

MEGABYTES = 64
MOUNT = 'mount -t tmpfs -o size="$0"m tmpfs "$1" && echo mounted && exec sleep infinity'


@dataclass
class Disk:
    """A small disk that only the programs run inside it see.

    Attributes:
        folder: where it is mounted for them.
        inside: the command that runs another one there.
        seen: the same folder, as this process sees it.
    """

    folder: Path
    inside: tuple[str, ...]
    seen: Path

    def fill(self) -> None:
        filler = (self.seen / "filler").open("wb", buffering=0)
        with filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))

    def empty(self) -> None:
        (self.seen / "filler").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT]
    holder = subprocess.Popen([*mount, str(MEGABYTES), str(folder)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mounted\n"
        target = ("--target", str(holder.pid))
        where = ("--user", "--mount", "--preserve-credentials", f"--wd={REPOSITORY}")
        inside = ("nsenter", *target, *where)
        yield Disk(folder, inside, Path(f"/proc/{holder.pid}/root{folder}"))
    finally:
        holder.kill()
        holder.communicate()


def test_a_full_disk_ends_the_search_with_a_line_and_a_resume_goes_on(
    reference: Job, start, disk: Disk, tmp_path: Path
):
    storage = ("--storage", str(disk.folder / "searches"))
    slots = ("--groups", "1", "--slots", str(FIRST_ROUND))
    job = start(
        *SEARCH, *SPACE, *SIZE, *slots, "--name", "full", *storage, inside=disk.inside
    )  # fmt: skip
    job.until(lambda: job.rungs >= FIRST_ROUND)
    disk.fill()
    assert job.end() == 2, job.output + job.errors
    assert "No space left" in job.errors
    assert str(disk.folder) in job.errors
    assert "--resume full" in job.errors
    assert job.errors.count("\n") == 1, job.errors
    assert job.family.disappears()
    disk.empty()
    again = start(*SEARCH, "--resume", "full", *storage, inside=disk.inside)
    assert again.end() == 0, again.output + again.errors
    shutil.copytree(disk.seen, tmp_path / "kept")  # a resolved path would lead out of the mount
    assert results(tmp_path / "kept", "full") == results(reference.home, REFERENCE)
