"""The likelihood of choices equals that of one choice at a time, in float64, for every adapter."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from contracts.adapters import SIX, add_random
from contracts.bases import FAMILIES, tiny_base
from contracts.packs import SCORER, tiny_task, tiny_tokenizer
from perft.evaluation import Prediction
from perft.evaluation import loss as evaluation_loss
from perft.evaluation.likelihood import choose
from perft.evaluation.score import new_tokens
from perft.injection import AdapterHost
from perft.ranks import Ranks
from perft.tasks import Split
from perft.tasks.tokenize import tokenize_choices

CHOICES = (" w3", " w4", " w9 w10 w11", " w21 w3 w40 w41 w42")


def with_choices(count: int = 9) -> Split:
    """Examples that have two, three or four choices."""
    split = tiny_task(validation=count).validation
    examples = tuple(
        dataclasses.replace(example, choices=CHOICES[: 2 + i % 3])
        for i, example in enumerate(split.examples)
    )
    return dataclasses.replace(split, examples=examples)


def host_with(family: str = "olmoe") -> AdapterHost:
    host = AdapterHost(tiny_base(family))
    for seed, (name, config) in enumerate(SIX.items()):
        add_random(host, name, config, seed)
    return host


def found(
    host: AdapterHost,
    split: Split,
    names: list[str] | None = None,
    *,
    normalized: bool = False,
    ranks: Ranks | None = None,
) -> dict[str, list[Prediction]]:
    return choose(
        host,
        names or list(SIX),
        split,
        rows=tokenize_choices(split.examples, tiny_tokenizer(), 64),
        normalized=normalized,
        pad=0,
        ranks=ranks or Ranks(),
    )


def ids_of(text: str) -> list[int]:
    return [int(word[1:]) for word in text.split()]


@torch.no_grad()
def naive(host: AdapterHost, name: str, prompt: str, choice: str) -> float:
    """log P(choice | prompt), token by token, from full logits of one row without padding."""
    ids = ids_of(prompt) + ids_of(choice)
    host.activate(name)
    log_p_SV: Tensor = host.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    host.activate(None)
    first = len(ids_of(prompt))
    return math.fsum(float(log_p_SV[at - 1, ids[at]]) for at in range(first, len(ids)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("normalized", [False, True])
def test_the_likeliest_choice_is_taken(family: str, normalized: bool) -> None:
    host, split = host_with(family), with_choices()
    predictions = found(host, split, normalized=normalized)
    taken = set()
    for name in SIX:
        for example, prediction in zip(split.examples, predictions[name], strict=True):
            values = [
                naive(host, name, example.prompt, choice)
                / (len(choice.strip()) if normalized else 1)
                for choice in example.choices
            ]
            assert prediction.output == example.choices[values.index(max(values))]
            assert prediction.extracted == SCORER.extract(prediction.output)
            assert prediction.correct == SCORER.is_correct(prediction.output, example.answer)
            taken.add(prediction.output)
    assert len(taken) > 1, "all examples have one answer, which shows little"


def test_dividing_by_the_length_matters() -> None:
    host, split = host_with(), with_choices()
    assert found(host, split) != found(host, split, normalized=True)


def test_neither_the_pack_nor_the_batch_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    host, split = host_with(), with_choices()
    together = found(host, split)
    for name in SIX:
        assert found(host, split, [name])[name] == together[name]
    monkeypatch.setattr(evaluation_loss, "TOKENS_PER_FORWARD", 1)  # one row at a time
    assert found(host, split, ["perft-e"])["perft-e"] == together["perft-e"]


class Half(Ranks):
    """One of two ranks; the first tells its sums to the second."""

    def all_reduce_(self, tensors: list[Tensor]) -> None:
        if self.rank == 0:
            heard.extend(tensor.clone() for tensor in tensors)
        else:
            for tensor, other in zip(tensors, heard, strict=True):
                tensor += other


heard: list[Tensor] = []


def test_ranks_share_the_rows_and_each_judges_its_examples() -> None:
    host, split = host_with(), with_choices()
    heard.clear()
    whole = found(host, split)
    found(host, split, ranks=Half(0, 2))
    second = found(host, split, ranks=Half(1, 2))
    assert second == {name: rows[4:] for name, rows in whole.items()}


def test_choices_are_made_without_end_of_sequence() -> None:
    split = with_choices(2)
    rows = tokenize_choices(split.examples, tiny_tokenizer(), 64)
    prompt = ids_of(split.examples[0].prompt)
    assert [rows.row(i)[0].tolist() for i in range(2)] == [
        prompt + ids_of(choice) for choice in CHOICES[:2]
    ]
    assert [rows.row(i)[1] for i in range(2)] == [len(prompt)] * 2
    assert len(rows) == 2 + 3


def test_generation_has_room_for_the_longest_choice() -> None:
    assert new_tokens(with_choices(), tiny_tokenizer()) == 5
    assert new_tokens(tiny_task().validation, tiny_tokenizer()) == SCORER.max_new_tokens
