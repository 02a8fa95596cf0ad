"""What every rank of a test runs: a group of which rank 0 alone hears that a machine is taken."""

import json
from pathlib import Path

import pytest
import torch

from contracts.packs import loaded_base, tiny_task
from packing.test_snapshots import Bench, files_of, orders
from perft.models.sharding import shard
from perft.ranks import Ranks
from perft.training.pack import Pack


def warned(ranks: Ranks, folder: Path) -> None:
    """Trains undisturbed, and killed two steps after the warning; tells how many steps were left.

    Args:
        ranks: the group's processes.
        folder: gets `rank-0.json` and so on.
    """
    base = loaded_base(dtype=torch.float32)
    shard(base.model, ranks)
    pack = Pack(base, tiny_task(validation=5, test=1), ranks, slots=4)
    with pytest.MonkeyPatch.context() as patch:
        bench = Bench(pack, patch, ranks)
        calm = bench.work(folder / "calm", orders())
        trained = list(bench.trained)
        bench.die(folder / "warned", orders(), 7, [5])
        again = bench.work(folder / "warned", orders())
    told = {
        "same results": again == calm,
        "same states": files_of(folder / "warned") == files_of(folder / "calm"),
        "same steps": bench.trained == trained[5:],
    }
    (folder / f"rank-{ranks.rank}.json").write_text(json.dumps(told))
