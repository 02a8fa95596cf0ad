"""Batched, cached, packed greedy generation equals transformers' own, prompt by prompt."""

import dataclasses

import numpy as np
import pytest
import torch

from contracts.adapters import SIX, add_random, possible
from contracts.bases import FAMILIES, VOCABULARY, tiny_base
from contracts.packs import SCORER, tiny_task, tiny_tokenizer
from perft.errors import ConfigError
from perft.evaluation import Opening, count_correct, generate, predict, prompt_rows
from perft.injection import AdapterHost
from perft.models.families import FAMILIES as SUPPORTED
from perft.ranks import Ranks
from perft.tasks import Split

families = pytest.mark.families

PAD, EOS, NEW = 0, 1, 8


def prompts(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(2, VOCABULARY, rng.integers(1, 14)).astype(np.int32) for _ in range(count)]


def eager_to_end(host: AdapterHost) -> None:
    """Makes the end of sequence likely, so that rows of one batch end at different steps."""
    head = host.model.get_output_embeddings().weight
    with torch.no_grad():
        head[EOS] = head[2:12].mean(0) * 5


def host_with(family: str) -> AdapterHost:
    # Its attention turns the mask of an fp64 base into infinities.
    dtype = torch.float32 if family == "granitemoe_swa" else torch.float64
    host = AdapterHost(tiny_base(family, dtype))
    eager_to_end(host)
    for seed, (name, config) in enumerate(possible(host, SIX).items()):
        add_random(host, name, config, seed)
    return host


def naive(host: AdapterHost, name: str | None, prompt: np.ndarray) -> list[int]:
    """Transformers' greedy decoding of one prompt, without cache and padding."""
    host.activate(name)
    ids_1S = torch.from_numpy(prompt.astype(np.int64)).unsqueeze(0)
    with torch.no_grad():
        out_1S = host.model.generate(
            input_ids=ids_1S,
            attention_mask=torch.ones_like(ids_1S),
            do_sample=False,
            use_cache=False,
            max_new_tokens=NEW,
            pad_token_id=PAD,
            eos_token_id=EOS,
        )
    host.activate(None)
    new = out_1S[0, len(prompt) :].tolist()
    return new[: new.index(EOS)] if EOS in new else new


def batched(host: AdapterHost, names: list[str | None], some: list[np.ndarray]) -> dict:
    openings = {name: [Opening(prompt, NEW) for prompt in some] for name in names}
    return generate(host, openings, pad=PAD, eos=EOS, ranks=Ranks())


# One with linear attention among those that are always tried.
@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=() if family in (*FAMILIES, "kimi_linear") else families)
        for family in sorted(SUPPORTED)
        if not SUPPORTED[family].encoder_decoder
    ],
)
def test_generation_equals_transformers_prompt_by_prompt(family: str) -> None:
    host = host_with(family)
    names: list[str | None] = [*host.configs, None]
    some = prompts(4)
    found = batched(host, names, some)
    lengths = set()
    for name in names:
        expected = [naive(host, name, prompt) for prompt in some]
        assert found[name] == expected, name
        lengths |= {len(row) for row in expected}
    if family in FAMILIES:
        assert len(lengths) > 2, "rows end at different steps, or the test shows little"
        assert NEW in lengths


def test_neither_the_pack_nor_the_batch_matters() -> None:
    host = host_with("olmoe")
    some = prompts(5, seed=1)
    together = batched(host, list(SIX), some)
    for name in SIX:
        assert batched(host, [name], some)[name] == together[name]
        assert [batched(host, [name], [p])[name][0] for p in some] == together[name]
    assert batched(host, list(SIX), some[::-1])["perft-e"] == together["perft-e"][::-1]


def test_adapters_may_have_rows_of_their_own_with_room_of_their_own() -> None:
    host = host_with("olmoe")
    some = prompts(6, seed=2)
    whole = batched(host, ["perft-s", "perft-e"], some)
    rows = {"perft-s": [(4, 1), (0, 3)], "perft-e": [(1, 5), (2, 2), (5, NEW)]}
    openings = {name: [Opening(some[i], room) for i, room in of] for name, of in rows.items()}
    found = generate(host, openings, pad=PAD, eos=EOS, ranks=Ranks())
    for name, of in rows.items():
        assert found[name] == [whole[name][i][:room] for i, room in of]


def test_no_prompts_give_no_outputs() -> None:
    assert batched(host_with("olmoe"), ["perft-s", "perft-e"], []) == {
        "perft-s": [],
        "perft-e": [],
    }


def predictions(host: AdapterHost, split: Split, ranks: Ranks | None = None) -> dict:
    tokenizer = tiny_tokenizer()
    return predict(
        host,
        ["perft-s", "perft-e"],
        split,
        prompts=prompt_rows(split, tokenizer, 64),
        tokenizer=tokenizer,
        ranks=ranks or Ranks(),
    )


def test_predictions_are_judged_one_by_one_and_counted() -> None:
    host = host_with("olmoe")
    split = tiny_task(validation=9).validation
    found = predictions(host, split)
    for name, rows in found.items():
        assert [row.index for row in rows] == list(range(9))
        for row, example in zip(rows, split.examples, strict=True):
            assert row.extracted == SCORER.extract(row.output)
            assert row.correct == SCORER.is_correct(row.output, example.answer)
            ids = [int(word[1:]) for word in example.prompt.split()]
            assert row.output.split() == [
                f"w{i}"
                for i in naive(host, name, np.array(ids))[: SCORER.max_new_tokens]
                if i > 2  # special tokens are left out
            ]
    counts = count_correct(found, Ranks())
    assert counts == {name: sum(row.correct for row in rows) for name, rows in found.items()}


class Apart(Ranks):
    """Ranks that do not talk; each has the whole base."""

    def all_reduce_(self, tensors: object) -> None:
        pass

    def max(self, count: int) -> int:
        return count


def test_ranks_share_the_split_without_gap_or_overlap() -> None:
    host = host_with("olmoe")
    split = tiny_task(validation=5).validation
    whole = predictions(host, split)["perft-s"]

    # A rank stops early where it would wait for the other, which changes no output.
    parts = [predictions(host, split, Apart(rank, 2))["perft-s"] for rank in range(2)]
    assert sorted([*parts[0], *parts[1]], key=lambda row: row.index) == whole


def test_a_rank_without_examples_has_no_predictions() -> None:
    host = host_with("olmoe")
    split = tiny_task(validation=1).validation
    none, one = (predictions(host, split, Apart(rank, 2)) for rank in range(2))
    assert none == {"perft-s": [], "perft-e": []}
    assert one == predictions(host, split)


def test_answers_that_do_not_fit_the_base_are_refused() -> None:
    split = tiny_task().validation
    wide = dataclasses.replace(split, scorer=dataclasses.replace(SCORER, max_new_tokens=64))
    with pytest.raises(ConfigError, match="up to 64 tokens and the base takes only 64 in all"):
        prompt_rows(wide, tiny_tokenizer(), 64)


def test_long_prompts_lose_their_beginning_and_leave_room_for_the_answer() -> None:
    split = tiny_task().validation
    rows = prompt_rows(split, tiny_tokenizer(), 7)
    for i, example in enumerate(split.examples):
        ids = [int(word[1:]) for word in example.prompt.split()]
        assert rows.row(i)[0].tolist() == ids[-3:]
