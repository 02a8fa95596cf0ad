"""What can be wrong with a value, a JSON document and a file: made by walking the real ones."""

import copy
import json
import math
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

DEEP = "\u0001deep\u0001"
"""Stands for a value that is nested deeper than Python follows."""
TWICE = "\u0001twice\u0001"
"""Marks an object that shall have its first key twice."""

WRONG = (
    None, True, False, 0, -1, 1, 7, 2**31, 2**63, 10**30, -(10**30), 10**400,
    0.5, -0.5, 1e308, math.nan, math.inf, -math.inf,
    "", " ", "x", "7", "nan", "true", "null", "\ud800", "\x00", "a\nb", "\x1b[31mred\x1b[0m",
    "[red]x[/blue]", "x\u202ey", "é" * 300, "x" * 300_000, "../../x", "/etc/passwd", "./",
    "~nobody/x", "s3://user:secret@bucket/x", "{0.__class__}", "{x!r:>9999999999}", "$\\frac$",
    "<script>", "|`](x)", ".", "..",
    [], {}, [None], [[]], ["x"], [1, 2], [1, 2, 3], {"x": 1}, {"": None}, [0] * 10_000, DEEP,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A document with one thing wrong.

    Attributes:
        field: the key that is wrong; empty where that has no name.
        what: says what was done.
        text: the document as JSON.
    """

    field: str
    what: str
    text: str


def cases(document: Any, seed: int, count: int | None) -> list[Case]:
    """Documents with one fault each; `count` of them by chance, None for all."""
    every = [
        (path, how)
        for path in _paths(document)
        for how in (*range(len(WRONG)), *(("missing", "extra", "twice") if path else ()))
    ]
    if count is not None:
        every = Random(seed).sample(every, min(count, len(every)))
    return [_case(document, path, how) for path, how in every]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        inner = enumerate(value)
    for key, each in inner:
        yield from _paths(each, (*path, key))


def _case(document: Any, path: tuple[Any, ...], how: int | str) -> Case:
    changed = copy.deepcopy(document)
    field = next((key for key in reversed(path) if isinstance(key, str)), "")
    what = f"{'.'.join(map(str, path))}: {how if isinstance(how, str) else repr(WRONG[how])[:60]}"
    if not path:
        return Case("", what, dumped(WRONG[how]))
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    if how == "missing":
        del holder[path[-1]]
    elif how == "extra" and isinstance(holder, dict):
        holder["extra field"], field = 1, ""
    elif how == "extra":
        holder.append(holder[path[-1]])
    elif how == "twice":
        field = ""
        if isinstance(holder, dict):
            holder[TWICE] = None
    else:
        holder[path[-1]] = WRONG[how]
        field = "" if WRONG[how] == DEEP else field  # it is not so much as parsed
    return Case(field, what, dumped(changed))


def dumped(value: Any) -> str:
    """A value as JSON, with what no JSON writer writes."""
    text = json.dumps(value)
    text = text.replace(json.dumps(DEEP), "[" * 100_000 + "]" * 100_000)
    return text.replace(f"{json.dumps(TWICE)}: null", '"twice": 1, "twice": 2')


Break = Callable[[Path], None]


def breaks() -> dict[str, Break]:
    """Ways to break a file, by name."""
    return {
        "missing": Path.unlink,
        "empty": lambda file: file.write_bytes(b"") and None,
        "cut": lambda file: os.truncate(file, file.stat().st_size // 2),
        "cut at its end": lambda file: os.truncate(file, file.stat().st_size - 1),
        "binary": lambda file: file.write_bytes(Random(0).randbytes(5000)) and None,
        "zeros": lambda file: file.write_bytes(b"\0" * 5000) and None,
        "utf-16": lambda file: file.write_bytes(b"\xff\xfe" + file.read_bytes()) and None,
        "10 GB": lambda file: os.truncate(file, 10 * 10**9),
        "folder": _then(Path.mkdir),
        "loop": _then(lambda file: file.symlink_to(file.name)),
        "dangling": _then(lambda file: file.symlink_to("nowhere")),
        "pipe": _then(os.mkfifo),
        "device": _then(lambda file: file.symlink_to("/dev/zero")),
        "socket": _then(_socket),
        "unreadable": lambda file: file.chmod(0),
    }


def _then(make: Break) -> Break:
    def replace(file: Path) -> None:
        file.unlink()
        make(file)

    return replace


def _socket(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        folder = os.open(file.parent, os.O_RDONLY)  # a socket's whole path must be short
        here = Path.cwd()
        try:
            os.chdir(folder)
            made.bind(file.name)
        finally:
            os.chdir(here)
            os.close(folder)
