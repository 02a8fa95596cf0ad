"""A pack on a compiled base trains and reports as on the same base uncompiled, who joins later too.

In float32 adapters and validation losses agree to 1e-4 after 12 steps: kernels
that are joined round otherwise, and AdamW divides by gradients that may be small.
"""

import pytest
import torch

from contracts.packs import BESIDE_TEN, TEN, advance, apart, copied, tiny_pack
from perft.models.compiling import compile_regions
from perft.training.pack import Pack
from perft.trial import Report

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

BOUND = 1e-4
TRIALS = {**TEN, **BESIDE_TEN}


def reports(pack: Pack) -> dict[str, Report]:
    """Of the first six after 12 steps, and of the others, who join after 6, after 6 of theirs."""
    first, later = list(TRIALS)[:6], list(TRIALS)[6:]
    for name in first:
        pack.admit(name, TRIALS[name])
    advance(pack, dict.fromkeys(first, 6))
    for name in later:
        pack.admit(name, TRIALS[name])
    return advance(pack, {**dict.fromkeys(first, 12), **dict.fromkeys(later, 6)})


def test_adapters_and_reports_are_those_of_the_uncompiled_base() -> None:
    torch._dynamo.reset()
    eager, compiled = (tiny_pack("olmoe", torch.float32, slots=4) for _ in range(2))
    compilation = compile_regions(compiled.base.model)
    compiled = Pack(compiled.base, compiled.task, compiled.ranks, slots=4)
    wanted, found = reports(eager), reports(compiled)
    assert compilation.failures == {}
    for name in TRIALS:
        assert apart(copied(compiled, name), copied(eager, name)) <= BOUND, name
        assert found[name].val_loss == pytest.approx(wanted[name].val_loss, abs=BOUND)
        assert found[name].train_loss == pytest.approx(wanted[name].train_loss, abs=BOUND)
        assert found[name].router_load == pytest.approx(wanted[name].router_load, abs=BOUND)
        assert found[name].correct == wanted[name].correct
