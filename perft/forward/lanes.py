"""Forward passes side by side: threads that have modules of their own, and share all weights.

A small base is made of operations too short to be split over a CPU's cores, but two passes can go
through it at the same time. The hooks of a pass keep what they see in the modules, so each lane has
a replica of them; the tensors, base and adapters, are the very same.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import TypeVar

import torch

from perft.injection import AdapterHost
from perft.models.replica import replica
from perft.ranks import Ranks

LANES_ON_CPU = 2
"""Lanes of a CPU with as many threads. Python's lock lets two do the work of 1.75 (measured)."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def lanes_on(ranks: Ranks) -> int:
    """How many lanes a process should have.

    One on an accelerator, which a single pass fills, and in a group of several ranks, whose
    collectives must come in one order.
    """
    alone = ranks.size == 1 and ranks.device.type == "cpu"
    return min(LANES_ON_CPU, torch.get_num_threads()) if alone else 1


class Lanes:
    """A host, and replicas of it for passes at the same time.

    Args:
        host: a base; with several lanes, one without adapters so far.
        count: lanes, each with an equal part of torch's threads.
    """

    def __init__(self, host: AdapterHost, count: int = 1) -> None:
        assert count == 1 or not host.configs, "a replica would have the adapters' hooks"
        self.host = host
        self.count = count
        self._hosts = [host, *(AdapterHost(replica(host.model)) for _ in range(count - 1))]
        threads = max(1, torch.get_num_threads() // count)
        self._pool = ThreadPoolExecutor(
            count, "lane", initializer=torch.set_num_threads, initargs=(threads,)
        )

    def share(self, name: str) -> None:
        """Puts an adapter of the host on every lane."""
        for twin in self._hosts[1:]:
            twin.borrow(name, self.host)

    def remove(self, name: str) -> None:
        """Takes an adapter off every lane."""
        for host in self._hosts:
            host.remove(name)

    def run(
        self, work: Callable[[AdapterHost, Item], Result], items: Sequence[Item]
    ) -> list[Result]:
        """Does `work` on every item, as many at a time as there are lanes.

        A lone item is worked on by the caller's thread, which has all of torch's threads.

        Returns:
            What `work` returned, in the order of the items.

        Raises:
            Exception: the first that `work` raised, once no lane is at work any more.
        """
        if self.count == 1 or len(items) == 1:
            return [work(self.host, item) for item in items]
        free: SimpleQueue[AdapterHost] = SimpleQueue()
        for host in self._hosts:
            free.put(host)
        with_gradients = torch.is_grad_enabled()  # a setting of each thread

        def do(item: Item) -> Result:
            host = free.get()
            try:
                with torch.set_grad_enabled(with_gradients):
                    return work(host, item)
            finally:
                free.put(host)

        futures = [self._pool.submit(do, item) for item in items]
        wait(futures)
        return [future.result() for future in futures]
