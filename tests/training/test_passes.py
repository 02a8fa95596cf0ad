"""A step is split over forward passes by whole trials, and no trial's gradient is changed by it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.packs import TEN, advance, apart, copied, tiny_pack
from perft.training import step
from perft.training.passes import passes

SHAPES = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=2),
    st.tuples(st.integers(1, 9), st.integers(1, 50)),
    min_size=1,
    max_size=8,
)


@given(shapes=SHAPES, tokens=st.integers(1, 1000))
def test_each_trial_is_in_one_pass_and_only_a_lone_one_exceeds_the_limit(
    shapes: dict[str, tuple[int, int]], tokens: int
) -> None:
    found = passes(shapes, tokens)
    assert [name for names in found for name in names] == list(shapes)
    for names in found:
        padded = sum(shapes[n][0] for n in names) * max(shapes[n][1] for n in names)
        assert padded <= tokens or len(names) == 1


def test_a_pass_takes_as_many_trials_as_fit() -> None:
    shapes = {"a": (2, 5), "b": (2, 5), "c": (2, 5), "d": (9, 9), "e": (1, 1)}
    assert passes(shapes, 20) == [["a", "b"], ["c"], ["d"], ["e"]]


@pytest.mark.parametrize("tokens", [1, 200])
def test_the_number_of_passes_changes_no_trial(
    tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, split = tiny_pack(), tiny_pack()
    for name, config in TEN.items():
        together.admit(name, config)
        split.admit(name, config)
    one = advance(together, dict.fromkeys(TEN, 5))
    calls: list[int] = []
    monkeypatch.setattr(step, "tokens_per_pass", lambda device: calls.append(1) or tokens)
    other = advance(split, dict.fromkeys(TEN, 5))
    assert len(calls) == 5
    for name in TEN:
        assert apart(copied(together, name), copied(split, name)) < 1e-9
        assert one[name].router_load == pytest.approx(other[name].router_load)
