"""Processes of a search killed at random moments, the driver's among them: nothing changes.

PERFT_CHAOS_KILLS and PERFT_CHAOS_SEED make it longer, and another one.
"""

import os
import random

import pytest
from books import Book, same_as_undisturbed
from monkey import Monkey
from searches import FIRST_ROUND, SEARCH, SIZE, SPACE, Job

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(7200),
    # MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),
]

KILLS = int(os.environ.get("PERFT_CHAOS_KILLS", "3"))
SEED = int(os.environ.get("PERFT_CHAOS_SEED", "1"))


def test_kills_at_random_moments_change_nothing(reference: Job, start):
    slots = ("--groups", "1", "--slots", str(FIRST_ROUND))
    first = (*SEARCH, *SPACE, *SIZE, *slots, "--name", "hurt")
    monkey = Monkey(start, first, "hurt", random.Random(SEED))
    job = monkey.run(KILLS)
    assert job.status == 0, f"after {monkey.killed}:\n{job.output}\n{job.errors}"
    same_as_undisturbed(job.home, "hurt", reference.home)
    book = Book(job.home, "hurt")
    assert {run.info.status for run in (book.parent, *book.children.values())} == {"FINISHED"}
    assert job.family.disappears()
