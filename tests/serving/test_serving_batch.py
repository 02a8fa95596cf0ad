"""A row's tokens are those of `generate`, whoever joins and leaves beside it."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest
import torch
from serving_hosts import EOS, NAMES, NEW, PAD, host_of, prompts

from perft.evaluation import Opening, generate
from perft.injection import AdapterHost
from perft.ranks import Ranks
from perft.serving.batch import Row, RunningBatch
from perft.serving.sampling import Sampler, Sampling

GREEDY = Sampling(temperature=0.0)


def row(name: str | None, prompt: Sequence[int], sampling: Sampling = GREEDY) -> Row:
    return Row(name, list(prompt), Sampler(sampling))


def finished(rows: Mapping[int, Row], prompt_lengths: Mapping[int, int]) -> Iterator[int]:
    for i, each in rows.items():
        new = each.ids[prompt_lengths[i] :]
        if len(new) == NEW or new[-1:] == [EOS]:
            yield i


def written(host: AdapterHost, arrivals: Sequence[tuple[int, Row]]) -> list[list[int]]:
    """The new tokens of rows that join before given steps, and leave when they have ended."""
    batch = RunningBatch(host, PAD)
    lengths = {i: len(each.ids) for i, (_, each) in enumerate(arrivals)}
    running: dict[int, Row] = {}
    leaving: list[Row] = []
    for step in range(200):
        joining = {i: each for i, (start, each) in enumerate(arrivals) if start == step}
        batch.advance(list(joining.values()), leaving)
        running |= joining
        leaving = [running.pop(i) for i in list(finished(running, lengths))]
    assert not running
    new = [each.ids[lengths[i] :] for i, (_, each) in enumerate(arrivals)]
    return [ids[: ids.index(EOS)] if EOS in ids else ids for ids in new]


# Of plain keys and values; of windows; of linear attention.
@pytest.mark.parametrize("family", ["olmoe", "gpt_oss", "qwen3_next"])
def test_rows_that_come_and_go_are_written_as_generate_writes_them(family: str) -> None:
    host, some = host_of(family), prompts(7)
    names = [NAMES[i % len(NAMES)] for i in range(7)]
    arrivals = [(i * 2, row(name, some[i])) for i, name in enumerate(names)]
    found = written(host, arrivals)
    assert len({len(ids) for ids in found}) > 1, "rows end at different steps"
    for i, name in enumerate(names):
        alone = generate(
            host,
            {name: [Opening(np.array(some[i], dtype=np.int32), NEW)]},
            pad=PAD, eos=EOS, ranks=Ranks(),
        )  # fmt: skip
        assert found[i] == alone[name][0], (family, i, name)


def test_a_sampled_row_alone_is_the_row_among_others() -> None:
    host, some = host_of("olmoe"), prompts(6, seed=3)
    kinds = [Sampling(0.7 + i / 10, 1 - i / 20, seed=i) for i in range(5)] + [GREEDY]

    def rows() -> list[Row]:
        return [row(NAMES[i % len(NAMES)], some[i], kinds[i]) for i in range(6)]

    together = written(host, [(i, each) for i, each in enumerate(rows())])
    for i, each in enumerate(rows()):
        assert written(host, [(0, each)]) == [together[i]]
    other = row(NAMES[0], some[0], Sampling(0.7, 1.0, seed=99))
    assert written(host, [(0, other)]) != [together[0]]


def test_a_cache_keeps_no_columns_that_nobody_needs() -> None:
    batch = RunningBatch(host_of("olmoe"), PAD)
    long, short = row(None, [5] * 40), row(None, [6])
    batch.advance([long, short], [])
    assert batch._mask_BL is not None
    assert batch._mask_BL.shape == (2, 40)
    batch.advance([], [long])
    assert batch._mask_BL.shape == (1, 2)
    assert torch.equal(batch._mask_BL, torch.ones(1, 2, dtype=torch.long))
    batch.advance([], [short])
    assert batch.rows == []
