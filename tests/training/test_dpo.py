"""DPO on a pack against DPO written down plainly: two models, one loss after the other.

The plain one calls the base once with one adapter for every answer, and once without, and takes
logs from transformers' own logits. In float64 losses and gradients agree to 1e-12.
"""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from contracts.adapters import add_random
from contracts.packs import TEN, advance, apart, copied, loaded_base, tiny_pack, train_alone, trial
from contracts.pairs import DPO, MIXED, pair_task, plain_margins
from contracts.recording import Recording
from perft.config import SingleConfig, TrainingConfig
from perft.errors import ConfigError
from perft.forward import AdapterLosses, TokenizedExample
from perft.injection import AdapterHost
from perft.ranks import Ranks
from perft.training import stepper
from perft.training.data import TokenizedTask
from perft.training.objective import OBJECTIVES
from perft.training.objective.dpo import Dpo
from perft.training.optimizer import AdapterOptimizer
from perft.training.pack import Pack
from perft.training.step import MicroBatch, TrialBatch, gradients_of
from perft.trial import Report, TrialConfig

STEPS = 6
FEW = ["r", "lora-qv", "sft"]


def plain_loss(host: AdapterHost, name: str, rows: list[TokenizedExample], beta: float) -> Tensor:
    return -F.logsigmoid(beta * plain_margins(host, name, rows)).mean()


def without_balance(config: TrialConfig) -> TrialConfig:
    settings = {"dropout": 0.0, "base_balance": 0.0}
    if config.adapter.variant == "perft-r":
        settings["balance"] = 0.0
    return TrialConfig(dataclasses.replace(config.adapter, **settings), config.training)


def batches_on(host: AdapterHost, configs: dict[str, TrialConfig]) -> dict[str, TrialBatch]:
    """Some rows of every trial, whose adapters hold random numbers."""
    task = pair_task()
    rows = TokenizedTask(task, loaded_base().tokenizer, 64)
    found = {}
    for at, (name, config) in enumerate(configs.items()):
        plain = without_balance(config)
        add_random(host, name, plain.adapter, at)
        mine = rows.read_by(plain.training)
        count = plain.training.batch_size * (2 if plain.training.objective == "dpo" else 1)
        optimizer = AdapterOptimizer(host.tensors(name), plain.training)
        some = [mine.row(2 * at + i) for i in range(count)]
        found[name] = TrialBatch(plain.training, 0, some, optimizer)
    return found


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", ["olmoe", "mixtral"])
def test_losses_and_gradients_are_those_of_two_models(family: str, checkpointing: bool) -> None:
    host = AdapterHost(loaded_base(family).model)
    batches = batches_on(host, MIXED)
    losses, _ = gradients_of(
        host, 0, Ranks(), batches, [MicroBatch(list(batches))], checkpointing=checkpointing
    )
    for name in DPO:
        batch = batches[name]
        found = {key: t.grad.clone() for key, t in host.tensors(name).items() if t.grad is not None}
        batch.optimizer.skip()
        loss = plain_loss(host, name, list(batch.rows), batch.training.beta)
        assert float(losses[name]) == pytest.approx(loss.item(), abs=1e-12)
        loss.backward()
        for key, tensor in host.tensors(name).items():
            assert tensor.grad is not None
            torch.testing.assert_close(found[key], tensor.grad, rtol=0, atol=1e-12)
        assert max(float(gradient.abs().max()) for gradient in found.values()) > 1e-4, name


class Ipo(Dpo):
    """As docs/objectives.md has it: arXiv 2310.12036, equation 17."""

    def loss(self, found: AdapterLosses, training: TrainingConfig) -> Tensor:
        gain_P2 = (found.reference() - found.rows()).view(-1, 2)
        return (gain_P2[:, 0] - gain_P2[:, 1] - 0.5 / training.beta).square().sum()


def test_another_objective_is_one_class_and_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "dpo", Ipo())
    host = AdapterHost(loaded_base().model)
    batches = batches_on(host, {"e": DPO["e"], "s": DPO["s"]})
    losses, _ = gradients_of(host, 0, Ranks(), batches, [MicroBatch(["e", "s"])])
    for name, batch in batches.items():
        margin_P = plain_margins(host, name, list(batch.rows))
        wanted = (margin_P - 0.5 / batch.training.beta).square().mean()
        assert float(losses[name]) == pytest.approx(wanted.item(), abs=1e-12)


def test_no_gradient_reaches_the_base_and_its_weights_stay() -> None:
    pack = tiny_pack(task=pair_task())
    pack.admit("e", DPO["e"])
    own = {id(tensor) for tensor in pack.host.tensors("e").values()}
    base = {n: p for n, p in pack.base.model.named_parameters() if id(p) not in own}
    before = {name: parameter.clone() for name, parameter in base.items()}
    batch = pack.running["e"].batch()
    pack._stepper.gradients({"e": batch})
    assert all(parameter.grad is None for parameter in base.values())
    advance(pack, {"e": 3})
    assert all(torch.equal(before[name], parameter) for name, parameter in base.items())


