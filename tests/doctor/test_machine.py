"""Memory and folders, on machines that are pretended."""

from pathlib import Path

import pytest

from perft.doctor.machine import GIGABYTE, disk, is_writable, memory, shared_memory, temporary


@pytest.mark.parametrize(("free", "state"), [(64, "ok"), (3, "warning")])
def test_little_memory_is_a_warning(free: int, state: str) -> None:
    (found,) = memory(free * GIGABYTE)
    assert found.state == state
    assert found.found.startswith(f"{free}.0 GB available, ")


def test_what_docker_gives_as_shared_memory_is_a_warning(tmp_path: Path) -> None:
    assert shared_memory(tmp_path, lambda _: 64 * 2**20)[0].state == "warning"
    assert shared_memory(tmp_path, lambda _: 8 * GIGABYTE)[0].state == "ok"
    assert shared_memory(tmp_path / "none") == []


@pytest.mark.parametrize(("free", "state"), [(100, "ok"), (5, "warning"), (0.5, "missing")])
def test_the_disk_of_searches(free: float, state: str, tmp_path: Path) -> None:
    place = tmp_path / "not" / "yet" / "there"
    (found,) = disk(place, lambda asked: int(free * GIGABYTE) if asked == tmp_path else 0)
    assert (found.state, found.found) == (state, f"{place}, {free:.1f} GB free")
    assert not (tmp_path / "not").exists()


def test_a_folder_that_cannot_be_written_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert not is_writable(file / "below")
    for (found,) in (disk(file / "below"), temporary(file)):
        assert found.state == "missing"
        assert found.found.endswith("cannot be written")
    assert temporary(tmp_path)[0].state == "ok"
