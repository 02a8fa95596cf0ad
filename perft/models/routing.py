"""The interface to transformers: reads the base's routing from the arguments of its experts.

Families route by softmax or sigmoid, in groups, with correction biases and scaling factors; some
compute the weights inside the router, some after it. None of that is repeated here: the routing is
what the block passes to its experts, so PERFT-E has the base's own weights by construction.

Shapes: B rows, S positions, T tokens (B S, row after row), E base experts, K experts per token.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from perft.models.families import RoutingForm


@dataclass(frozen=True)
class BaseRouting:
    """One block's routing of one forward pass.

    Attributes:
        logits_TE: the router's logits.
        weight_TK: the weight of each chosen expert's output.
        index_TK: the chosen experts.
    """

    logits_TE: Tensor
    weight_TK: Tensor
    index_TK: Tensor

    def scaled(self, factor: float) -> "BaseRouting":
        """The same with the weights times `factor`."""
        return self if factor == 1.0 else replace(self, weight_TK=self.weight_TK * factor)


Reader = Callable[[Any, tuple[Any, ...], int], BaseRouting]
"""Takes the router's output, the experts' arguments, and K."""


def _chosen(output: Any, args: tuple[Any, ...], _top_k: int) -> BaseRouting:
    """Experts take (x, indices, weights); the router returned the logits, alone or first."""
    logits_TE = output if isinstance(output, Tensor) else output[0]
    return BaseRouting(logits_TE, args[2], args[1])


def _probabilities(output: Any, args: tuple[Any, ...], _top_k: int) -> BaseRouting:
    """As `_chosen`, but the router returned probabilities first (Gemma 4)."""
    return BaseRouting(output[0].log(), args[2], args[1])


def _input_scores(output: Any, _args: tuple[Any, ...], top_k: int) -> BaseRouting:
    """The router returned (scores, logits), scores zero but for the chosen (Llama 4)."""
    scores_TE, logits_TE = output
    return BaseRouting(logits_TE, *scores_TE.topk(top_k, dim=-1))


def _top_1(output: Any, args: tuple[Any, ...], _top_k: int) -> BaseRouting:
    """Experts take (x, one-hot (T, 1, E), weights (T, 1)); no one where over capacity (Switch)."""
    _, dispatch_T1E, weight_T1 = args
    weight_T1 = weight_T1 * dispatch_T1E.sum(-1)
    return BaseRouting(output[2].flatten(0, -2), weight_T1, dispatch_T1E.argmax(-1))


def _all_gates(output: Any, _args: tuple[Any, ...], top_k: int) -> BaseRouting:
    """The router returned (top-1 mask, gates (T, E), logits), zero but for the chosen (NLLB)."""
    _, gate_TE, logits = output
    return BaseRouting(logits.flatten(0, -2), *gate_TE.topk(top_k, dim=-1))


def _sorted(output: Any, _args: tuple[Any, ...], top_k: int) -> BaseRouting:
    """The router returned the tokens' choices sorted by expert (JetMoE)."""
    _, token_N, weight_N, expert_sizes, logits_TE = output
    sizes_E = torch.tensor(expert_sizes, device=logits_TE.device)
    expert_N = torch.arange(len(sizes_E), device=logits_TE.device).repeat_interleave(sizes_E)
    gate_TE = weight_N.new_zeros(logits_TE.shape).index_put((token_N, expert_N), weight_N)
    return BaseRouting(logits_TE, *gate_TE.topk(top_k, dim=-1))


READERS: Mapping[RoutingForm, Reader] = {
    "chosen": _chosen,
    "probabilities": _probabilities,
    "input scores": _input_scores,
    "top 1": _top_1,
    "all gates": _all_gates,
    "sorted": _sorted,
}
