"""Several gloo ranks on this machine, for tests: a rank that fails or hangs fails the test."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from perft.ranks import Ranks

SECONDS = 240
"""How long a group of ranks may take, start-up included."""

Work = Callable[[Ranks, Path], None]


def run_ranks(work: Work, size: int, folder: Path) -> None:
    """Runs `work(ranks, folder)` on `size` ranks and waits for all of them.

    Args:
        work: a function of a module, so that the new processes can import it.
        size: how many processes.
        folder: where the ranks meet, and where `work` leaves what it found.
    """
    context = mp.start_processes(  # raises what a rank raised
        _main, args=(size, folder, work), nprocs=size, join=False, start_method="spawn"
    )
    assert context is not None
    end = time.monotonic() + SECONDS
    try:
        while not context.join(timeout=1.0):
            if time.monotonic() > end:
                raise TimeoutError(f"{size} ranks did not end within {SECONDS} s")
    finally:
        for process in context.processes:
            if process.is_alive():
                process.kill()


def _main(rank: int, size: int, folder: Path, work: Work) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meet'}",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=60),
    )
    work(Ranks.current(torch.device("cpu")), folder)
    dist.barrier()
    dist.destroy_process_group()
