"""Where a storage is: an absolute path, or a URI whose query also holds for its subfolders."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from perft.errors import StorageError
from perft.masking import masked

REMOTE = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
"""Schemes of the stores that pyarrow opens."""

_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<slashes>/*)")
_KEPT = "".join(map(chr, range(33, 127)))  # other characters of a URI are quoted


@dataclass(frozen=True)
class Place:
    """The location of a folder.

    Attributes:
        base: an absolute path, or a URI without its query; no slash at its end.
        query: options of the store: the URI from its question mark on.
    """

    base: str
    query: str = ""

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Parses what a user gave: a path (`~` and relative ones too) or a URI.

        Raises:
            StorageError: if it is neither; says what to write.
        """
        try:
            uri = _URI.match(text)
            scheme = uri["scheme"].lower() if uri else ""
            if uri and (uri["slashes"][:2] == "//" or scheme in REMOTE):
                return cls(_file(text)) if scheme == "file" else _remote(text, scheme)
            if not text.strip():
                raise ValueError("it is empty; give a directory, or a URI such as s3://bucket/path")
            return cls(str(Path(text).expanduser().resolve()))
        except (OSError, RuntimeError, ValueError) as error:
            raise StorageError(f"cannot open storage {masked(text)!r}: {error}") from error

    def child(self, name: str) -> "Place":
        """The folder `name` inside this one."""
        name = name if self.is_local else quote(name)
        return Place(f"{self.base.rstrip('/')}/{name}", self.query)

    @property
    def is_local(self) -> bool:
        """Whether it is a path."""
        return self.base.startswith("/")

    @property
    def scheme(self) -> str:
        """The URI's scheme; empty for a path."""
        return "" if self.is_local else urlsplit(self.base).scheme

    @property
    def shown(self) -> str:
        """The location for messages, without password and query."""
        return masked(self.base)

    def __str__(self) -> str:
        """The whole location, from which the folder can be opened again."""
        return self.base + self.query


def _file(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise ValueError(f"a file URI names no host, found {parts.netloc!r}; write file:///path")
    if parts.query or parts.fragment:
        raise ValueError("in a file URI write ? as %3F and # as %23, or give the path itself")
    return str(Path(unquote(parts.path) or "/").resolve())


def _remote(text: str, scheme: str) -> Place:
    if scheme not in REMOTE:
        raise ValueError(f"the scheme {scheme!r} is unknown (known: {', '.join(REMOTE)}, file)")
    if not re.match(rf"{scheme}://[^/?#]", text, re.IGNORECASE):
        raise ValueError(f"it names no bucket; write {scheme}://bucket/path")
    if "#" in text:
        raise ValueError("write # as %23")
    base, mark, query = quote(text, safe=_KEPT).partition("?")
    return Place(base.rstrip("/"), mark + query if query else "")
