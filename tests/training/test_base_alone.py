"""The score of the base alone equals what the base does without perft."""

import dataclasses
import math
from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional as F

from contracts.bases import tiny_base
from contracts.packs import TEN, advance, tiny_pack, tiny_task, tiny_tokenizer, trial
from contracts.pairs import MIXED, pair_task
from perft.base_score import BaseScore
from perft.config import SingleConfig
from perft.tasks import Scorer, Split
from perft.training.base_alone import predict_base, score_base
from perft.training.pack import Pack

TRAINING = TEN["r"].training


def scored(pack: Pack) -> BaseScore:
    return score_base(pack, TRAINING, predict_base(pack))


def plain_loss(pack: Pack, model: torch.nn.Module) -> float:
    """Mean cross-entropy of the validation answers, a row at a time."""
    tokens = pack.rows.validation(TRAINING.max_length)
    losses = []
    for i in range(len(tokens)):
        ids, free = tokens.row(i)
        ids_S = torch.tensor(ids.tolist())
        logits_SV = model(input_ids=ids_S[None]).logits[0, :-1]
        losses.append(F.cross_entropy(logits_SV, ids_S[1:], reduction="none")[max(free, 1) - 1 :])
    return float(torch.cat(losses).mean())


def plain_answer(model: torch.nn.Module, prompt: list[int], most: int) -> str:
    """Greedy generation without a cache."""
    tokenizer, ids = tiny_tokenizer(), list(prompt)
    while len(ids) < len(prompt) + most:
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == tokenizer.eos_token_id:
            break
    return tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True)


@pytest.mark.parametrize("family", ["olmoe", "mixtral"])
@torch.no_grad()
def test_the_base_alone_is_a_plain_forward_pass(family: str) -> None:
    pack, model = tiny_pack(family), tiny_base(family, torch.float64)
    found, predictions = scored(pack), predict_base(pack)
    assert found.val_loss == pytest.approx(plain_loss(pack, model), rel=1e-12)
    splits: Iterator[Split] = iter((pack.task.validation, *pack.task.tests))
    for split, counted in zip(splits, (found.validation, *found.tests.values()), strict=True):
        prompts = pack.rows.prompts(split)
        answers = [plain_answer(model, prompts.row(i)[0].tolist(), 4) for i in range(len(prompts))]
        assert [row.output for row in predictions[split.name]] == answers
        right = sum(
            answer.split()[:1] == [example.answer]
            for answer, example in zip(answers, split.examples, strict=True)
        )
        assert counted == (right, len(answers))
    assert found.accuracy == found.validation.correct / 11


def test_trials_on_the_base_do_not_change_its_score() -> None:
    """Not even by a bit."""
    before = scored(tiny_pack(dtype=torch.float32))
    pack = tiny_pack(dtype=torch.float32, slots=len(TEN))
    for name, config in TEN.items():
        pack.admit(name, config)
    advance(pack, dict.fromkeys(TEN, 10))
    assert scored(pack) == before


def test_of_pairs_the_base_prefers_neither_answer() -> None:
    pack = tiny_pack(task=pair_task())
    assert predict_base(pack) == {}
    found = score_base(pack, MIXED["s"].training, {})
    assert found.val_loss == pytest.approx(math.log(2))
    assert (found.accuracy, found.is_tie, found.tests) == (0.5, True, {})


def test_the_loss_on_pairs_is_that_of_an_adapter_that_does_nothing_yet() -> None:
    """A trial's first loss, before its first step, for both objectives."""
    for objective in ("dpo", "sft"):
        pack = tiny_pack(task=pair_task())
        config = trial(SingleConfig(rank=2), objective=objective, lr=1e-12)
        pack.admit("zero", config)
        report = advance(pack, {"zero": 1})["zero"]
        found = score_base(pack, config.training, {})
        assert found.objective == objective
        assert found.val_loss == pytest.approx(report.val_loss, abs=1e-9)


def test_a_task_without_accuracy_has_a_loss_alone() -> None:
    silent = Scorer(protocol="loss only", max_new_tokens=0, extract=str, matches=str.__eq__)
    task = tiny_task()
    splits = {"validation": dataclasses.replace(task.validation, scorer=silent), "tests": ()}
    pack = tiny_pack(task=dataclasses.replace(task, **splits))
    assert predict_base(pack) == {}
    found = scored(pack)
    assert (found.accuracy, found.validation, found.tests) == (None, (0, 0), {})
    assert found.val_loss == scored(tiny_pack()).val_loss
