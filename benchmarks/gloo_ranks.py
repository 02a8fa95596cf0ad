"""Runs a function of a benchmark on several gloo ranks of this machine, one thread each."""

import os
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from perft.ranks import Ranks


def on_ranks(work: Callable[[Ranks, Any], None], job: Any, count: int) -> None:
    """Calls `work(ranks, job)` in so many new processes, and waits for them.

    Args:
        work: a function of a module.
        job: what it is told; it is pickled.
        count: how many; a lone one gets no process group.
    """
    start_processes(  # type: ignore[no-untyped-call]
        _main, (count, _free_port(), work, job), nprocs=count, start_method="spawn"
    )


def _main(rank: int, count: int, port: int, work: Callable[[Ranks, Any], None], job: Any) -> None:
    torch.set_num_threads(1)
    if count > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        dist.init_process_group("gloo", rank=rank, world_size=count)
    work(Ranks.current(torch.device("cpu")), job)
    if count > 1:
        dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
