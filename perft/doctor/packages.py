"""Python and the packages, against the versions that were tested together."""

import platform
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from perft.doctor.finding import Finding, missing, ok, warning

TESTED_PYTHONS = ((3, 11), (3, 12), (3, 13))

TESTED: Mapping[str, str] = {
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "ray": "2.60.0",
    "optuna": "5.0.0",
    "mlflow": "3.17.2",
    "datasets": "5.2.0",
    "huggingface_hub": "2.4.0",
}
"""As in `constraints.txt`, which an installed perft does not have."""

EXTRAS: Mapping[str, Mapping[str, str]] = {
    "peft": {"peft": "0.21.2"},
    "serve": {"fastapi": "0.165.0", "uvicorn": "0.54.0"},
    "quantize": {"bitsandbytes": "0.50.2"},
}
"""By extra, its packages with the versions that were tested."""

_UNLOCKS = {"peft": "adapters in HF PEFT", "serve": "`perft serve`", "quantize": "`--quantize nf4`"}

Installed = Callable[[str], str]
"""A package's version; `PackageNotFoundError` without it."""


def python(found: tuple[int, int] = sys.version_info[:2]) -> list[Finding]:
    """Whether perft was tried on this Python."""
    shown = f"{platform.python_version()} in {sys.prefix}"
    if found in TESTED_PYTHONS:
        return [ok("Python", shown)]
    known = ", ".join(f"{major}.{minor}" for major, minor in TESTED_PYTHONS)
    return [warning("Python", f"{shown}, not tried", f"if something fails, use one of {known}")]


def packages(installed: Installed = version) -> list[Finding]:
    """The packages that perft cannot be without, one finding each."""
    return [_package(name, tested, installed) for name, tested in TESTED.items()]


def extras(installed: Installed = version) -> list[Finding]:
    """What `pip install 'perft[EXTRA]'` adds, one finding for each extra."""
    return [_extra(extra, installed) for extra in EXTRAS]


def compatible_with(tested: str) -> SpecifierSet:
    """Versions that should behave as the tested one: later minor ones, or patches of a 0.x."""
    kept = tested if Version(tested).major == 0 else ".".join(tested.split(".")[:2])
    return SpecifierSet(f"~={kept}")


def _package(name: str, tested: str, installed: Installed) -> Finding:
    install = f"pip install '{name}=={tested}'"
    try:
        found = installed(name)
    except PackageNotFoundError:
        return missing(name, "not installed", install)
    if compatible_with(tested).contains(found, prereleases=True):
        return ok(name, found if _is(found, tested) else f"{found} (tested: {tested})")
    return warning(name, f"{found} (tested: {tested})", f"if something fails, {install}")


def _extra(extra: str, installed: Installed) -> Finding:
    found = [_package(name, tested, installed) for name, tested in EXTRAS[extra].items()]
    name, purpose = f"extra {extra}", _UNLOCKS[extra]
    if any(each.state == "missing" for each in found):
        wanted = " ".join(f"'{package}=={tested}'" for package, tested in EXTRAS[extra].items())
        return warning(name, "not installed", f"for {purpose}: pip install {wanted}")
    shown = ", ".join(f"{each.name} {each.found}" for each in found)
    advice = "; ".join(each.advice for each in found if each.advice)
    return warning(name, shown, advice) if advice else ok(name, shown)


def _is(found: str, tested: str) -> bool:
    return Version(found).public == tested
