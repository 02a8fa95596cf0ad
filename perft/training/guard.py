"""Whether an adapter can learn on its base: looked at once, after its first backward pass.

A base may be computed around the modules that adapters sit on, by kernels for whole blocks or for
weights in few bits. Its hooks are then never called, and an adapter is trained to no effect.
"""

from perft.injection import AdapterHost
from perft.training.optimizer import AdapterOptimizer


def fault_of(host: AdapterHost, name: str, optimizer: AdapterOptimizer) -> str:
    """Why an adapter cannot learn; empty when it can.

    Every hook of its must have been called, and every tensor have a finite gradient. Zeros count:
    a fresh adapter has some, and so have experts that no token was sent to.

    Args:
        host: the base with the adapter on it.
        name: the adapter's.
        optimizer: its own, with the gradients of its first step.
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
