"""The variants' functions compiled: one graph for all adapters, layers and steps of one shape.

What differs between adapters of one shape, their scale, dropout and place, goes in as tensors, so
that it is not compiled in. Each batch shape has a graph of its own, so this is for passes of few
fixed shapes. A variant that does not compile runs as it is.
"""

import dataclasses
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
from torch._inductor import config as inductor

from perft.adapters import VARIANTS, lora
from perft.adapters.block import BlockInput
from perft.adapters.bottleneck import Weights, factor_of
from perft.adapters.dropout import Drop, KeyedZeros
from perft.adapters.lora import LoraConfig
from perft.adapters.routing import LayerRouting
from perft.config import AdapterConfig

GRAPHS = 64
"""Graphs that one function may have: by shape, dtype, form, whether anything is dropped."""


def apply_beside_block(
    config: AdapterConfig, weights: Weights, block: BlockInput
) -> tuple[Tensor, LayerRouting | None]:
    """Like `perft.adapters.apply_beside_block`."""
    block = dataclasses.replace(
        block, drop=_with_tensors(block.drop), factor=_number(factor_of(config, block.drop))
    )
    run = _compiled(VARIANTS[config.variant].apply, _shapes(block.x_TD, weights))
    out = run(config, weights, block)
    return out if isinstance(out, tuple) else (out, None)


def apply_lora(config: LoraConfig, weights: Weights, x_TI: Tensor, drop: Drop) -> Tensor:
    """Like `lora.apply`."""
    run = _compiled(lora.apply, _shapes(x_TI, weights))
    factor = _number(factor_of(config, drop))
    found: Tensor = run(config, weights, x_TI, _with_tensors(drop), factor)
    return found


class _Compiled:
    """A function, compiled for tensors of some shapes for as long as that works."""

    def __init__(self, function: Callable[..., Any], _shapes: tuple[Any, ...]) -> None:
        self._function = self._run = function
        limit = torch._dynamo.config.recompile_limit
        torch._dynamo.config.recompile_limit = max(GRAPHS, limit)
        # What is tuned by time would be another kernel, with another rounding, elsewhere.
        known = hasattr(inductor, "deterministic")
        options: dict[str, Any] = {"deterministic": True} if known else {}
        self._run = torch.compile(function, fullgraph=True, dynamic=False, options=options)

    def __call__(self, *args: Any) -> Any:
        try:
            return self._run(*args)
        except (TorchDynamoException, FailOnRecompileLimitHit) as error:
            if self._run is self._function:
                raise
            self._run = self._function
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reason = " ".join(lines[:2])  # the first may only say which backend it was
            warnings.warn(f"{self._function.__module__} runs uncompiled: {reason}", stacklevel=2)
            return self._function(*args)


_compiled = cache(_Compiled)


def _shapes(x_TD: Tensor, weights: Weights) -> tuple[Any, ...]:
    """What decides whether a function compiles: one that does not leaves others alone."""
    return x_TD.dtype, *(tensor.shape for tensor in weights.values())


def _with_tensors(drop: Drop) -> Drop:
    zeros = drop.zero
    if not isinstance(zeros, KeyedZeros):
        return drop
    place, threshold = _number(zeros.place), _number(zeros.threshold)
    return Drop(dataclasses.replace(zeros, place=place, threshold=threshold))


@cache
def _number(value: float) -> Tensor:
    """A tensor on the CPU without dimensions, which goes with tensors on every device."""
    return torch.tensor(value, dtype=torch.int64 if isinstance(value, int) else torch.float64)
