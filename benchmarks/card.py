"""The device of a benchmark: its name, its matrix rate, and the number of launches of a run."""

import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from statistics import median
from typing import Any

import torch
from adapter_launches import Launches
from torch.profiler import ProfilerActivity, profile
from turns import clock_of, seconds

import perft
from perft.errors import ConfigError
from perft.ranks import Ranks

SIZE, TINY_SIZE = 8192, 64
"""Of the square matrices whose product gives a device's rate."""


def device_for(*, tiny: bool) -> torch.device:
    """The GPU; a CPU where a benchmark is only to show that it runs.

    Raises:
        ConfigError: if there is no GPU.
    """
    if tiny:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(
            "no CUDA device: run this on a machine that has one, or add --tiny, which shows on a "
            "CPU that it runs and measures nothing"
        )
    return torch.device("cuda")


def described(device: torch.device) -> str:
    """The device and the versions, in one line."""
    name, cuda = f"CPU, {torch.get_num_threads()} threads", ""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name = f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"
        cuda = f" with CUDA {torch.version.cuda}"
    return (
        f"{name}; perft {perft.__version__}, torch {torch.__version__}{cuda}, transformers "
        f"{version('transformers')}, Python {platform.python_version()}"
    )


def matrix_rate(device: torch.device, size: int) -> float:
    """FLOP/s of products of square bf16 matrices."""
    one, other = torch.randn(2, size, size, device=device).to(torch.bfloat16)
    took = seconds({"product": lambda: one @ other}, 20, clock_of(Ranks(device=device)))
    return 2.0 * size**3 / median(took["product"])


def launches(run: Callable[[], Any], device: torch.device) -> int:
    """Number of launches from the host to the GPU, a whole graph counted once.

    On a CPU, the operations other than views.
    """
    if device.type != "cuda":
        with Launches() as operations:
            run()
        total: int = operations.counts.total()
        return total
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        run()
        torch.cuda.synchronize()
    counts: list[int] = [
        event.count
        for event in profiled.key_averages()
        if "LaunchKernel" in event.key or "GraphLaunch" in event.key
    ]
    return sum(counts)


def host_seconds(run: Callable[[], Any], device: torch.device, turns: int) -> float:
    """Median seconds in which the host issues a run, without waiting for the GPU to end it."""
    found = []
    for _ in range(turns):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
        if device.type == "cuda":
            torch.cuda.synchronize()
    return median(found)
