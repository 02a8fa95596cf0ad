"""The PEFT expert D(x), batched: M of them are two matrix products, never a loop over experts.

Shapes: T tokens, D hidden size, M PEFT experts, R rank, H = M R.

(arXiv 2411.08212, section 3.) The form defines D (`perft.adapters.forms`). `perft_down` holds the
first product's weights, `perft_up` the second's, transposed. Routed experts are computed dense and
masked, for every token, with gates that multiply the bottleneck; or grouped (`grouped.py`), where
that is cheaper (`cost.py`). Both give the same result, and a token that is not routed to an expert
gets exactly zero from it. Weights are masters in fp32 (fp64 on an fp64 base); products run in the
dtype of the hidden states.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module

from torch import Tensor
from torch.nn import functional as F

from perft.adapters.cost import is_grouped
from perft.adapters.dropout import NO_DROP, Drop
from perft.adapters.experts import ExpertsConfig
from perft.adapters.forms import FORMS
from perft.adapters.grouped import grouped_experts
from perft.adapters.products import Products
from perft.adapters.routing import Routing, gates_of
from perft.adapters.weights import Weights


def apply_experts(
    config: ExpertsConfig,
    weights: Weights,
    x_TD: Tensor,
    drop: Drop = NO_DROP,
    routing: Routing | None = None,
) -> Tensor:
    """Sums the PEFT experts' outputs, weighted by the routing.

    Args:
        config: rank, scale and form of the experts.
        weights: the tensors of their form, `perft_down` and `perft_up` (M, R, D) among them.
        x_TD: hidden states that enter the MoE block.
        drop: dropout of this place, none in evaluation.
        routing: each token's experts and their weights; None gives every expert weight 1.

    Returns:
        y_TD, in the dtype of `x_TD`.
    """
    form = _products_of(config.form)(config, weights, drop)
    down_MRD, up_MRD = form.down_MRD.to(x_TD.dtype), form.up_MRD.to(x_TD.dtype)
    x_TD, activate, zero = form.zero_input(x_TD), form.activate, form.zero_hidden
    if routing is not None and is_grouped(down_MRD, routing.index_TK.shape[-1]):
        return grouped_experts(down_MRD, up_MRD, x_TD, routing, activate=activate, zero=zero)
    gate_TM = None if routing is None else gates_of(routing, len(down_MRD))
    return all_experts(down_MRD, up_MRD, x_TD, gate_TM, activate=activate, zero=zero)


@cache
def _products_of(form: str) -> Callable[[ExpertsConfig, Weights, Drop], Products]:
    """The function of a form that returns its experts as products."""
    found: Callable[[ExpertsConfig, Weights, Drop], Products]
    found = import_module(FORMS[form].mathematics).products
    return found


def all_experts(
    down_MRD: Tensor,
    up_MRD: Tensor,
    x_TD: Tensor,
    gate_TM: Tensor | None,
    *,
    activate: Callable[[Tensor], Tensor],
    zero: Callable[[Tensor], Tensor],
) -> Tensor:
    """The sum over all M of g_j up^T f(zero(down x)): dense, and masked where a gate is zero."""
    h_TH = activate(zero(F.linear(x_TD, down_MRD.flatten(0, 1))))
    if gate_TM is not None:
        h_TMR = h_TH.view(-1, *down_MRD.shape[:2]) * gate_TM.to(h_TH.dtype).unsqueeze(-1)
        h_TH = h_TMR.flatten(1)
    return h_TH @ up_MRD.flatten(0, 1)
