"""What trials on pairs report: the loss of validation pairs, and how many they prefer rightly."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from contracts.packs import advance, tiny_pack, trial
from contracts.pairs import MIXED, answer_log, pair_task, plain_margins
from perft.config import SingleConfig
from perft.tasks import Split
from perft.tasks.scoring import PREFERENCE


def test_a_rung_compares_the_loss_of_validation_pairs_and_counts_the_preferred_ones() -> None:
    pack = tiny_pack(task=pair_task())
    for name in ("s", "sft"):
        pack.admit(name, MIXED[name])
    reports = advance(pack, {"s": 5, "sft": 5})
    pairs = pack.rows.pairs(pack.task.validation, 16)
    rows = [pairs.row(i) for i in range(len(pairs))]
    with torch.no_grad():
        margins = plain_margins(pack.host, "s", rows)
        of_sft = plain_margins(pack.host, "sft", rows)
        chosen = -sum(float(answer_log(pack.host, "sft", row)) for row in rows[::2])
    assert reports["s"].val_loss == pytest.approx(float(-F.logsigmoid(2 * margins).mean()))
    assert (reports["s"].correct, reports["s"].scored) == (int((margins > 0).sum()), 11)
    assert reports["s"].measures["reward_margin"] == pytest.approx(float(2 * margins.mean()))
    # What is trained on the chosen answers alone is compared by their loss, and scored as well.
    tokens = sum(len(ids) - free for ids, free in rows[::2])
    assert reports["sft"].val_loss == pytest.approx(chosen / tokens)
    assert (reports["sft"].correct, reports["sft"].scored) == (int((of_sft > 0).sum()), 11)
    assert reports["sft"].measures == {}


def test_pairs_that_a_trial_reads_cut_are_scored_whole() -> None:
    pack = tiny_pack(task=pair_task())
    pack.admit("cut", trial(SingleConfig(rank=2), objective="dpo", max_length=4))
    report = advance(pack, {"cut": 5})["cut"]
    assert pack.rows.pairs(pack.task.validation, 4).truncated > 0
    whole = pack.rows.pairs(pack.task.validation, pack.base.positions)
    with torch.no_grad():
        rows = [whole.row(i) for i in range(len(whole))]
        assert report.correct == int((plain_margins(pack.host, "cut", rows) > 0).sum())


def test_tests_are_scored_by_preference() -> None:
    pack = tiny_pack(task=pair_task())
    pack.admit("s", MIXED["s"])
    advance(pack, {"s": 40})
    predictions = pack.predict_tests(["s"])
    rows = predictions["s"]["test"]
    pairs = pack.rows.pairs(pack.task.tests[0], pack.base.positions)
    with torch.no_grad():
        right = plain_margins(pack.host, "s", [pairs.row(i) for i in range(len(pairs))]) > 0
    assert [row.correct for row in rows] == right.tolist()
    for row, example in zip(rows, pack.task.tests[0].examples, strict=True):
        assert row.output == (example.completion if row.correct else example.rejected)
    assert pack.count_tests(predictions) == {"s": {"test": (int(right.sum()), 7)}}


def test_trials_do_learn_to_prefer() -> None:
    task = pair_task(train=60, validation=40)
    splits = {
        name: Split(name, tuple(e for e in split.examples if e.answer == "w3"), PREFERENCE)
        for name, split in (("train", task.train), ("validation", task.validation))
    }
    pack = tiny_pack("olmoe", torch.float32, task=dataclasses.replace(task, **splits))
    pack.admit("s", trial(SingleConfig(rank=4), objective="dpo", beta=0.5, lr=3e-2))
    first, last = (advance(pack, {"s": steps})["s"] for steps in (1, 60))
    assert last.val_loss < first.val_loss - 0.1
    assert last.accuracy >= 0.8
    assert last.measures["reward_margin"] > 0.5
