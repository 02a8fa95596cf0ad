"""Versions are held against those that were tested together."""

import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from perft.doctor.packages import (
    EXTRAS,
    TESTED,
    TESTED_PYTHONS,
    compatible_with,
    extras,
    packages,
    python,
)

REPOSITORY = Path(__file__).parents[2]


ALL = {name: tested for each in (TESTED, *EXTRAS.values()) for name, tested in each.items()}


def installed(**changes: str | None):
    def version(name: str) -> str:
        found = (ALL | changes)[name]
        if found is None:
            raise PackageNotFoundError(name)
        return found

    return version


def test_the_tested_versions_are_those_of_the_constraints() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    for name, tested in ALL.items():
        assert f"{name}=={tested}" in lines


def test_the_tested_pythons_are_those_of_the_classifiers() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text()
    found = re.findall(r'"Programming Language :: Python :: 3\.(\d+)"', text)
    assert [(3, int(minor)) for minor in found] == list(TESTED_PYTHONS)
    assert python((3, 11))[0].state == "ok"
    assert python((3, 14))[0].state == "warning"


def test_all_packages_as_tested_are_ok() -> None:
    found = [*packages(installed()), *extras(installed())]
    assert {each.state for each in found} == {"ok"}
    assert [each.name for each in found[-3:]] == [
        "extra peft", "extra serve", "extra quantize",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "state", "words"),
    [
        (None, "missing", "pip install 'ray==2.60.0'"),
        ("2.59.1", "warning", "pip install 'ray==2.60.0'"),
        ("2.61.3", "ok", "2.61.3 (tested: 2.60.0)"),
        ("3.0.0", "warning", "pip install 'ray==2.60.0'"),
        ("2.60.0+local", "ok", "2.60.0+local"),
    ],
)
def test_another_version_is_told(found: str | None, state: str, words: str) -> None:
    (ray,) = [each for each in packages(installed(ray=found)) if each.name == "ray"]
    assert ray.state == state
    assert (ray.advice or ray.found).endswith(words)


def test_a_missing_extra_is_a_warning_that_says_what_it_is_for() -> None:
    peft, serve, _quantize = extras(installed(uvicorn=None, peft="0.22.0"))
    assert (serve.state, serve.found) == ("warning", "not installed")
    assert serve.advice == "for `perft serve`: pip install 'fastapi==0.165.0' 'uvicorn==0.54.0'"
    assert (peft.state, peft.found) == ("warning", "peft 0.22.0 (tested: 0.21.2)")


def test_of_a_version_0_only_patches_are_compatible() -> None:
    assert compatible_with("0.21.2").contains("0.21.9")
    assert not compatible_with("0.21.2").contains("0.22.0")
