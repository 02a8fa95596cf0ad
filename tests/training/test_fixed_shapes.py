"""In micro-batches of fixed shapes a trial repeats bit for bit, whoever shares them, in bf16 too.

That is what holds on GPUs and wherever bf16 is used, since kernels and rounding go by the shape of
a micro-batch. And what fills a micro-batch changes nothing: in float64 losses and adapters agree
with those of micro-batches without it to 1e-9 (measured: 3e-16).
"""

import dataclasses
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from contracts.packs import TEN, advance, apart, copied, tiny_pack, trial
from contracts.recording import Recording
from perft.config import (
    LoraAttentionConfig,
    LoraExpertsConfig,
    LoraQVConfig,
    LoraRouterConfig,
    SingleConfig,
)
from perft.models.experts import use_frozen_experts
from perft.ranks import Ranks
from perft.training import stepper
from perft.training.pack import Pack
from perft.training.shapes import RowCapacity, TrialShape, are_fixed
from perft.trial import Report, TrialConfig

STEPS = 12
# Alike in what passes go by, so that all but those in attention share them.
ALIKE: dict[str, TrialConfig] = {
    name: TrialConfig(
        config.adapter,
        dataclasses.replace(config.training, batch_size=4, max_length=16, loss_on="answer"),
    )
    for name, config in TEN.items()
}
Trained = Mapping[str, tuple[dict[str, Tensor], Report]]


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fixes the shapes of micro-batches whatever the dtype."""
    monkeypatch.setattr(stepper, "are_fixed", lambda *_args, **_options: True)


def train(pack: Pack, names: list[str], steps: int = STEPS) -> Trained:
    for name in names:
        pack.admit(name, ALIKE[name])
    reports = advance(pack, dict.fromkeys(names, steps))
    found = {name: (copied(pack, name), reports[name]) for name in names}
    for name in names:
        pack.release(name)
    return found


def assert_equal(found: Trained, wanted: Trained) -> None:
    """Bit for bit, but for what measures time."""
    for name, (adapter, report) in found.items():
        assert apart(adapter, wanted[name][0]) == 0.0, name
        still = {"tokens_per_second": 0.0}
        assert dataclasses.replace(report, **still) == dataclasses.replace(
            wanted[name][1], **still
        ), name


def test_in_bf16_each_of_ten_trained_together_equals_the_same_alone() -> None:
    pack = tiny_pack("olmoe", torch.bfloat16, slots=4)
    together = train(pack, list(ALIKE))
    for name in ALIKE:
        assert_equal(train(pack, [name]), together)


@pytest.mark.parametrize("family", ["mixtral", "deepseek_v3"])
def test_in_bf16_other_neighbours_and_another_order_change_nothing(family: str) -> None:
    some = ["r", "e", "d", "s", "lora-router"]
    pack = tiny_pack(family, torch.bfloat16, slots=3)
    together = train(pack, some)
    for names in (["s", "r"], ["lora-router", "e", "s"], some[::-1]):
        assert_equal(train(pack, names), together)


def test_in_bf16_those_who_act_inside_of_the_base_change_nothing_for_others() -> None:
    # gpt_oss: with LoRA on its experts, gradients of its routing weights add up in another order.
    pack = tiny_pack("gpt_oss", torch.bfloat16, slots=4)
    use_frozen_experts(pack.base.model)
    assert_equal(train(pack, ["e"]), train(pack, ["e", "lora-experts", "lora-attention"]))


def test_only_what_acts_inside_the_same_modules_shares_a_microbatch() -> None:
    pack = tiny_pack("olmoe", torch.bfloat16, slots=8)
    inside = {
        "s": SingleConfig(rank=2),
        "router": LoraRouterConfig(rank=2),
        "qv": LoraQVConfig(rank=2),
        "attention": LoraAttentionConfig(rank=2),
        "last": LoraAttentionConfig(rank=2, layers="last:1"),
        "experts": LoraExpertsConfig(rank=2),
    }
    for name, adapter in inside.items():
        pack.admit(name, trial(adapter))
    batches = {name: running.batch() for name, running in pack.running.items()}
    together = {frozenset(one.names) for one in pack._stepper.microbatches(batches)}
    assert together == {
        frozenset(names) for names in (["s", "router"], ["qv", "attention"], ["last"], ["experts"])
    }


def test_another_number_of_slots_is_another_shape() -> None:
    # The claim above is no accident of this base: what it holds constant does matter.
    one = train(tiny_pack("olmoe", torch.bfloat16, slots=1), ["e"])
    eight = train(tiny_pack("olmoe", torch.bfloat16, slots=8), ["e"])
    shapes = [tiny_pack("olmoe", torch.bfloat16, slots=slots)._stepper.fixed for slots in (1, 8)]
    assert shapes[0] != shapes[1]
    assert one["e"][1].val_loss == pytest.approx(eight["e"][1].val_loss, abs=0.05)


@pytest.mark.parametrize("family", ["olmoe", "mixtral"])
def test_what_fills_a_microbatch_changes_nothing(
    family: str, request: pytest.FixtureRequest
) -> None:
    exact = train(tiny_pack(family, torch.float64), list(TEN))
    request.getfixturevalue("fixed")
    filled = train(tiny_pack(family, torch.float64, slots=4), list(TEN))
    for name, (adapter, report) in filled.items():
        assert apart(adapter, exact[name][0]) <= 1e-9, name
        assert report.val_loss == pytest.approx(exact[name][1].val_loss, abs=1e-9)
        assert report.train_loss == pytest.approx(exact[name][1].train_loss, abs=1e-9)
        assert report.router_load == pytest.approx(exact[name][1].router_load, abs=1e-9)
        assert report.correct == exact[name][1].correct


@pytest.mark.parametrize("checkpointing", [False, True])
def test_captured_steps_equal_those_that_run_as_they_are(checkpointing: bool, fixed: None) -> None:
    def pack(capture: Recording | None) -> Pack:
        # Experts whose products the recording can repeat: grouped ones wait, on a CPU.
        found = tiny_pack(
            "olmoe", torch.float32, experts="batched_mm", slots=4, checkpointing=checkpointing
        )
        found._stepper.capture = capture
        return found

    recording = Recording()
    plain, captured = pack(None), pack(recording)
    for names in (["r", "s"], list(ALIKE)):  # two stay the same by name
        assert_equal(train(captured, names), train(plain, names))
    assert recording.captured == 1 + 2 + 3  # beside the base, and inside of it in three places
    assert recording.replayed == (STEPS - 2) * recording.captured


def test_a_microbatch_that_cannot_be_captured_runs_as_it_is(
    fixed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def capture(_step: object) -> object:
        def fail() -> None:
            raise RuntimeError("operation not permitted when stream is capturing")

        return fail

    plain = tiny_pack("olmoe", torch.float32, slots=2)
    other = tiny_pack("olmoe", torch.float32, slots=2)
    other._stepper.capture = capture  # type: ignore[assignment]
    assert_equal(train(other, ["s", "r"]), train(plain, ["s", "r"]))
    assert "run without being captured: operation not permitted" in capsys.readouterr().out


def test_shapes_are_fixed_where_kernels_go_by_them() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert not are_fixed(cpu, torch.float32, compiled=False)
    assert not are_fixed(cpu, torch.float64, compiled=False)
    assert are_fixed(cpu, torch.bfloat16, compiled=False)
    assert are_fixed(cpu, torch.float32, compiled=True)
    assert are_fixed(cuda, torch.float32, compiled=False)


def test_a_group_of_two_ranks_shares_the_rows_of_a_shape() -> None:
    alone, shared = (
        tiny_pack("olmoe", torch.bfloat16, slots=2, ranks=ranks)._stepper.fixed
        for ranks in (Ranks(), Ranks(1, 2))
    )
    assert alone is not None
    assert shared is not None
    kind = TrialShape(5, RowCapacity(length=16, predictions=3))
    assert shared.of(kind).rows == 2 * 3
    assert alone.of(kind).rows == 2 * 5
    assert shared.of(kind).length == alone.of(kind).length