def test_both_answers_with_and_without_the_adapter_go_through_the_base_in_one_microbatch() -> None:
    pack = tiny_pack(task=pair_task())
    for name in ("e", "s"):
        pack.admit(name, trial(SingleConfig(rank=2), objective="dpo", batch_size=4))
    rows: list[int] = []
    advance(pack, {"e": 1, "s": 1})  # the first asks what the head is
    handle = pack.base.model.register_forward_pre_hook(
        lambda _m, _args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    pack.train({"e": 2, "s": 2})
    handle.remove()
    # Eight answers of each trial; the base alone sees those that both trials have once.
    assert rows == [8 + 8 + 8]


def trained(pack: Pack, names: list[str]) -> dict[str, tuple[dict[str, Tensor], Report]]:
    for name in names:
        pack.admit(name, MIXED[name])
    reports = advance(pack, dict.fromkeys(names, STEPS))
    found = {name: (copied(pack, name), reports[name]) for name in names}
    for name in names:
        pack.release(name)
    return found


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_a_pack_of_both_objectives_equals_each_trial_alone(
    dtype: torch.dtype, bound: float
) -> None:
    pack = tiny_pack("olmoe", dtype, task=pair_task())
    alone = {name: train_alone(name, each, STEPS, pack=pack) for name, each in MIXED.items()}
    for name, (adapter, report) in trained(pack, list(MIXED)).items():
        wanted_adapter, wanted = alone[name]
        assert apart(adapter, wanted_adapter) <= bound, name
        assert report.train_loss == pytest.approx(wanted.train_loss, abs=bound)
        assert report.val_loss == pytest.approx(wanted.val_loss, abs=bound)
        assert report.measures == pytest.approx(wanted.measures, abs=bound)
        assert (report.correct, report.scored) == (wanted.correct, wanted.scored)


def still(found: dict[str, tuple[dict[str, Tensor], Report]]) -> dict[str, Report]:
    """Reports without what measures time."""
    return {n: dataclasses.replace(r, tokens_per_second=0.0) for n, (_, r) in found.items()}


def test_in_bf16_trials_together_equal_the_same_alone_bit_for_bit() -> None:
    pack = tiny_pack("olmoe", torch.bfloat16, slots=3, task=pair_task())
    together = trained(pack, FEW)
    for name in FEW:
        alone = trained(pack, [name])
        assert apart(alone[name][0], together[name][0]) == 0.0, name
        assert still(alone)[name] == still(together)[name]


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fixes the shapes of micro-batches whatever the dtype."""
    monkeypatch.setattr(stepper, "are_fixed", lambda *_args, **_options: True)


def test_what_fills_a_microbatch_changes_nothing(request: pytest.FixtureRequest) -> None:
    exact = trained(tiny_pack(task=pair_task()), FEW)
    request.getfixturevalue("fixed")
    filled = trained(tiny_pack(task=pair_task(), slots=4), FEW)
    for name, (adapter, report) in filled.items():
        assert apart(adapter, exact[name][0]) <= 1e-9, name
        assert report.val_loss == pytest.approx(exact[name][1].val_loss, abs=1e-9)
        assert report.train_loss == pytest.approx(exact[name][1].train_loss, abs=1e-9)
        assert report.correct == exact[name][1].correct


def test_captured_steps_equal_those_that_run_as_they_are(fixed: None) -> None:
    def pack(capture: Recording | None) -> Pack:
        found = tiny_pack("olmoe", torch.float32, experts="batched_mm", slots=3, task=pair_task())
        found._stepper.capture = capture
        return found

    recording = Recording()
    plain, captured = trained(pack(None), ["r", "s"]), trained(pack(recording), ["r", "s"])
    assert recording.replayed > 0
    assert still(plain) == still(captured)
    for name in plain:
        assert apart(plain[name][0], captured[name][0]) == 0.0, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_resumed_equals_uninterrupted(dtype: torch.dtype) -> None:
    def admitted(states: dict[str, bytes] | None = None) -> Pack:
        pack = tiny_pack("olmoe", dtype, task=pair_task(), slots=2)
        for name in FEW:
            pack.admit(name, MIXED[name], states[name] if states else None)
        return pack

    whole = admitted()
    advance(whole, dict.fromkeys(FEW, 2))
    resumed = admitted({name: whole.state(name) for name in FEW})
    reports = [advance(pack, dict.fromkeys(FEW, STEPS)) for pack in (whole, resumed)]
    for name in FEW:
        assert apart(copied(whole, name), copied(resumed, name)) == 0.0, name
        one, other = (
            dataclasses.replace(report[name], tokens_per_second=0.0) for report in reports
        )
        assert one == other


def test_a_pair_has_one_rank() -> None:
    host = AdapterHost(loaded_base().model)
    (batch,) = batches_on(host, {"s": DPO["s"]}).values()  # of three pairs
    assert (batch.units, batch.shape[0]) == (3, 12)
    parts = [batch.on(Ranks(rank, 2)) for rank in range(2)]
    assert [len(part.rows) for part in parts] == [2, 4]
    assert [id(row) for part in parts for row in part.rows] == [id(row) for row in batch.rows]


def test_a_task_without_pairs_is_refused() -> None:
    with pytest.raises(ConfigError, match="objective dpo compares two answers to a prompt, and"):
        tiny_pack().admit("s", MIXED["s"])
    with pytest.raises(ConfigError, match='found loss_on="all"'):
        TrainingConfig(lr=1e-3, objective="dpo", loss_on="all")
    with pytest.raises(ConfigError, match="beta must be a positive number, found 0"):
        TrainingConfig(lr=1e-3, objective="dpo", beta=0)


def test_every_objective_that_a_configuration_can_name_is_there() -> None:
    for name in OBJECTIVES:
        assert TrainingConfig(lr=1e-3, objective=name).objective == name  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="objective"):
        TrainingConfig(lr=1e-3, objective="ppo")  # type: ignore[arg-type]
    assert {config.training.objective for config in TEN.values()} == {"sft"}
