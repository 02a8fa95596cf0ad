"""`jobs/pareto.py` and `jobs/export.py` as programs: output, errors, exit status."""

import dataclasses
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from perft.cli import run
from perft.selection import result_line, to_frame, write_base, write_results, write_scores
from perft.selection.hypervolume import BUILTIN, hypervolume_of
from perft.storage import Storage
from pretend import BASE, SETTINGS, search_of_six, search_of_six_confirmed, store_adapters, trial

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a search of six trials, one without full-length ones, one just started."""
    home = tmp_path_factory.mktemp("home")
    for name, results in (
        ("first", search_of_six()),
        ("poor", search_of_six()[4:]),
        ("new", []),
    ):
        search = Storage(str(home)).child(f"searches/{name}")
        search.write("search.json", json.dumps({**SETTINGS, "name": name}).encode())
        store_adapters(search, results)
        if results:
            write_results(search, map(result_line, results))
            write_scores(search, {3: {"addsub": (12, 395)}})
    scored = Storage(str(home)).child("searches/scored")
    shutil.copytree(home / "searches/first", home / "searches/scored")
    write_results(scored, map(result_line, search_of_six_confirmed()))
    write_base(scored, BASE)
    return home


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Calls a job in this process, which saves a second of imports per call."""

    def call(name: str, *args: str, home: Path) -> Done:
        monkeypatch.setenv("PERFT_HOME", str(home))
        monkeypatch.setenv("COLUMNS", "120")
        main = runpy.run_path(str(REPOSITORY / "jobs" / f"{name}.py"))["main"]
        with pytest.raises(SystemExit) as ended:
            run(main, args)
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return call


@pytest.mark.parametrize(
    ("args", "status"),
    [
        ("jobs/pareto.py --name first", 0),
        ("jobs/pareto.py --name poor", 2),
        ("jobs/export.py --name first --out {out}", 0),
        ("jobs/export.py --out {out}", 2),
    ],
)
def test_exit_status_of_the_program(home: Path, tmp_path: Path, args: str, status: int):
    done = subprocess.run(
        [sys.executable, *args.format(out=tmp_path / "out").split()],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
        env={**os.environ, "PERFT_HOME": str(home)},
    )
    assert done.returncode == status
    assert bool(done.stderr) == bool(status)


def test_pareto_prints_the_front(job: Callable[..., Done], home: Path):
    done = job("pareto", "--name", "first", home=home)
    assert (done.returncode, done.stderr) == (0, "")
    *lines, best = done.stdout.splitlines()
    rows = [line.split()[0] for line in lines if "%" in line and "r" in line][1:]
    assert rows[-3:] == ["0", "1", "3"]
    assert best.startswith("best: trial 3, accuracy 85.0% (81.2-88.2), 40,000 activated parameters")
    assert "6 trials ended: 4 complete, 1 pruned, 1 failed" in done.stdout


def test_pareto_as_json_holds_every_setting(job: Callable[..., Done], home: Path):
    done = job("pareto", "--name", "first", "--json", home=home)
    assert (done.returncode, done.stderr) == (0, "")
    value = json.loads(done.stdout)
    assert value["search"] == "first"
    assert [row["number"] for row in value["front"]] == [0, 1, 3]
    assert value["front"][1]["num_experts"] == 4
    assert set(value["front"][0]) == set(to_frame(search_of_six()).columns)


def test_pareto_shows_the_base_and_what_other_seeds_say(job: Callable[..., Done], home: Path):
    done = job("pareto", "--name", "scored", home=home)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    (base,) = (line for line in lines if line[:1] == ["base"])
    assert base[1:4] == ["10.0%", "(7.4-13.3)", "0"]
    (best,) = (line for line in lines if line[:1] == ["1"])
    assert best[-2:] == ["best", "knee"]
    assert "75.5% ± 1.3% (3)" in " ".join(best)
    assert "trial 3 is no better than the smaller trial 1" in done.stdout
    value = json.loads(job("pareto", "--name", "scored", "--json", home=home).stdout)
    assert value["base"]["accuracy"] == 0.1
    assert value["front"][1]["confirmed_mean"] == pytest.approx(302 / 400)
    assert value["front"][2]["confirmed_gain"] == pytest.approx((298 - 302) / 400)
    assert {row["base_accuracy"] for row in value["front"]} == {0.1}


