"""A search's folder runs no Python file that its user has not named, or has not said to run."""

import json
import shutil
from pathlib import Path

import pytest

from perft.errors import SearchError
from perft.searching.prepare import SearchPlan, SearchRequest, prepare
from perft.searching.resume import prepare_resume

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "own_task"
MARK = """
from pathlib import Path
with Path(__file__).with_name("ran").open("a") as ran: ran.write("x")
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERFT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """A space of the user's own, in a file that leaves a mark when it runs."""
    return copy(tmp_path / "mine")


def copy(folder: Path) -> Path:
    shutil.copytree(EXAMPLE, folder)
    space = folder / "space.py"
    space.write_text(space.read_text() + MARK)
    return space


def begin(space: Path | str) -> SearchPlan:
    plan = prepare(SearchRequest(space=str(space), name="first", validation_size=20))
    plan.settings.write(plan.search)
    return plan


def resume(*, space: str | None = None, trust_code: bool = False) -> tuple[SearchPlan, list[str]]:
    said: list[str] = []
    found = prepare_resume("first", None, space=space, trust_code=trust_code, tell=said.append)
    return found, said


def name_in_folder(home: Path, file: Path) -> None:
    """Has the search's folder name a file that its user never has."""
    settings = home / "searches" / "first" / "search.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"space": str(file)}))


def test_a_users_own_search_goes_on_unasked(space: Path) -> None:
    plan = begin(space)
    again, said = resume()
    assert (again.settings, again.source, said) == (plan.settings, plan.source, [])


def test_a_file_that_only_the_folder_names_does_not_run(
    home: Path, space: Path, tmp_path: Path
) -> None:
    begin(space)
    other = copy(tmp_path / "theirs")
    name_in_folder(home, other)
    with pytest.raises(
        SearchError, match=r"by the code of .*theirs/space\.py, which has changed or"
    ):
        resume()
    assert not other.with_name("ran").exists()
    # The file is named before it runs.
    said: list[str] = []
    prepare_resume(
        "first", None, trust_code=True,
        tell=lambda line: said.append(f"{line} {other.with_name('ran').exists()}"),
    )  # fmt: skip
    assert said == [f"runs {other}, the space of search first False"]
    assert other.with_name("ran").exists()


def test_a_file_that_has_changed_since_is_asked_for(space: Path) -> None:
    begin(space)
    space.write_text(space.read_text() + "# changed\n")
    with pytest.raises(SearchError, match=r"has changed or was never named"):
        resume()
    # Named again, it is the user's again, and draws other trials than the search began with.
    for named in (str(space), None):
        with pytest.raises(SearchError, match=r"space of search 'first' has changed \(.*sp"):
            resume(space=named)
    space.write_text(space.read_text().removesuffix("# changed\n"))
    resume()


def test_a_file_that_has_moved_is_named_again(home: Path, space: Path, tmp_path: Path) -> None:
    begin(space)
    moved = space.parent.rename(tmp_path / "moved") / "space.py"
    with pytest.raises(SearchError, match=r"which is no file here; say where it is: .* --resu"):
        resume()
    assert resume(space=str(moved))[0].settings.space == str(moved)


def test_a_folder_cannot_name_a_scorer(home: Path, tmp_path: Path) -> None:
    begin("arithmetic")
    settings = home / "searches" / "first" / "search.json"
    own = {"scorer": [str(copy(tmp_path / "theirs")), "judge"]}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"own_task": own}))
    with pytest.raises(SearchError, match="does not know own_task"):
        resume()
    assert not (tmp_path / "theirs" / "ran").exists()


@pytest.mark.parametrize("other", ["commonsense", "mine.py"])
def test_a_search_keeps_its_space(other: str) -> None:
    begin("arithmetic")
    assert resume(space="arithmetic")[0].settings.space == "arithmetic"
    with pytest.raises(
        SearchError, match=rf"has the space arithmetic, found --space {other}; leav"
    ):
        resume(space=other)
