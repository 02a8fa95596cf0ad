"""How much two routers agree, whatever they call their experts.

Both measures stay the same if experts change places, and compare routers of different numbers of
experts. Shapes: T tokens, M experts of one router, E of the other.
"""

import torch
from torch import Tensor


def linear_cka(first_TM: Tensor, second_TE: Tensor) -> float:
    """Linear centred kernel alignment of two routers' probabilities (arXiv 1905.00414), in [0, 1].

    0 if one of them is the same for all tokens.
    """
    first, second = (each.double() - each.double().mean(0) for each in (first_TM, second_TE))
    norm = (first.T @ first).norm() * (second.T @ second).norm()
    return float((first.T @ second).square().sum() / norm) if norm > 0 else 0.0


def mutual_information(first_T: Tensor, second_T: Tensor) -> float:
    """The mutual information of two routers' first choices over the mean of their entropies.

    0 if they are independent, or one is always the same; 1 if each tells the other.
    """
    joint = torch.zeros(int(first_T.max()) + 1, int(second_T.max()) + 1, dtype=torch.float64)
    ones = torch.ones(len(first_T), dtype=torch.float64)
    joint.index_put_((first_T.cpu(), second_T.cpu()), ones, accumulate=True)
    # Counted first and divided then, so that the entropy of a single choice is exactly 0.
    shares = [counts / len(first_T) for counts in (joint.sum(1), joint.sum(0), joint)]
    *entropies, together = (float(torch.special.entr(each).sum()) for each in shares)
    mean = sum(entropies) / 2
    return max(0.0, sum(entropies) - together) / mean if mean > 0 else 0.0
