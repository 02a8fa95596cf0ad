"""A group of two ranks keeps its batch when rank 0 alone has heard of the warning."""

import json
from pathlib import Path

import pytest

from contracts.ranks import run_ranks
from packing.warned_ranks import warned

pytestmark = pytest.mark.multi_rank


def test_ranks_resume_together_where_rank_0_was_warned(tmp_path: Path) -> None:
    run_ranks(warned, 2, tmp_path)
    for rank in range(2):
        told = json.loads((tmp_path / f"rank-{rank}.json").read_text())
        if rank == 0:  # the others hand nothing in
            assert told.pop("same results")
        assert all(told.values()), told
