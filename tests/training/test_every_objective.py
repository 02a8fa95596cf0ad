"""What every objective keeps to: packed as alone, resumed as uninterrupted, it learns."""

import ast
import math
from pathlib import Path

import pytest
import torch

from contracts.packs import advance, apart, copied, tiny_pack, train_alone, trial
from contracts.pairs import MIXED, pair_task
from perft.config import RoutedConfig
from perft.training import objective
from perft.training.objective import OBJECTIVES
from perft.training.pack import Pack
from perft.trial import TrialConfig

STEPS = 8
each = pytest.mark.parametrize("name", OBJECTIVES)


def pack_of_pairs() -> Pack:
    return tiny_pack(task=pair_task())


def one_of(name: str) -> TrialConfig:
    adapter = RoutedConfig(rank=3, num_experts=3, top_k=2, dropout=0.1, balance=0.3)
    return trial(adapter, objective=name, batch_size=3, seed=1)


@each
def test_beside_other_objectives_a_trial_trains_as_alone(name: str) -> None:
    pack = pack_of_pairs()
    wanted, report = train_alone("one", one_of(name), STEPS, pack=pack)
    others = {other: MIXED[other] for other in ("s", "sft")}
    for one in {"one": one_of(name), **others}.items():
        pack.admit(*one)
    found = advance(pack, dict.fromkeys(("one", *others), STEPS))["one"]
    assert apart(copied(pack, "one"), wanted) <= 1e-9
    assert found.val_loss == pytest.approx(report.val_loss, abs=1e-9)
    assert found.measures == pytest.approx(report.measures, abs=1e-9)


@each
def test_a_trial_learns_and_goes_on_from_its_state_as_if_it_had_not_stopped(name: str) -> None:
    whole, resumed = pack_of_pairs(), pack_of_pairs()
    whole.admit("one", one_of(name))
    first = advance(whole, {"one": STEPS})["one"]
    resumed.admit("one", one_of(name), whole.state("one"))
    last, again = (advance(pack, {"one": 4 * STEPS})["one"] for pack in (whole, resumed))
    assert apart(copied(whole, "one"), copied(resumed, "one")) == 0.0
    assert (last.val_loss, last.measures) == (again.val_loss, again.measures)
    assert last.train_loss < first.train_loss
    assert all(math.isfinite(value) for value in (last.val_loss, *last.measures.values()))


@each
def test_no_gradient_reaches_the_base(name: str) -> None:
    pack = pack_of_pairs()
    pack.admit("one", one_of(name))
    own = {id(tensor) for tensor in pack.host.tensors("one").values()}
    pack._stepper.gradients({"one": pack.running["one"].batch()})
    with_gradient = {id(p) for p in pack.base.model.parameters() if p.grad is not None}
    assert with_gradient == own
    assert all(torch.isfinite(t.grad).all() for t in pack.host.tensors("one").values())


def test_objectives_are_imported_without_torch() -> None:
    for path in Path(objective.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text()).body:  # at the top: those for types are deeper
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "torch" not in ast.unparse(node), path
