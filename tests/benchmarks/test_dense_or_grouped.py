"""The balance that is measured is the one at which the rule changes its mind."""

from pathlib import Path

import pytest

from perft.adapters.cost import grouped_pays

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.parametrize("size", [(64, 8, 64), (128, 1, 16)])
def test_a_machine_that_keeps_to_the_rule_gives_its_balance(size: tuple[int, int, int]) -> None:
    from dense_or_grouped import MOVED_PER_FLOP, even_balance

    num_experts, top_k, rank = size
    flops, balance, width = 1e12, 50.0, 2
    dense = num_experts * rank / flops
    grouped = top_k * (rank + MOVED_PER_FLOP * width * balance) / flops
    found = even_balance(size, dense, grouped, width)
    assert found == pytest.approx(balance)
    even = even_balance(size, 1.0, 1.0, width)  # where both take the same, the rule is at its edge
    for factor, wanted in ((0.99, True), (1.01, False)):
        assert grouped_pays(*size, element_bytes=width, balance=factor * even) is wanted


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_measures_and_says_the_balance_of_this_machine(
    dtype: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import dense_or_grouped

    monkeypatch.setattr(dense_or_grouped, "HIDDEN", 32)
    monkeypatch.setattr(dense_or_grouped, "SIZES", [(8, 2, 16), (16, 1, 16)])
    dense_or_grouped.main(device="cpu", tokens=32, turns=1, dtype=dtype, threads=1)
    printed = capsys.readouterr().out
    assert "The balance here: " in printed
    assert "The rule's: " in printed


def test_a_dtype_without_a_balance_is_measured_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import dense_or_grouped

    monkeypatch.setattr(dense_or_grouped, "BALANCE", {})
    monkeypatch.setattr(dense_or_grouped, "SIZES", [(8, 2, 16)])
    dense_or_grouped.main(device="cpu", tokens=8, turns=1, dtype="float32", threads=1)
    assert "The rule has none: it computes dense." in capsys.readouterr().out
