"""Texts that are not trained on: what they are, and what is refused."""

from itertools import islice
from pathlib import Path

import pytest

from perft.errors import DataError
from perft.synthetic.pretraining import documents
from perft.tasks.other_text import MOST, other_text_name, read_other_text


def test_the_pretraining_text_is_others_than_those_that_were_read() -> None:
    found = [each.completion for each in read_other_text("pretraining")]
    assert len(found) == MOST
    assert found == [each.completion for each in read_other_text("pretraining")]
    stories = {each for each in found if len(each) > 100}
    assert stories
    assert not stories & set(islice(documents(0), 20_000))


@pytest.mark.parametrize("task", ["arithmetic", "commonsense", "preferences"])
def test_a_built_in_task_is_its_validation_split(task: str) -> None:
    found = read_other_text(task)
    assert len(found) == MOST
    assert all(each.prompt and each.completion for each in found)
    assert other_text_name(task) == task


def test_documents_of_a_file_have_an_empty_line_between_them(tmp_path: Path) -> None:
    file = tmp_path / "my notes-1.txt"
    file.write_text("One line.\nIts second.\n\n \nAnother.\n")
    found = read_other_text(str(file))
    assert [(each.prompt, each.completion) for each in found] == [
        ("", "One line.\nIts second."),
        ("", "Another."),
    ]
    assert other_text_name(str(file)) == "my_notes_1"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b"\xff\xfe", "cannot be read"), (b" \n\n", "is empty")],
)
def test_what_is_no_text_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "text"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_other_text(str(file))
