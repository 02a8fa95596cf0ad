"""What a pack takes in, refuses, counts and lets go."""

import dataclasses
import math
import re

import pytest
import torch

from contracts.packs import SCORER, TEN, advance, tiny_pack, tiny_task, trial
from perft.config import RoutedConfig, SingleConfig
from perft.errors import AdapterError, ConfigError
from perft.ranks import Ranks
from perft.tasks import Split
from perft.training.evaluator import Evaluator
from perft.trial import Report


def test_a_report_says_what_was_measured() -> None:
    pack = tiny_pack()
    pack.admit("r", TEN["r"])
    first = advance(pack, {"r": 3})["r"]
    second = advance(pack, {"r": 5})["r"]
    assert (first.step, second.step) == (3, 5)
    assert first.scored == 11
    assert first.lr == pytest.approx(1e-2 * 3 / 5)
    assert sum(first.router_load) == pytest.approx(1.0)
    assert len(first.router_load) == 3
    assert first.router_entropy is not None
    assert 0 < first.router_entropy < math.log(3)
    assert first.tokens_per_second > 0
    assert pack.running["r"].reports == [first, second]
    assert second.train_loss != first.train_loss


def test_without_rung_accuracy_nothing_is_generated_before_full_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = {"max_steps": 4, "warmup_steps": 1}
    configs = {name: trial(TEN[name].adapter, **short) for name in ("r", "e")}
    configs["s"] = TEN["s"]  # still on its way when the others are of full length
    with_it, without = tiny_pack(), tiny_pack(rung_accuracy=False)
    for pack in (with_it, without):
        for name, config in configs.items():
            pack.admit(name, config)
    expected = [advance(with_it, dict.fromkeys(configs, step)) for step in (2, 4)]
    generating = Evaluator.predict
    scored: list[list[str]] = []

    def predict(self: Evaluator, names: list[str], *rest: object) -> object:
        scored.append(list(names))
        return generating(self, names, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Evaluator, "predict", predict)
    found = [advance(without, dict.fromkeys(configs, step)) for step in (2, 4)]
    assert scored == [["r", "e"]]
    for name in configs:
        for rung, (one, other) in enumerate(zip(found, expected, strict=True)):
            counted = rung == 1 and name != "s"
            assert (one[name].correct, one[name].scored) == (
                (other[name].correct, 11) if counted else (0, 0)
            )
            assert one[name].val_loss == other[name].val_loss


def test_train_loss_is_the_mean_over_the_steps_since_the_last_report() -> None:
    whole, parts = tiny_pack(), tiny_pack()
    for pack in (whole, parts):
        pack.admit("s", TEN["s"])
    one_by_one = [advance(parts, {"s": step})["s"].train_loss for step in range(1, 7)]
    assert advance(whole, {"s": 2})["s"].train_loss == pytest.approx(sum(one_by_one[:2]) / 2)
    assert advance(whole, {"s": 6})["s"].train_loss == pytest.approx(sum(one_by_one[2:]) / 4)


def test_variants_without_a_router_report_none() -> None:
    pack = tiny_pack()
    pack.admit("s", TEN["s"])
    report = advance(pack, {"s": 1})["s"]
    assert report.router_load == ()
    assert report.router_entropy is None


def test_only_the_trials_with_a_target_are_trained() -> None:
    pack = tiny_pack()
    pack.admit("s", TEN["s"])
    pack.admit("e", TEN["e"])
    seen: list[tuple[int, int]] = []
    pack.advance({"s": 3}, lambda: seen.append((pack.running["s"].step, pack.running["e"].step)))
    assert seen == [(1, 0), (2, 0), (3, 0)]
    assert not pack.running["e"].reports


def test_the_base_never_changes() -> None:
    pack = tiny_pack(dtype=torch.float32)
    parameters = [p for p in pack.base.model.parameters() if not p.requires_grad]
    before = [p.clone() for p in parameters]
    for name, config in TEN.items():
        pack.admit(name, config)
    advance(pack, dict.fromkeys(TEN, 3))
    assert all(torch.equal(p, q) for p, q in zip(parameters, before, strict=True))
    assert all(p.grad is None for p in parameters)


def test_released_trials_leave_the_base_as_it_was() -> None:
    pack = tiny_pack()
    keys = pack.base.model.state_dict().keys()
    for name, config in TEN.items():
        pack.admit(name, config)
    for name in [*TEN, "never-there"]:
        pack.release(name)
    assert pack.base.model.state_dict().keys() == keys
    assert not pack.running


def test_size_counts_the_trial() -> None:
    pack = tiny_pack()
    pack.admit("r", TEN["r"])
    size = pack.size("r")
    assert size.trainable == sum(t.numel() for t in pack.host.tensors("r").values())
    assert size.base_activated == pack.base.activated


def test_tests_are_scored_split_by_split() -> None:
    task = tiny_task(test=7)
    task = dataclasses.replace(
        task, tests=(*task.tests, Split("hard", task.validation.examples[:3], SCORER))
    )
    pack = tiny_pack(task=task)
    for name in ("s", "e"):
        pack.admit(name, TEN[name])
    scores = pack.count_tests(pack.predict_tests(["s", "e"]))
    for name in ("s", "e"):
        assert {split: scored for split, (_, scored) in scores[name].items()} == {
            "test": 7,
            "hard": 3,
        }
        assert all(0 <= correct <= scored for correct, scored in scores[name].values())


def test_a_name_can_be_used_once_at_a_time() -> None:
    pack = tiny_pack()
    pack.admit("s", TEN["s"])
    with pytest.raises(AdapterError, match="remove it first"):
        pack.admit("s", TEN["s"])


def test_a_batch_smaller_than_the_group_is_refused() -> None:
    pack = tiny_pack(ranks=Ranks(rank=0, size=4))
    with pytest.raises(ConfigError, match="batch_size 3 is smaller than the 4 workers"):
        pack.admit("s", trial(SingleConfig(rank=2), batch_size=3))


def test_fewer_validation_examples_than_workers_are_refused() -> None:
    with pytest.raises(ConfigError, match="4 workers per group need at least as many"):
        tiny_pack(task=tiny_task(validation=3), ranks=Ranks(rank=0, size=4))


def test_a_length_with_no_room_for_an_answer_is_refused_and_leaves_nothing_behind() -> None:
    pack = tiny_pack()
    with pytest.raises(ConfigError, match="max_length"):
        pack.admit("s", trial(SingleConfig(rank=2), max_length=1))
    pack.admit("s", trial(SingleConfig(rank=2)))


def test_a_base_without_room_for_an_answer_is_refused_at_once() -> None:
    task = tiny_task()
    scorer = dataclasses.replace(SCORER, max_new_tokens=64)
    long = dataclasses.replace(task, tests=(dataclasses.replace(task.tests[0], scorer=scorer),))
    with pytest.raises(ConfigError, match=re.escape("test generates up to 64 tokens")):
        tiny_pack(task=long)


def test_advance_goes_on_where_the_last_rung_was() -> None:
    pack = tiny_pack()
    config = trial(RoutedConfig(rank=2, num_experts=2, top_k=1), max_steps=4, warmup_steps=1)
    pack.admit("r", config)
    for step in (1, 3, 4):
        report = pack.advance({"r": step})["r"]
        assert isinstance(report, Report)
        assert report.step == step
    assert pack.running["r"].step == 4
