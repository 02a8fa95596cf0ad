"""Wheel and sdist have what they should and nothing else; an index shows their description."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

import perft

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("perft", "search_spaces")
BESIDE = (
    "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md", "CHANGELOG.md", "constraints.txt",
    "docs/installing.md",
)  # fmt: skip

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Built:
    """The names in both archives, without the folder of the sdist, and the wheel's metadata."""

    folder: Path
    wheel: set[str]
    sdist: set[str]
    metadata: Message


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    place = tmp_path_factory.mktemp("distribution")
    sources, out = place / "sources", place / "dist"
    for name in PACKAGES:
        hidden = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, sources / name, ignore=hidden)
    for name in (*BESIDE, "tests/test_cli.py"):  # setuptools would take such a test
        (sources / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, sources / name)
    # The wheel is built from the sdist, which so has everything that it needs.
    build = ("-m", "build", "--no-isolation", "--outdir", str(out), str(sources))
    done = subprocess.run([sys.executable, *build], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"perft-{perft.__version__}.dist-info/METADATA")
    with tarfile.open(sdist) as archive:
        members = {each.name.partition("/")[2] for each in archive.getmembers() if each.isfile()}
    return Built(out, names, members, message_from_bytes(metadata))


def package_files() -> set[str]:
    """Every file of the packages, as the repository has them."""
    return {
        str(path.relative_to(REPOSITORY))
        for name in PACKAGES
        for path in (REPOSITORY / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_has_the_packages_and_nothing_else(built: Built) -> None:
    files = package_files()
    assert {"perft/py.typed", "perft/models/builtin/model.safetensors"} < files
    beside = built.wheel - files
    assert files - built.wheel == set()
    assert {name.partition("/")[0] for name in beside} == {f"perft-{perft.__version__}.dist-info"}


def test_the_sdist_has_what_builds_the_wheel_and_no_test(built: Built) -> None:
    assert (package_files() | set(BESIDE)) - built.sdist == set()
    extra = built.sdist - package_files() - set(BESIDE)
    assert {name for name in extra if ".egg-info/" not in name} == {"PKG-INFO", "setup.cfg"}


def test_an_index_takes_both_and_shows_their_description(built: Built) -> None:
    archives = map(str, built.folder.iterdir())
    check = (sys.executable, "-m", "twine", "check", "--strict", *archives)
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("PASSED")) == (0, 2), done.stdout + done.stderr
    text = built.metadata.get_payload()
    assert "pip install perft" in text
    assert re.findall(r"\]\((?!https://)", text) == [], "a relative link is dead on an index"


def test_the_metadata_say_what_it_runs_on(built: Built) -> None:
    assert built.metadata["Requires-Python"] == ">=3.11"
    assert built.metadata["License-Expression"] == "Apache-2.0"
    assert set(built.metadata.get_all("Provides-Extra", [])) == {
        "peft",
        "quantize",
        "serve",
        "docs",
        "dev",
    }