def test_pareto_says_how_good_the_front_is_and_what_mattered(job: Callable[..., Done], home: Path):
    done = job("pareto", "--name", "scored", home=home)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("hypervolume"))
    area = hypervolume_of(search_of_six(), BUILTIN)
    assert line == (
        f"hypervolume {area:.4f}: accuracy 0 to 1, 600 to 40,000 activated parameters on a "
        "logarithmic scale"
    )
    assert "Importance of parameters" not in done.stdout, "six trials say nothing of it"
    value = json.loads(job("pareto", "--name", "scored", "--json", home=home).stdout)
    assert value["hypervolume"] == pytest.approx(area)
    assert value["reference"] == {"smallest": 600, "largest": 40_000, "worst": 0.0, "best": 1.0}
    assert value["importances"] == []
    many = [dataclasses.replace(trial(n, correct=100 + n), run_id="") for n in range(12)]
    write_results(Storage(str(home)).child("searches/many").prepare(), map(result_line, many))
    settings = json.dumps({**SETTINGS, "name": "many", "base_model": "/base"})
    Storage(str(home)).child("searches/many").write("search.json", settings.encode())
    shown = job("pareto", "--name", "many", home=home)
    assert "Importance of parameters" in shown.stdout
    assert "hypervolume" not in shown.stdout, "all have one size"
    value = json.loads(job("pareto", "--name", "many", "--json", home=home).stdout)
    assert {each["parameter"] for each in value["importances"]} >= {"variant", "rank"}
    assert (value["hypervolume"], value["reference"]) == (None, None)


def test_the_card_says_what_the_base_does_alone(job: Callable[..., Done], home: Path, tmp_path):
    out = tmp_path / "out"
    done = job("export", "--name", "scored", "--out", str(out), "--pick", "3", home=home)
    assert done.returncode == 0, done.stderr
    card = (out / "README.md").read_text()
    assert "The base alone, without the adapter: 10.0% (7.4-13.3) of validation and 1.3% " in card
    assert (
        "Trained with 3 other seeds, this configuration reaches a validation accuracy of " in card
    )
    assert "74.5% ± 2.6% (mean and standard deviation; the 95% interval of the mean is " in card


def test_export_takes_the_best(job: Callable[..., Done], home: Path, tmp_path: Path):
    out = tmp_path / "out"
    done = job("export", "--name", "first", "--out", str(out), home=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"trial 3 (lora-qv r8 lr 0.005), validation accuracy 85.0% (81.2-88.2), is in {out}\n"
    )
    assert (out / "adapter_model.safetensors").read_bytes() == b"weights of 3"
    card = (out / "README.md").read_text()
    assert "| validation | 85.00% | 81." in card
    assert "| addsub | 3.04% |" in card


def test_export_takes_what_is_picked_within_the_limit(
    job: Callable[..., Done], home: Path, tmp_path: Path
):
    for pick, limit, number in (("knee", "1%", 1), (f"{2:032x}", "100%", 2)):
        out = tmp_path / str(number)
        done = job(
            "export", "--name", "first", "--out", str(out), "--pick", pick,
            "--max-activated", limit, "--storage", str(home / "searches"), home=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (out / "adapter_model.safetensors").read_bytes() == f"weights of {number}".encode()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("pareto --name frist", "unknown search 'frist'; did you mean 'first'?"),
        (
            "pareto --name poor",
            "no trial of this search ran to its full length yet (2 ended: 1 pruned",
        ),
        ("pareto --name new --json", "no trial of this search ran to its full length yet"),
        ("export --name poor --out {out}", "1 pruned, 1 failed"),
        ("export --name first --out {out} --pick 9", "unknown trial or run id '9'"),
        ("export --name scored --out {out} --pick 9", "trial 9 only repeats trial 1 with another"),
        ("export --name first --out {out} --max-activated much", "cannot read 'much'"),
        ("export --name first --out {home}", "is not empty (it holds searches)"),
    ],
)
def test_what_the_user_can_fix_is_one_line(
    job: Callable[..., Done], home: Path, tmp_path: Path, args: str, message: str
):
    name, *rest = args.format(out=tmp_path / "out", home=home).split()
    done = job(name, *rest, home=home)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["pareto", "export"])
def test_help_explains_every_option(job: Callable[..., Done], name: str, tmp_path: Path):
    done = job(name, "--help", home=tmp_path)
    assert done.returncode == 0
    options = [line for line in done.stdout.splitlines() if line.startswith("  --")]
    assert len(options) >= 4
    assert all(len(line.split(maxsplit=2)) == 3 for line in options), done.stdout
