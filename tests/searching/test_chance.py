"""A search in which nothing was learned says so, with some answers; any other does not."""

import io
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from perft.base_score import BaseScore
from perft.search_folder import predictions_file
from perft.searching.chance import SAMPLES, chance_note
from perft.selection import picked_of
from perft.storage import Storage
from pretend import search_of_six

LABELS = ["true"] * 62 + ["false"] * 38


@pytest.fixture
def search(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "search"))


def write(search: Storage, outputs: dict[str, list[str]], ranks: int = 1) -> None:
    """The predictions of the best trial, by split, over several ranks' files."""
    picked = picked_of(search_of_six())
    assert picked is not None
    rows = [
        {
            "adapter": "best", "split": split, "index": index, "prompt": f"Is it so? {index}\n",
            "output": output, "extracted": output, "label": label, "correct": output == label,
        }
        for split, answers in outputs.items()
        for index, (output, label) in enumerate(zip(answers, LABELS, strict=True))
    ]  # fmt: skip
    for rank in range(ranks):
        buffer = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(rows[rank::ranks]), buffer)
        search.write(predictions_file(picked.best.number, rank), buffer.getvalue())


@pytest.mark.parametrize("ranks", [1, 3])
def test_one_answer_to_everything_is_not_above_chance(search: Storage, ranks: int) -> None:
    write(search, {"boolq": ["true"] * 100}, ranks)
    note, *samples = chance_note(search, search_of_six(), None)
    assert "trial 3, is not above chance: 62.0% (52.2-70.9) on boolq, where" in note
    assert "where always 'true' is right in 62.0%" in note
    assert len(samples) == SAMPLES
    assert samples[1] == "  'Is it so? 1': 'true', wanted 'true'"


def test_what_is_right_more_often_than_the_usual_label_is_above(search: Storage) -> None:
    write(search, {"boolq": ["true"] * 62 + ["false"] * 15 + ["true"] * 23})
    assert chance_note(search, search_of_six(), None) == []


def test_one_split_above_chance_is_enough(search: Storage) -> None:
    write(search, {"boolq": ["true"] * 100, "other": LABELS})
    assert chance_note(search, search_of_six(), None) == []


def test_of_pairs_a_coin_is_right_in_one_half(search: Storage) -> None:
    write(search, {"pairs": ["false"] * 100})
    base = BaseScore(objective="dpo", val_loss=0.69, is_tie=True)
    note, *_ = chance_note(search, search_of_six(), base)
    assert "38.0% (29.1-47.8) on pairs, where a coin is right in 50.0%" in note
    write(search, {"pairs": ["true"] * 100})
    assert chance_note(search, search_of_six(), base) == []


def test_an_answer_adds_no_line_and_is_cut(search: Storage) -> None:
    write(search, {"boolq": ["no\n\x1b[31m" * 99] * 100})
    note, *samples = chance_note(search, search_of_six(), None)
    for line in (note, *samples):
        assert line.isprintable()
        assert len(line) < 300


@pytest.mark.parametrize("data", [None, b"no parquet"])
def test_without_predictions_there_is_no_note(search: Storage, data: bytes | None) -> None:
    if data is not None:
        search.write(predictions_file(3, 0), data)
    assert chance_note(search, search_of_six(), None) == []
    assert chance_note(search, [], None) == []
