"""A step is split over forward passes by whole trials, and no trial's gradient is changed by it."""

from itertools import chain
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from contracts.packs import TEN, advance, apart, copied, tiny_pack
from perft.errors import ConfigError
from perft.ranks import Ranks
from perft.training import stepper
from perft.training.microbatches import (
    NUMBERS_IN_CACHES,
    fewer_tokens,
    max_tokens_per_microbatch,
    microbatches,
    padded_tokens,
)
from perft.training.step import MicroBatch
from training import ranked

SHAPES = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=2),
    st.tuples(st.integers(1, 9), st.integers(1, 50)),
    min_size=1,
    max_size=8,
)


@given(shapes=SHAPES, tokens=st.integers(1, 1000))
def test_each_trial_is_in_one_microbatch_and_only_a_lone_one_exceeds_the_limit(
    shapes: dict[str, tuple[int, int]], tokens: int
) -> None:
    found = microbatches(shapes, tokens)
    order = [name for names in found for name in names]
    assert sorted(order) == sorted(shapes)
    assert [shapes[name][1] for name in order] == sorted((n for _, n in shapes.values()))[::-1]
    for names in found:
        padded = sum(shapes[n][0] for n in names) * max(shapes[n][1] for n in names)
        assert padded_tokens(names, shapes) == padded
        assert padded <= tokens or len(names) == 1


def test_a_microbatch_takes_as_many_trials_as_fit_of_those_with_rows_as_long() -> None:
    shapes = {"a": (2, 5), "b": (2, 5), "c": (2, 5), "d": (9, 9), "e": (1, 1)}
    assert microbatches(shapes, 20) == [["d"], ["a", "b"], ["c", "e"]]


@given(shapes=SHAPES, tokens=st.integers(1, 1000))
def test_after_a_lack_of_memory_the_largest_shared_microbatch_is_split(
    shapes: dict[str, tuple[int, int]], tokens: int
) -> None:
    together = microbatches(shapes, tokens)
    before = [names for names in together if len(names) > 1]
    if not before:
        with pytest.raises(ConfigError, match="--checkpointing"):
            fewer_tokens(shapes, together)
        return
    fewer = fewer_tokens(shapes, together)
    assert fewer <= tokens // 2
    largest = max(before, key=lambda names: padded_tokens(names, shapes))
    assert largest not in microbatches(shapes, fewer)


@given(hidden_size=st.integers(1, 1 << 22))
def test_a_microbatch_is_smaller_where_the_base_is_wider_but_only_on_a_lone_cpu(
    hidden_size: int,
) -> None:
    tokens = max_tokens_per_microbatch("cpu", hidden_size, 1)
    assert 1 <= tokens <= max_tokens_per_microbatch("cpu", 1, 1)
    assert tokens == 1 or tokens * hidden_size <= NUMBERS_IN_CACHES
    assert tokens >= max_tokens_per_microbatch("cpu", 2 * hidden_size, 1)
    for device, ranks in (("cpu", 2), ("cuda", 1), ("cuda", 2)):
        assert max_tokens_per_microbatch(device, hidden_size, ranks) == max_tokens_per_microbatch(
            device, 1, ranks
        )


@given(shapes=SHAPES, tokens=st.integers(1, 1000), data=st.data())
def test_trials_share_microbatches_with_those_of_their_depth_alone(
    shapes: dict[str, tuple[int, int]], tokens: int, data: st.DataObject
) -> None:
    depths = {name: data.draw(st.integers(0, 3)) for name in shapes}
    together = microbatches(shapes, tokens, depths)
    assert sorted(chain.from_iterable(together)) == sorted(shapes)
    assert all(len({depths[name] for name in names}) == 1 for names in together)


@pytest.mark.parametrize("tokens", [1, 200])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_neither_microbatches_nor_checkpointing_change_a_trial(
    tokens: int, checkpointing: bool
) -> None:
    together, other = tiny_pack(), tiny_pack(checkpointing=checkpointing)
    other.max_tokens_per_microbatch = tokens
    for name, config in TEN.items():
        together.admit(name, config)
        other.admit(name, config)
    one = advance(together, dict.fromkeys(TEN, 5))
    two = advance(other, dict.fromkeys(TEN, 5))
    for name in TEN:
        assert apart(copied(together, name), copied(other, name)) < 1e-9
        assert one[name].router_load == pytest.approx(two[name].router_load)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_a_step_without_memory_is_repeated_in_smaller_microbatches(
    error: RuntimeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, short = tiny_pack(), tiny_pack()
    for name, config in TEN.items():
        undisturbed.admit(name, config)
        short.admit(name, config)
    whole = stepper.gradients_of
    limits: list[int] = []

    def gradients_of(*args: Any, **options: Any) -> Any:
        """Runs out of memory in the second step, when every gradient is there."""
        limits.append(short.max_tokens_per_microbatch)
        found = whole(*args, **options)
        if len(limits) in (2, 3):
            raise error
        return found

    advance(undisturbed, dict.fromkeys(TEN, 4))
    monkeypatch.setattr(stepper, "gradients_of", gradients_of)
    advance(short, dict.fromkeys(TEN, 4))
    assert len(limits) == 6
    assert limits[0] == limits[1] > 2 * limits[2] > 4 * limits[3] - 2
    assert limits[3:] == [limits[3]] * 3
    for name in TEN:
        assert apart(copied(undisturbed, name), copied(short, name)) < 1e-9


def test_one_of_several_ranks_without_memory_ends_the_step_and_knows_a_smaller_microbatch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pack = tiny_pack(ranks=Ranks(1, 2))
    for name, config in ranked.configs(2).items():
        pack.admit(name, config)
    taken: list[list[MicroBatch]] = []

    def no_memory(*args: Any, **_options: Any) -> None:
        taken.append(args[4])
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(stepper, "gradients_of", no_memory)
    for _ in range(2):  # the second time as a group that has started again, with what is known
        with pytest.raises(torch.OutOfMemoryError):
            pack.train(dict.fromkeys(pack.running, 1))
    assert len(taken[0]) == 1
    assert len(taken[1]) > 1
    assert all(trial.step == 0 for trial in pack.running.values())


def test_any_other_error_ends_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    pack = tiny_pack()
    pack.admit("s", TEN["s"])

    def fail(*_args: Any, **_options: Any) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(stepper, "gradients_of", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        pack.train({"s": 1})


def test_padding_is_the_share_of_tokens_that_are_not_of_a_row() -> None:
    pack = tiny_pack()
    assert pack.padding == 0.0
    pack.admit("s", TEN["s"])
    pack.admit("d", TEN["d"])
    lengths = [[len(ids) for ids, _ in pack.running[name].batch().rows] for name in ("s", "d")]
    pack.train({"s": 1, "d": 1})
    padded = (len(lengths[0]) + len(lengths[1])) * max(map(max, lengths))
    assert pack.padding == pytest.approx(1 - sum(map(sum, lengths)) / padded)
