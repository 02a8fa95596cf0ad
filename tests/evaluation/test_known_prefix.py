"""What validation says of the answers' beginnings is what greedy generation writes, and no more."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from contracts.adapters import SIX, add_random, possible
from contracts.bases import FAMILIES, VOCABULARY, tiny_base
from contracts.packs import TEN, tiny_pack, tiny_task, tiny_tokenizer
from perft.evaluation import Opening, generate, predict, prompt_rows, validate
from perft.evaluation import score as evaluation_score
from perft.injection import AdapterHost
from perft.ranks import Ranks
from perft.training.pack import Pack

PAD, EOS, NEW = 0, 1, 6


def host_with(family: str) -> AdapterHost:
    host = AdapterHost(tiny_base(family, torch.float64))
    head = host.model.get_output_embeddings().weight
    with torch.no_grad():
        head[EOS] = head[2:12].mean(0) * 5  # rows end at different steps
    for seed, (name, config) in enumerate(possible(host, SIX).items()):
        add_random(host, name, config, seed)
    return host


def written(host: AdapterHost, name: str, prompt: np.ndarray, room: int = NEW) -> list[int]:
    """The whole answer by generation alone, with its end of sequence if it comes to one."""
    found = generate(host, {name: [Opening(prompt, room)]}, pad=PAD, eos=EOS, ranks=Ranks())
    row = found[name][0]
    return row if len(row) == room else [*row, EOS]


def changed(answer: Sequence[int], at: int) -> list[int]:
    return [*answer[:at], 2 + (answer[at] - 1) % (VOCABULARY - 2), *answer[at + 1 :]]


@pytest.mark.parametrize("family", [*FAMILIES, "kimi_linear"])
def test_what_is_known_is_the_answer_up_to_the_first_other_token(family: str) -> None:
    host = host_with(family)
    rng = np.random.default_rng(0)
    for name in host.configs:
        prompts = [rng.integers(2, VOCABULARY, n).astype(np.int32) for n in (3, 7, 5, 9)]
        answers = [written(host, name, prompt) for prompt in prompts]
        cuts = [len(answers[0]), 0, len(answers[2]) - 1, max(1, len(answers[3]) // 2)]
        given = [
            answers[0],  # as it stands
            changed(answers[1], 0),
            changed(answers[2], cuts[2]),
            answers[3][: cuts[3]],  # a reference that stops sooner
        ]
        rows = [
            (np.array([*prompt, *ids], dtype=np.int32), len(prompt))
            for prompt, ids in zip(prompts, given, strict=True)
        ]
        known = validate(host, [name], rows, PAD, Ranks()).known_prefix[name]
        assert known == {
            0: answers[0],
            1: answers[1][:1],
            2: answers[2],
            3: answers[3][: cuts[3]],
        }


def references(host: AdapterHost, name: str, prompts: Sequence[np.ndarray]) -> list[list[int]]:
    """Of every third row the answer itself, of the others one that goes another way."""
    rows = []
    for i, prompt in enumerate(prompts):
        answer = written(host, name, prompt, 4)
        rows.append(answer if i % 3 == 0 else changed(answer, (i // 3) % len(answer)))
    return rows


def test_predictions_are_the_same_whatever_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    host, tokenizer = host_with("olmoe"), tiny_tokenizer()
    split = tiny_task(validation=12).validation
    prompts = prompt_rows(split, tokenizer, 64)
    ids = [prompts.row(i)[0] for i in range(12)]
    names = ["perft-s", "perft-r", "lora-qv"]
    known_prefix = {}
    for name in names:
        given = references(host, name, ids)
        rows = [
            (np.array([*prompt, *answer], dtype=np.int32), len(prompt))
            for prompt, answer in zip(ids, given, strict=True)
        ]
        known_prefix |= validate(host, [name], rows, PAD, Ranks()).known_prefix
    generated: list[int] = []

    def counting(host: AdapterHost, openings: dict[str, list[Opening]], **rest: object) -> object:
        generated.append(sum(len(rows) for rows in openings.values()))
        return generate(host, openings, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluation_score, "generate", counting)
    plain, known = (
        predict(
            host,
            names,
            split,
            prompts=prompts,
            tokenizer=tokenizer,
            ranks=Ranks(),
            known_prefix=given,
        )
        for given in (None, known_prefix)
    )
    assert known == plain
    assert generated[0] == 36
    assert generated[1] <= 24, "a third of the answers is known whole"


@pytest.mark.parametrize("max_new_tokens", [1, 2, 4])
def test_known_answers_have_no_more_tokens_than_generated_ones(max_new_tokens: int) -> None:
    host, tokenizer = host_with("olmoe"), tiny_tokenizer()
    split = tiny_task(validation=6).validation
    scorer = dataclasses.replace(split.scorer, max_new_tokens=max_new_tokens)
    split = dataclasses.replace(split, scorer=scorer)
    prompts = prompt_rows(split, tokenizer, 64)
    known_prefix = {"perft-s": {i: written(host, "perft-s", prompts.row(i)[0]) for i in range(6)}}
    plain, known = (
        predict(
            host,
            ["perft-s"],
            split,
            prompts=prompts,
            tokenizer=tokenizer,
            ranks=Ranks(),
            known_prefix=given,
        )
        for given in (None, known_prefix)
    )
    assert known == plain


def counted(pack: Pack, name: str) -> int:
    """Right answers of a trial where it is, by generation alone."""
    split = pack.task.validation
    found = predict(
        pack.host,
        [name],
        split,
        prompts=pack.rows.prompts(split),
        tokenizer=pack.base.tokenizer,
        ranks=Ranks(),
    )
    return sum(row.correct for row in found[name])


def test_reports_count_what_generation_gets_right_also_where_prompts_are_cut() -> None:
    task = tiny_task(validation=90)
    # The last words' numbers: a count that an answer cut or continued wrongly would change.
    scorer = dataclasses.replace(
        task.validation.scorer,
        extract=lambda text: text.split()[-1] if text.split() else None,
        matches=lambda found, _label: int(found[1:]) % 3 == 0,
    )
    validation = dataclasses.replace(task.validation, scorer=scorer)
    pack = tiny_pack(task=dataclasses.replace(task, validation=validation))
    lengths = {"s": 16, "r": 9, "e": 7, "d": 5}
    for name, length in lengths.items():
        training = dataclasses.replace(TEN[name].training, max_length=length, max_steps=8)
        pack.admit(name, dataclasses.replace(TEN[name], training=training))
    reports = pack.advance(dict.fromkeys(lengths, 8))
    right = {name: counted(pack, name) for name in lengths}
    assert {name: report.correct for name, report in reports.items()} == right  # type: ignore[union-attr]
    assert all(0 < count < 90 for count in right.values())
