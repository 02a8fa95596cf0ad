"""Captures a function once and replays it: on a GPU as a CUDA graph, without Python.

A captured function takes and returns nothing. It reads and writes tensors of fixed addresses and
shapes, and never waits for the device. Its temporary tensors end with the call, so captured
functions may share their working memory.
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch

Step = Callable[[], None]
"""A function that can be captured, or one that replays it."""

Capture = Callable[[Step], Step]
"""Turns a function into one that captures and replays it."""

_WAITED = "called a synchronizing CUDA operation"
_TRIES = 2  # the first call may compile and wait


def capture_for(device: torch.device) -> Capture | None:
    """How functions are captured on a device; None where capture gains nothing."""
    return GraphCapture() if device.type == "cuda" else None


class GraphCapture:
    """Captures functions as CUDA graphs that share their working memory, and so run in turn."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Step) -> Step:
        """A function that replays `step` from its second or third call on.

        Earlier calls run `step` as it is, so that kernels are chosen and compiled. If it still
        waits for the device then, it cannot be captured and always runs as it is.
        """
        return _Graphed(step, self._pool)


class _Graphed:
    def __init__(self, step: Step, pool: Any) -> None:
        self._step = step
        self._pool = pool
        self._tries = 0
        self._never_waited = False
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self._graph is not None:
            self._graph.replay()
        elif self._never_waited:
            self._graph = torch.cuda.CUDAGraph()
            # Other threads, such as the heartbeat's, may use the device meanwhile.
            with torch.cuda.graph(self._graph, pool=self._pool, capture_error_mode="thread_local"):
                self._step()
            self._graph.replay()  # capturing runs nothing
        elif self._tries < _TRIES:
            self._tries += 1
            self._never_waited = not _waits(self._step)
        else:
            self._step()


def _waits(step: Step) -> bool:
    """Runs `step` and returns whether the host waited for the device."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return any(_WAITED in str(warning.message) for warning in caught)
