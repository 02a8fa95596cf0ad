"""SLURM's script, SkyPilot's task and the Dockerfile: read, and their commands known to perft."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from commands import REPOSITORY, commands_in, require_known
from typer.exceptions import TyperException

FOLDER = REPOSITORY / "docs" / "recipes"
SBATCH = FOLDER / "slurm" / "search.sbatch"


def shell_is_valid(script: str) -> bool:
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    return done.returncode == 0


def test_a_command_that_perft_does_not_know_is_found() -> None:
    text = "set -e\nperft search --name a \\\n  --slots 4 || perft search --slot 4 &\n"
    known, unknown = commands_in(text)
    assert known == ["perft", "search", "--name", "a", "--slots", "4"]
    require_known(known)
    with pytest.raises(TyperException, match="No such option: --slot"):
        require_known(unknown)


@pytest.mark.parametrize(
    ("file", "count"),
    [
        ("slurm/search.sbatch", 2),
        ("skypilot.yaml", 2),
        ("kuberay/raycluster.yaml", 1),
        ("kuberay/rayjob.yaml", 2),
        ("Dockerfile", 1),
        ("../recipes.md", 4),
    ],
)
def test_perft_knows_the_commands_of_a_recipe(file: str, count: int) -> None:
    text = (FOLDER / file).read_text()
    if file.endswith(".md"):
        text = "\n".join(re.findall(r"^ {4}(.*)", text, re.MULTILINE))
    if file.endswith("rayjob.yaml"):  # its long lines are folded
        text = yaml.safe_load(text)["spec"]["entrypoint"]
    found = [
        [word for word in words if word != "$@"]
        for words in commands_in(text)
    ]  # fmt: skip
    assert len(found) >= count
    for words in found:
        require_known(words)


def test_the_scripts_are_valid_shell() -> None:
    assert not shell_is_valid("if true; then")
    assert shell_is_valid(SBATCH.read_text())
    task = yaml.safe_load((FOLDER / "skypilot.yaml").read_text())
    assert shell_is_valid(task["setup"])
    assert shell_is_valid(task["run"])


PRETENDED = {
    "srun": 'while [[ $1 == --* ]]; do shift; done\n[[ $1 == hostname ]] && echo 10.0.0.1 && exit\n'
    'echo "$@" >>"$CALLS"\nexec sleep 600',
    "scontrol": '[[ $1 == show ]] && printf "a\\nb\\nc\\n" || echo "scontrol $*" >>"$CALLS"',
    "ray": "exit 0",
    "perft": 'until (( $(grep -c "^ray start" "$CALLS") == 3 )); do sleep 0.05; done\n'
    'echo "perft $* at $RAY_ADDRESS" >>"$CALLS"\n'
    '[[ -n "$WAITS" ]] && exec sleep 600\nexit "$STATUS"',
}  # fmt: skip
"""What the script calls on a cluster, by name."""


class Slurm:
    """SLURM's script where its programs are pretended."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / "calls"
        (folder / "bin").mkdir()
        for name, text in PRETENDED.items():
            file = folder / "bin" / name
            file.write_text(f"#!/usr/bin/env bash\n{text}\n")
            file.chmod(0o755)

    def start(self, *args: str, **more: str) -> "subprocess.Popen[bytes]":
        environment = os.environ | {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "CALLS": str(self.calls),
            "WAITS": "", "STATUS": "0", "PERFT_HOME": str(self.folder / "home"),
            "SLURM_JOB_ID": "12345", "SLURM_JOB_NODELIST": "[a-c]",
            "SLURM_SUBMIT_DIR": str(self.folder),
        } | more  # fmt: skip
        return subprocess.Popen(["bash", str(SBATCH), *args], env=environment)

    def said(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    return Slurm(tmp_path)


def test_slurm_starts_ray_on_every_node_and_searches(slurm: Slurm, tmp_path: Path) -> None:
    assert slurm.start("--space", "arithmetic").wait(60) == 0
    said = slurm.said()
    starts = [line for line in said if line.startswith("ray start")]
    assert len(starts) == 3
    assert sum("--head" in line for line in starts) == 1
    assert sum("--address=10.0.0.1:22345" in line for line in starts) == 2
    assert said[-1] == (
        f"perft search --name slurm-12345 --storage {tmp_path}/home/searches --gpus-per-worker 1 "
        "--space arithmetic at 10.0.0.1:22345"
    )
    assert not (tmp_path / "home" / "ray-token-12345").exists()


def test_slurm_resumes_and_passes_the_status_on(slurm: Slurm, tmp_path: Path) -> None:
    there = tmp_path / "home" / "searches" / "mine"
    there.mkdir(parents=True)
    (there / "search.json").write_text("{}")
    assert slurm.start("--space", "arithmetic", PERFT_NAME="mine", STATUS="2").wait(60) == 2
    assert slurm.said()[-1].startswith("perft search --resume mine --storage ")
    assert not any("requeue" in line for line in slurm.said())


def test_slurm_queues_again_when_its_time_is_up(slurm: Slurm) -> None:
    job = slurm.start("--space", "arithmetic", WAITS="yes")
    while not any(line.startswith("perft") for line in slurm.said()):
        assert job.poll() is None
    job.terminate()
    assert job.wait(60) == 0
    assert slurm.said()[-1] == "scontrol requeue 12345"


def test_the_token_of_slurm_is_its_users_alone() -> None:
    text = SBATCH.read_text()
    assert "umask 077" in text
    assert text.index("RAY_AUTH_MODE=token") < text.index("ray start")


def test_skypilot_knows_the_keys_of_the_task() -> None:
    schema = json.loads(Path(__file__).with_name("skypilot-0.14.1.json").read_text())
    task = yaml.safe_load((FOLDER / "skypilot.yaml").read_text())
    for part, found in (("task", task), ("resources", task["resources"])):
        checker = jsonschema.Draft202012Validator(schema[part])
        assert [error.message for error in checker.iter_errors(found)] == []
        assert not checker.is_valid(found | {"use_spots": True})


def instructions() -> list[tuple[str, str]]:
    """Those of the Dockerfile: name and arguments, lines joined, comments left out."""
    text = (FOLDER / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined)]


def test_the_dockerfile_copies_what_is_there_and_all_that_it_needs() -> None:
    copied = {
        source for name, rest in instructions() if name == "COPY" for source in rest.split()[:-1]
    }
    assert all((REPOSITORY / source).exists() for source in copied)
    assert {"perft", "search_spaces", "pyproject.toml", "docs/installing.md"} <= copied
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert ignored[1] == "*"


def test_the_dockerfile_is_one_that_docker_reads() -> None:
    found = instructions()
    assert [name for name, _ in found[:2]] == ["ARG", "FROM"]
    assert {name for name, _ in found} <= {
        "ARG", "FROM", "RUN", "COPY", "WORKDIR", "USER", "CMD", "ENV",
    }  # fmt: skip
    for name, rest in found:
        if name == "RUN":
            assert shell_is_valid(rest)
            assert shlex.split(rest)
    assert [rest for name, rest in found if name == "USER"] == ["ray"]
