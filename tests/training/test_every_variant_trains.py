"""Every variant of the table, in every form, trains packed as alone, goes on, and is exported.

In float64, to 1e-9 after some steps; what goes on from its state does so bit for bit.
"""

from pathlib import Path

import pytest
import torch

from contracts.adapters import ONE_OF_EACH, OTHER_FORMS, token_ids
from contracts.packs import BESIDE_TEN, TEN, advance, apart, copied, tiny_pack, train_alone, trial
from perft.checkpoint import load_adapter
from perft.tasks import TaskSource

TRIALS = {
    name: trial(config, seed=seed, batch_size=3 + seed % 2)
    for seed, (name, config) in enumerate({**ONE_OF_EACH, **OTHER_FORMS}.items())
}
STEPS = 8
SOURCE = TaskSource(name="arithmetic", validation_size=7)

each = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in BESIDE_TEN else pytest.mark.slow) for n in TRIALS]
)


@each
def test_beside_others_a_trial_trains_as_alone(name: str) -> None:
    pack = tiny_pack()
    wanted, report = train_alone(name, TRIALS[name], STEPS, pack=pack)
    for one in {"r": TEN["r"], "lora-qv": TEN["lora-qv"], name: TRIALS[name]}.items():
        pack.admit(*one)
    found = advance(pack, dict.fromkeys(("r", "lora-qv", name), STEPS))[name]
    assert apart(copied(pack, name), wanted) <= 1e-9
    assert found.val_loss == pytest.approx(report.val_loss, abs=1e-9)
    assert found.router_load == pytest.approx(report.router_load)


@each
def test_a_trial_learns_and_goes_on_from_its_state_as_if_it_had_not_stopped(name: str) -> None:
    whole, resumed = tiny_pack(), tiny_pack()
    whole.admit(name, TRIALS[name])
    start = copied(whole, name)
    first = advance(whole, {name: STEPS})[name]
    resumed.admit(name, TRIALS[name], whole.state(name))
    last, again = (advance(pack, {name: 3 * STEPS})[name] for pack in (whole, resumed))
    assert apart(copied(whole, name), copied(resumed, name)) == 0.0
    assert (last.val_loss, last.correct) == (again.val_loss, again.correct)
    assert last.val_loss < first.val_loss
    moved = {key: not torch.equal(start[key], now) for key, now in copied(whole, name).items()}
    assert all(moved.values()), "every tensor learns"


@each
def test_what_is_exported_answers_as_in_memory(name: str, tmp_path: Path) -> None:
    pack, ids = tiny_pack(), token_ids(2)
    pack.admit(name, TRIALS[name])
    advance(pack, {name: 3})
    for file, content in pack.adapter(name, SOURCE).items():
        (tmp_path / file).write_bytes(content)
    pack.host.activate(name)
    other = tiny_pack().base.model
    load_adapter(other, tmp_path)
    assert torch.equal(other(ids).logits, pack.host.model(ids).logits)
