"""Nucleus sampling: its distribution, its ends, its independence of neighbours."""

import pytest
import torch

from perft.serving.sampling import Sampler, Sampling, next_tokens

PROBABILITIES = torch.tensor([0.1, 0.4, 0.2, 0.3], dtype=torch.float64)
LOGITS_1V = PROBABILITIES.log().unsqueeze(0)


def drawn(sampling: Sampling, count: int = 3000) -> torch.Tensor:
    samplers = [Sampler(sampling.of_row(i)) for i in range(count)]
    tokens = next_tokens(LOGITS_1V.expand(count, -1), samplers)
    return torch.bincount(torch.tensor(tokens), minlength=4) / count


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [
        (1.0, 1.0, [0.1, 0.4, 0.2, 0.3]),
        (1.0, 0.5, [0, 4 / 7, 0, 3 / 7]),
        (1.0, 0.39, [0, 1, 0, 0]),
        (1.0, 0.0, [0, 1, 0, 0]),
        (1e-9, 1.0, [0, 1, 0, 0]),
        (2.0, 1.0, (PROBABILITIES.sqrt() / PROBABILITIES.sqrt().sum()).tolist()),
    ],
)
def test_tokens_have_their_probabilities(
    temperature: float, top_p: float, expected: list[float]
) -> None:
    shares = drawn(Sampling(temperature, top_p, seed=0))
    wanted = torch.tensor(expected)
    assert (shares - wanted).abs().max() < 0.04
    assert torch.equal(shares == 0, wanted == 0)


def test_temperature_zero_is_greedy_and_draws_nothing() -> None:
    sampler = Sampler(Sampling(temperature=0.0, seed=3))
    assert next_tokens(LOGITS_1V, [sampler]) == [1]
    assert sampler.draw() == Sampler(Sampling(seed=3)).draw()


def test_a_row_has_its_own_draws_among_others() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_BV = torch.randn(5, 50, generator=generator)
    kinds = [Sampling(0.5 + b, 0.9, seed=b) for b in range(4)] + [Sampling(0.0)]
    together, alone = ([Sampler(kind) for kind in kinds] for _ in range(2))
    for _ in range(20):
        each = [next_tokens(logits_BV[b : b + 1], [alone[b]])[0] for b in range(5)]
        assert next_tokens(logits_BV, together) == each


def test_without_a_seed_no_two_rows_are_alike() -> None:
    assert Sampler(Sampling()).draw() != Sampler(Sampling()).draw()
    assert Sampling(seed=2**64 - 1).of_row(1) == Sampling(seed=0)
    assert Sampling().of_row(1).seed is None
