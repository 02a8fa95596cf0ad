"""A search is found by its name wherever this machine has put it."""

import shlex
from pathlib import Path

import pytest

from perft.errors import ConfigError, SearchError
from perft.search_folder import SEARCH_FILE
from perft.searches import (
    find_search,
    fresh_name,
    name_options,
    remember_search,
    require_name,
)
from perft.storage import Storage


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERFT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def put(storage: Path, name: str = "first") -> Path:
    """A search in a storage, which the machine remembers."""
    Storage(str(storage)).child(name).write(SEARCH_FILE, b"{}")
    remember_search(name, str(storage))
    return storage


@pytest.mark.parametrize(
    "name", ["", ".", "..", "-x", "a b", "a/b", "../a", "a\n", "é", ".first", "a" * 101]
)
def test_a_name_is_a_plain_folder_name(name: str) -> None:
    with pytest.raises(ConfigError, match="search name"):
        require_name(name)
    with pytest.raises(SearchError):
        find_search(name)


@pytest.mark.parametrize("space", ["arithmetic", "/my spaces/Größe 2.py", "-x.py", "a" * 300])
def test_a_name_is_made_of_that_of_the_space(space: str, tmp_path: Path) -> None:
    names = [fresh_name(Storage(str(tmp_path)), space) for _ in range(2)]
    assert len(set(names)) == 2
    for name in names:
        require_name(name)


def test_the_default_storage_is_looked_into_without_a_record(home: Path) -> None:
    put(home / "searches")
    assert not (home / "index").exists()
    assert find_search("first").uri == str(home / "searches" / "first")
    assert name_options("--name", "first", str(home / "searches")) == ("--name", "first")


def test_another_storage_is_known_by_the_searches_that_began_there(tmp_path: Path) -> None:
    place = put(tmp_path / "my searches")
    assert find_search("first").uri == str(place / "first")
    assert name_options("--resume", "first", str(place)) == ("--resume", "first")
    with pytest.raises(SearchError, match=r"unknown search 'frist'; did you mean 'first'\?"):
        find_search("frist")


def test_a_name_in_two_storages_wants_the_storage(home: Path, tmp_path: Path) -> None:
    here, there = put(home / "searches"), put(tmp_path / "there")
    with pytest.raises(SearchError, match=f"in {here} and in {there}; say which: --storage"):
        find_search("first")
    assert find_search("first", str(there)).uri == str(there / "first")
    options = shlex.join(name_options("--name", "first", str(there)))
    assert options == f"--name first --storage {there}"


def test_a_storage_that_has_gone_is_named(tmp_path: Path) -> None:
    place = put(tmp_path / "gone")
    place.rename(tmp_path / "moved")
    with pytest.raises(SearchError, match=f"was started in {place}, which does not hold it now"):
        find_search("first")
    assert find_search("first", str(tmp_path / "moved")).uri.endswith("moved/first")
    # Of two, the one that still holds it.
    other = put(tmp_path / "other")
    assert find_search("first").uri == str(other / "first")


def test_a_key_is_kept_nowhere(home: Path) -> None:
    remember_search("first", "s3://someone:secret@bucket/searches")
    kept = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())
    assert kept == b"s3://***@bucket/searches"
    with pytest.raises(SearchError, match=r"s3://\*\*\*@bucket/searches, whose password or key"):
        find_search("first")
