"""When a function is run as it is, captured and replayed; mostly with a stand-in for CUDA."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from perft.models.capture import GraphCapture, capture_for


class Cuda:
    """What `GraphCapture` uses of `torch.cuda`: while it captures, nothing runs."""

    def __init__(self) -> None:
        self.mode: int | str = 0
        self.recording: Graph | None = None
        self.pools: list[Any] = []

    def run(self, work: Any, *, waits: bool = False) -> None:
        """Work that a function gives to the device."""
        if waits:
            assert self.recording is None, "the device refuses to wait in a capture"
            if self.mode == "warn":
                warnings.warn("called a synchronizing CUDA operation (...)", stacklevel=1)
        if self.recording is not None:
            self.recording.work.append(work)
        else:
            work()

    @contextlib.contextmanager
    def graph(self, graph: "Graph", *, pool: Any, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        self.pools.append(pool)
        self.recording = graph
        yield
        self.recording = None


class Graph:
    def __init__(self) -> None:
        self.work: list[Any] = []

    def replay(self) -> None:
        for each in self.work:
            each()


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    cuda = Cuda()
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 7))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", cuda.graph)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: cuda.mode)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda mode: setattr(cuda, "mode", mode))
    return cuda


class Counted:
    """A function that counts on the device, and how often its Python ran."""

    def __init__(self, cuda: Cuda, waits: int = 0) -> None:
        self.cuda, self.waits = cuda, waits
        self.python = self.device = 0

    def __call__(self) -> None:
        self.python += 1
        self.cuda.run(self.count, waits=self.python <= self.waits)

    def count(self) -> None:
        self.device += 1


def test_cpus_capture_nothing() -> None:
    assert capture_for(torch.device("cpu")) is None


@pytest.mark.parametrize(("waits", "python"), [(0, 2), (1, 3), (2, 9), (99, 9)])
def test_a_function_runs_once_a_call_and_its_python_only_until_it_is_captured(
    cuda: Cuda, waits: int, python: int
) -> None:
    counted = Counted(cuda, waits)
    run = GraphCapture()(counted)
    for calls in range(1, 10):
        run()
        assert counted.device == calls
    assert counted.python == python
    assert cuda.mode == 0, "the user's own mode is back"


def test_functions_share_one_memory(cuda: Cuda) -> None:
    capture = GraphCapture()
    first, second = Counted(cuda), Counted(cuda)
    runs = [capture(first), capture(second)]
    for _ in range(5):
        for run in runs:
            run()
    assert (first.device, second.device) == (5, 5)
    assert cuda.pools == [(0, 7), (0, 7)]


def test_an_error_is_the_functions_own(cuda: Cuda) -> None:
    def wrong() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        GraphCapture()(wrong)()
    assert cuda.mode == 0


@pytest.mark.gpu
def test_a_replayed_function_reads_and_writes_the_same_memory() -> None:
    device = torch.device("cuda")
    capture = capture_for(device)
    assert capture is not None
    total, step = torch.zeros(4, device=device), torch.ones(4, device=device)
    calls = []

    def add() -> None:
        calls.append(1)
        total.add_(step * 2)

    def wait() -> None:
        total.add_(float(step.sum()))

    run = capture(add)
    for n in range(1, 8):
        run()
        assert total.tolist() == [2.0 * n] * 4
    assert len(calls) == 2
    step.fill_(5)
    run()
    assert total.tolist() == [24.0] * 4
    waiting = capture(wait)
    for _ in range(4):
        waiting()
    assert total.tolist() == [24.0 + 4 * 20] * 4
