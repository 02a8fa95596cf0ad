"""What a notebook defines is the same where its text is run."""

import linecache
import subprocess
import sys
from pathlib import Path

import pytest

from cells import run_cell
from perft.errors import ConfigError
from perft.modules import load_module
from perft.standalone import Source, importable

CELL = '''
import math
import os.path as paths
from collections import Counter as Bag
from dataclasses import dataclass
from pathlib import Path

import perft
from perft import RoutedConfig, SingleConfig

WORDS = {"yes": [1, 2.5], "no": (None,), "both": {True}}
VARIANTS = {"r": RoutedConfig, "s": SingleConfig}
BASE = perft.TrainingConfig(lr=0.1, max_steps=70)
HERE = Path("/data")
UNUSED = object()

def halved(number):
    return number / 2 if number < 10 else tenth(number)

def tenth(number):  # in a circle
    return halved(number / 10)

def judge(text, label):
    """Uses all of it."""
    inner = lambda: sorted(WORDS)
    return (
        halved(40), inner(), VARIANTS["s"](rank=2), BASE, HERE, math.floor(2.5),
        paths.basename("a/b"), Bag("aab")["a"], perft.LoraQVConfig(rank=3), text, label,
    )
'''


def test_a_function_of_a_cell_does_the_same_from_its_text() -> None:
    judge = run_cell(CELL)["judge"]
    source = Source({"judge": judge})
    assert source.unknown == []
    again: dict[str, object] = {"__name__": "elsewhere"}
    exec(source.text, again)
    assert again["judge"]("a", "b") == judge("a", "b")  # type: ignore[operator]
    assert "UNUSED" not in source.text


def test_the_text_follows_from_what_is_used_alone() -> None:
    text = Source({"judge": run_cell(CELL)["judge"]}).text
    assert Source({"judge": run_cell(f"UNRELATED = 3\n{CELL}")["judge"]}).text == text
    for old, new in (("number / 2 ", "number / 3 "), ("lr=0.1", "lr=0.2"), ("(None,)", "(1,)")):
        cell = CELL.replace(old, new)
        assert Source({"judge": run_cell(cell)["judge"]}).text != text


def test_a_closure_is_written_with_its_values() -> None:
    cell = "def made(factor):\n    def inner(x):\n        return factor * x\n    return inner\n"
    inner = run_cell(cell)["made"](3)
    again: dict[str, object] = {}
    exec(Source({"inner": inner}).text, again)
    assert again["inner"](5) == 15  # type: ignore[operator]


def test_two_things_of_one_name_are_not_mixed_up() -> None:
    cell = "def rate(x):\n    return x\ndef other(x):\n    return rate(x)\n"
    found = run_cell(cell)
    assert Source({"rate": found["rate"], "draw": found["other"]}).unknown == []
    assert Source({"rate": found["other"], "draw": found["rate"]}).unknown == ["rate (function)"]


def test_what_no_text_can_define_is_named() -> None:
    cell = "lock = __import__('threading').Lock()\ndef judge(a, b):\n    return lock\n"
    assert Source({"judge": run_cell(cell)["judge"]}).unknown == ["lock (lock)"]
    namespace: dict[str, object] = {"__name__": "__main__"}
    exec("def judge(a, b): return True", namespace)
    assert Source({"judge": namespace["judge"]}).unknown == ["judge (function)"]


def test_another_text_at_its_place_is_not_taken_for_its_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Python 3.13 keeps the text of `python -c` under the file name of what exec defines.
    lines = ["import sys\n", "def other(): return 1\n"]
    monkeypatch.setitem(linecache.cache, "<string>", (30, None, lines, "<string>"))
    namespace: dict[str, object] = {"__name__": "__main__"}
    exec("\ndef judge(a, b): return True", namespace)
    assert Source({"judge": namespace["judge"]}).unknown == ["judge (function)"]


def test_workers_import_a_function_of_a_cell_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFT_HOME", str(tmp_path / "home"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "rules_of_mine.py").write_text("def same(a, b): return a == b\n")
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    cell = "import rules_of_mine\ndef judge(a, b):\n    return rules_of_mine.same(a, b)\n"
    judge = run_cell(cell)["judge"]
    file, name = importable(judge)
    assert importable(judge) == (file, name)
    code = f"from perft.modules import load_module as l; m = l({file!r}); " + (
        f"assert m.{name}('a', 'a') and not m.{name}('a', 'b')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    monkeypatch.delitem(sys.modules, "rules_of_mine")


def test_a_function_of_a_file_stays_there(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def judge(a, b):\n    return a == b\n")
    assert importable(load_module(file).judge) == (str(file), "judge")


def test_a_scorer_that_cannot_be_taken_along_is_refused() -> None:
    cell = "lock = __import__('threading').Lock()\ndef judge(a, b):\n    return lock\n"
    with pytest.raises(ConfigError, match=r"judge, .* needs lock \(lock\), which cannot be taken"):
        importable(run_cell(cell)["judge"])
