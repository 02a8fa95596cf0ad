"""Ray's own records lie in the search's folder where that is a disk, else on this machine."""

from pathlib import Path

from perft.packing.ray_folder import ray_folder
from perft.storage import Storage


def test_on_a_disk_it_is_the_folder_of_the_search(tmp_path: Path) -> None:
    assert ray_folder(Storage(str(tmp_path))) == tmp_path


def test_of_an_object_store_it_is_a_passing_one() -> None:
    place = "s3://bucket/x?endpoint_override=127.0.0.1%3A9&scheme=http&region=us-east-1"
    folder = ray_folder(Storage(place))
    assert folder.is_dir()
    assert ray_folder(Storage(place).child("a")) == folder
