"""Checks, after an adapter's first backward pass, that it can learn on its base.

A base may bypass the modules that carry adapters, with kernels for whole blocks or for quantised
weights. Hooks are then never called, and training an adapter has no effect.
"""

from perft.injection import AdapterHost
from perft.training.optimizer import AdapterOptimizer


def fault_of(host: AdapterHost, name: str, optimizer: AdapterOptimizer) -> str:
    """Why an adapter cannot learn; empty when it can.

    All its hooks must have been called, and every tensor must have a finite gradient. Zeros are
    allowed: a new adapter has some, and so do experts that received no token.

    Args:
        host: the base with the adapter on it.
        name: the adapter's.
        optimizer: the adapter's, with the gradients of its first step.
    """
    if silent := host.untouched(name, trained=True):
        return (
            f"the base was computed without calling {_some(silent)}, so that this adapter has no "
            "effect; try --experts eager and --no-compile"
        )
    if absent := optimizer.absent:
        return f"the loss does not depend on {_some(absent)}, so that it cannot be trained"
    if wrong := optimizer.not_finite():
        return f"the gradient of {_some(wrong)} is not finite at its first step"
    return ""


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"
