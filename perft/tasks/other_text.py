"""Text that a search does not train on, on which it is measured what its adapters forget."""

import re
from itertools import islice
from pathlib import Path

from perft.errors import DataError
from perft.files import read_file, resolved
from perft.synthetic.pretraining import documents
from perft.tasks.preferences import preferences
from perft.tasks.task import Example
from perft.tasks.word_problems import arithmetic
from perft.tasks.world_questions import commonsense

PRETRAINING = "pretraining"
"""The text that the built-in base was pretrained on; its documents here are others."""
FORGOT = "forgot_"
"""Before the name of a text, the name of the metric: by how many nats per token an adapter's loss
on it is above that of the base alone; negative where the adapter is better."""
MOST = 200
"""Documents, or examples of a task, that are read."""

_HELD_OUT_SEED = 1 << 20  # no base is pretrained with it
_TASKS = {"arithmetic": arithmetic, "commonsense": commonsense, "preferences": preferences}
_LARGEST_FILE = 1 << 26


def read_other_text(source: str) -> list[Example]:
    """At most `MOST` documents, whose prompt is empty, or examples of a task.

    Args:
        source: "pretraining", the name of a built-in task, or a text file, whose documents have an
            empty line between them.

    Raises:
        DataError: if the file cannot be read, or has no text.
    """
    if source == PRETRAINING:
        return [_document(text) for text in islice(documents(_HELD_OUT_SEED), MOST)]
    if source in _TASKS:
        return list(_TASKS[source](MOST, 0).validation.examples)
    file = resolved(source)
    try:
        text = read_file(file, _LARGEST_FILE).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"other text {source!r} cannot be read ({error}), wanted {PRETRAINING}, one of "
            f"{', '.join(_TASKS)}, or a text file in UTF-8"
        ) from error
    found = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    if not found:
        raise DataError(f"other text {source!r} is empty, wanted a file with text")
    return [_document(each) for each in found[:MOST]]


def other_text_name(source: str) -> str:
    """What a text is called in records: the source, or the file's stem as an identifier."""
    if source == PRETRAINING or source in _TASKS:
        return source
    return re.sub(r"\W", "_", Path(source).stem)


def _document(text: str) -> Example:
    return Example(prompt="", completion=text, answer="")
