"""What a program gets of a search is what its folder and the commands say."""

import json
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import perft
from perft.cli import run
from perft.commands import export, pareto
from perft.errors import SearchError
from perft.selection import result_line, to_frame, write_base, write_results, write_scores
from perft.selection.plots.interactive import front_figure
from perft.storage import Storage
from pretend import BASE, SETTINGS, search_of_six, store_adapters


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """A search of six trials that has ended."""
    monkeypatch.setenv("PERFT_HOME", str(tmp_path))
    search = Storage(str(tmp_path)).child("searches/first")
    search.write("search.json", json.dumps({**SETTINGS, "name": "first"}).encode())
    store_adapters(search, search_of_six())
    write_results(search, map(result_line, search_of_six()))
    write_scores(search, {3: {"addsub": (12, 395)}})
    write_base(search, BASE)
    return search


@pytest.fixture
def found(search: Storage) -> perft.Results:
    return perft.results("first")


def test_tables_are_those_of_its_files(found: perft.Results) -> None:
    pd.testing.assert_frame_equal(found.trials, to_frame(search_of_six(), BASE))
    assert list(found.front["number"]) == [0, 1, 3]
    assert list(found.front["activated"]) == sorted(found.front["activated"])
    assert (found.name, found.base) == ("first", BASE)
    assert found.scores == {3: {"addsub": (12, 395)}}


def test_picks_and_hypervolume_are_those_of_the_commands(
    found: perft.Results, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(pareto.main, ["--name", "first", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert found.hypervolume == said["hypervolume"] > 0
    assert [row["number"] for row in said["front"]] == list(found.front["number"])
    assert found.best.number == 3
    assert found.knee.number in {0, 1, 3}


@pytest.mark.parametrize("trial", ["best", "knee", 1, "1"])
def test_an_export_is_that_of_the_command(
    found: perft.Results, tmp_path: Path, trial: str | int
) -> None:
    folder = found.export(trial, out=tmp_path / "by-call")
    with pytest.raises(SystemExit):
        run(
            export.main,
            ["--name", "first", "--pick", str(trial), "--out", str(tmp_path / "by-command")],
        )
    assert folder == tmp_path / "by-call"
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert files == {file.name: file.read_bytes() for file in (tmp_path / "by-command").iterdir()}


def test_the_plot_is_that_of_the_folder(found: perft.Results) -> None:
    wanted = front_figure(search_of_six(), BASE, f"first: {SETTINGS['task']}")
    assert len(wanted.data) > 2
    assert found.plot().to_json() == wanted.to_json()


def test_the_study_is_the_one_of_the_folder(found: perft.Results, search: Storage) -> None:
    with pytest.raises(SearchError, match=r"has no optuna\.journal"):
        _ = found.study
    assert search.folder is not None
    journal = JournalStorage(JournalFileBackend(str(search.folder / "optuna.journal")))
    made = optuna.create_study(storage=journal, study_name="first")
    made.add_trial(optuna.trial.create_trial(value=0.5))
    assert [trial.value for trial in found.study.trials] == [0.5]


def test_a_running_search_is_followed(found: perft.Results, search: Storage) -> None:
    assert len(found.trials) == 6
    write_results(search, map(result_line, search_of_six()[:2]))
    assert len(found.trials) == 2
    write_results(search, [])
    assert len(found.trials) == len(found.front) == 0
    assert found.hypervolume is None
    for ask in ("best", "knee"):
        with pytest.raises(SearchError, match="no trial"):
            getattr(found, ask)
    with pytest.raises(SearchError, match="no trial"):
        found.plot()
    assert repr(found) == "<Results of first: 0 trials>"
    assert "<table" in found._repr_html_()


def test_it_says_in_a_line_what_it_is(found: perft.Results) -> None:
    text = repr(found)
    assert "\n" not in text
    assert text.startswith("<Results of first: 6 trials (4 complete, 1 pruned, 1 failed), front of")
    assert f"trial {found.best.number} " in text
    page: Any = found._repr_html_()
    assert "&lt;Results of first" in page
    assert page.count("<tr>") == 3


def test_an_unknown_search_is_named(found: perft.Results) -> None:
    with pytest.raises(SearchError, match="unknown search 'frist'; did you mean 'first'"):
        perft.results("frist")
