"""Places as users write them: found again, joined, shown, or refused in one line."""

from pathlib import Path

import pytest

from perft.errors import StorageError
from perft.storage import Storage
from perft.storage.place import Place

ODD = ["a b", "50%", "%20", "a#b", "a?b", "ünï", "a&b=c", "s3:x", "[x]", "x\ny", "-", "a'b"]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_of_folders_are_taken_as_they_are(name: str, tmp_path: Path):
    below = Storage(str(tmp_path / name)).child(name)
    below.write("f", b"x")
    assert (tmp_path / name / name / "f").read_bytes() == b"x"
    assert below.names() == ["f"]
    assert below.uri == str(tmp_path / name / name)
    assert Storage(below.uri).read("f") == b"x"
    assert Storage((tmp_path / name / name).as_uri()).read("f") == b"x"


@pytest.mark.parametrize("end", ["/", "//", "/.", ""])
def test_what_a_path_ends_with_changes_nothing(end: str, tmp_path: Path):
    assert Storage(f"{tmp_path}{end}").child("a").uri == f"{tmp_path}/a"
    assert Storage(f"file://{tmp_path}{end}").uri == str(tmp_path)


def test_a_name_goes_before_the_query():
    place = Place.parse("s3://bucket/path?endpoint_override=http%3A%2F%2Fhost%3A1&scheme=http")
    below = place.child("a search").child("x")
    query = "?endpoint_override=http%3A%2F%2Fhost%3A1&scheme=http"
    assert str(below) == f"s3://bucket/path/a%20search/x{query}"
    assert below.shown == "s3://bucket/path/a%20search/x"
    assert str(Place.parse("s3://bucket").child("a")) == "s3://bucket/a"
    assert str(Place.parse("s3://bucket/?region=eu-1").child("a")) == "s3://bucket/a?region=eu-1"
    assert str(Place.parse("s3://bucket/a b/ü/").child("c")) == "s3://bucket/a%20b/%C3%BC/c"


def test_keys_are_not_shown():
    place = Place.parse("s3://key:secret@bucket/path?secret_key=secret")
    assert "secret" not in place.child("a").shown
    with pytest.raises(StorageError) as caught:
        Place.parse("gopher://user:secret@host/x?password=secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("a\0b", "null (byte|character)"),
        ("~nosuchuser/x", "home"),
        ("s3://", r"names no bucket; write s3://bucket/path"),
        ("s3:///path", "names no bucket"),
        ("s3://?region=x", "names no bucket"),
        ("s3:bucket/path", "names no bucket"),
        ("s3:/bucket/path", "names no bucket"),
        ("S3://", "names no bucket"),
        ("s3://bucket/a#b", "write # as %23"),
        ("nosuchscheme://x/y", r"scheme 'nosuchscheme' is unknown \(known: s3, gs"),
        ("http://x/y", "scheme 'http' is unknown"),
        ("mock://x/y", "scheme 'mock' is unknown"),
        ("file://host/share", "names no host"),
        ("file:///a?b", "write [?] as %3F"),
    ],
)
def test_what_is_no_place_is_refused_in_one_line(text: str, what: str):
    with pytest.raises(StorageError, match=rf"^cannot open storage .*{what}") as caught:
        Storage(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["s3://bucket/%zz?region=x", "s3://bucket/x?nosuch=1&region=x", "hdfs://host/x"]
)
def test_what_pyarrow_cannot_open_is_refused_in_one_line(text: str):
    with pytest.raises(StorageError, match=r"^cannot open storage") as caught:
        Storage(text)
    assert "\n" not in str(caught.value)
