"""Chooses the next token of each row of a batch: greedily, or by nucleus sampling.

Nucleus sampling (Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration") draws from
the smallest set of likeliest tokens that has at least the probability `top_p`.

Shapes: B rows, V tokens of the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How the tokens of a row are chosen.

    Attributes:
        temperature: divides the logits; 0 takes the likeliest token.
        top_p: probability that the drawn tokens have together, in [0, 1].
        seed: seeds the row's draws; None for a new one each time.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None

    @property
    def greedy(self) -> bool:
        """Whether nothing is drawn."""
        return self.temperature == 0.0

    def of_row(self, index: int) -> "Sampling":
        """The same for a request's row `index`: equal prompts of one request differ."""
        return self if self.seed is None else replace(self, seed=(self.seed + index) % 2**64)


@dataclass
class Sampler:
    """One row's choices: its n-th token depends on its seed and logits alone, not on neighbours.

    Attributes:
        sampling: how its tokens are chosen.
    """

    sampling: Sampling
    _draws: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._draws = np.random.default_rng(self.sampling.seed)

    def draw(self) -> float:
        """The next uniform number in [0, 1)."""
        return float(self._draws.random())


def next_tokens(logits_BV: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """The next token of each row.

    Args:
        logits_BV: logits of the rows' last positions.
        samplers: one for each row; each that is not greedy is drawn from once.
    """
    token_B = logits_BV.argmax(-1)
    drawn = [b for b, sampler in enumerate(samplers) if not sampler.sampling.greedy]
    if drawn:
        row_B = torch.tensor(drawn, device=logits_BV.device)
        token_B[row_B] = _sampled(logits_BV[row_B], [samplers[b] for b in drawn])
    tokens: list[int] = token_B.tolist()
    return tokens


def _sampled(logits_BV: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """Inverts the cumulative distribution of the sorted, kept tokens, in fp64."""
    settings = [sampler.sampling for sampler in samplers]
    temperature_B1 = _column([each.temperature for each in settings], logits_BV)
    top_p_B1 = _column([each.top_p for each in settings], logits_BV)
    draw_B1 = _column([sampler.draw() for sampler in samplers], logits_BV)
    # A tiny temperature must not make the logits infinite.
    shifted_BV = logits_BV.double() - logits_BV.double().amax(-1, keepdim=True)
    prob_BV = (shifted_BV / temperature_B1).softmax(-1)
    prob_BV, token_BV = prob_BV.sort(dim=-1, descending=True, stable=True)
    total_BV = prob_BV.cumsum(-1)
    is_kept_BV = total_BV - prob_BV < top_p_B1
    is_kept_BV[:, 0] = True
    kept_B1 = is_kept_BV.sum(-1, keepdim=True)
    mass_B1 = total_BV.gather(1, kept_B1 - 1)
    place_B1 = torch.searchsorted(total_BV, draw_B1 * mass_B1, right=True)
    return token_BV.gather(1, torch.minimum(place_B1, kept_B1 - 1)).squeeze(1)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device).unsqueeze(1)
