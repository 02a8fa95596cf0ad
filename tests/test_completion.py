"""Shells complete the commands of perft, their options, and names of searches and spaces."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from perft.__main__ import COMPLETING, commands
from perft.completion import complete
from pretend import SETTINGS

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Calls what a shell calls, with a home that has the searches `first` and `second`."""
    for name in ("first", "second"):
        folder = tmp_path / "searches" / name
        folder.mkdir(parents=True)
        (folder / "search.json").write_text(json.dumps({**SETTINGS, "name": name}))
    monkeypatch.setenv("PERFT_HOME", str(tmp_path))

    def call(line: str) -> list[str]:
        monkeypatch.setenv(COMPLETING, "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        with pytest.raises(SystemExit):
            complete(dict.fromkeys(commands(), "what it is for"))
        return capsys.readouterr().out.split()

    return call


def test_commands_options_and_names_are_completed(completed) -> None:
    assert completed("perft ") == commands()
    assert completed("perft pa") == ["pareto"]
    assert completed("perft pareto --na") == ["--name"]
    assert completed("perft pareto --name ") == ["first", "second"]
    assert completed("perft export --name se") == ["second"]
    assert completed("perft search --resume f") == ["first"]
    assert completed("perft control f") == ["first"]
    assert completed("perft control first c") == ["clone"]
    assert completed("perft plan --space a") == ["arithmetic"]


def test_the_commands_are_named_without_importing_them() -> None:
    program = (
        "import sys\nfrom perft.__main__ import main\n"
        "try: main()\nfinally: assert not {'torch', 'ray', 'pandas', 'pyarrow'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True,
        env={COMPLETING: "complete_bash", "COMP_WORDS": "perft ", "COMP_CWORD": "1"},
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == (commands(), "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_makes_a_shell_complete_is_shown(shell: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["perft", "--show-completion"])
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: (shell, f"/bin/{shell}"))
    with pytest.raises(SystemExit) as ended:
        complete({})
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"complete_{shell}" in text
    assert COMPLETING in text
