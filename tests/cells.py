"""Code as a notebook runs it: in `__main__`, from no file, with its source at hand."""

import linecache
from itertools import count
from typing import Any

_numbers = count()


def run_cell(text: str, **names: object) -> dict[str, Any]:
    """What the cell defines, beside the names that earlier ones have defined."""
    file = f"/tmp/ipykernel_1/{next(_numbers)}.py"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {"__name__": "__main__", **names}
    exec(compile(text, file, "exec"), namespace)
    return namespace
