"""What became of a trial's own router: how far it went, how it routes, and whether that matters.

Measured at full length on validation examples, a mean over the layers:

    router_moved      distance of its weights from their start, over the norm of these
    router_entropy    entropy of its probabilities over that of equal ones
    router_load       share of the tokens that chose its busiest expert, over an equal share
    router_cka        agreement of its probabilities with the base router's, and
    router_nmi        of its first choices with those (`perft.evaluation.agreement`)
    start_cka         the same of the router with which it started, on the same hidden states
    start_nmi
    swap_start        how much higher the loss is with the router with which it started, and
    swap_base         with the base's router, if that has the same shape
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from perft.adapters.table import variant_of
from perft.config import TrainingConfig
from perft.evaluation.agreement import linear_cka, mutual_information
from perft.models.blocks import MoEBlock
from perft.models.compiling import uncompiled
from perft.models.routing import BaseRouting
from perft.tensor_keys import TensorKey
from perft.training.evaluator import Evaluator, Measured

EXAMPLES = 64
"""Validation examples whose tokens are routed."""


@dataclass(frozen=True)
class RouterMeasures:
    """Measures the routers of trials.

    Attributes:
        evaluator: of the pack.
    """

    evaluator: Evaluator

    def added_to(
        self, measured: dict[str, Measured], trials: Mapping[str, TrainingConfig]
    ) -> dict[str, Measured]:
        """Results of trials, and the measures of those that have a router of their own."""
        return {
            name: replace(found, others={**found.others, **self._of(name, trials[name])})
            for name, found in measured.items()
        }

    def _of(self, name: str, training: TrainingConfig) -> dict[str, float]:
        own = self._router(name)
        if not own:
            return {}
        start = self._start(name, training.seed)
        blocks = dict(zip(own, self._blocks(name), strict=True))
        moved = fmean(float((own[k] - start[k]).norm() / start[k].norm()) for k in own)
        return {
            "router_moved": moved,
            **self._routing(name, own, start, blocks),
            **self._swaps(name, training, {"start": start, "base": _of_base(own, blocks)}),
        }

    def _router(self, name: str) -> dict[str, Tensor]:
        """The weights (M, D) of a trial's own router by key, layer by layer."""
        host = self.evaluator.host
        kind = variant_of(host.configs[name]).router
        tensors = host.tensors(name)
        return {
            k: t.detach() for k, t in tensors.items() if kind and TensorKey.parse(k).kind == kind
        }

    def _start(self, name: str, seed: int) -> dict[str, Tensor]:
        host, fresh = self.evaluator.host, f"{name}-start"
        host.add(fresh, host.configs[name], seed=seed)
        found = {key: tensor.clone() for key, tensor in self._router(fresh).items()}
        host.remove(fresh)
        return found

    def _blocks(self, name: str) -> list[MoEBlock]:
        blocks = self.evaluator.host.blocks
        return [blocks[i] for i in self.evaluator.host.configs[name].chosen_layers(len(blocks))]

    def _swaps(
        self,
        name: str,
        training: TrainingConfig,
        routers: Mapping[str, Mapping[str, Tensor]],
    ) -> dict[str, float]:
        """How much higher the validation loss is with each of these routers that is not empty."""
        host, swapped = self.evaluator.host, {k: f"{name}-{k}" for k, r in routers.items() if r}
        for label, other in swapped.items():
            host.load(other, host.configs[name], {**host.tensors(name), **routers[label]})
        rows = self.evaluator.rows.validation(training.max_length)
        losses = self.evaluator.losses([name, *swapped.values()], rows)
        for other in swapped.values():
            host.remove(other)
        return {f"swap_{k}": losses[other] - losses[name] for k, other in swapped.items()}

    def _routing(
        self,
        name: str,
        own: Mapping[str, Tensor],
        start: Mapping[str, Tensor],
        blocks: Mapping[str, MoEBlock],
    ) -> dict[str, float]:
        seen = self._seen(name, list(blocks.values()))
        found: dict[str, list[float]] = {}
        for key, (x_TD, base_TE) in zip(own, seen, strict=True):
            for whose, router_MD in (("router", own[key]), ("start", start[key])):
                prob_TM = (x_TD.to(router_MD.dtype) @ router_MD.T).softmax(-1)
                agreement = _agreement(prob_TM, base_TE)
                spread = _spread(prob_TM) if whose == "router" else {}
                for what, value in {**agreement, **spread}.items():
                    found.setdefault(f"{whose}_{what}", []).append(value)
        return {what: fmean(values) for what, values in found.items()}

    @torch.no_grad()
    def _seen(self, name: str, blocks: Sequence[MoEBlock]) -> Iterator[tuple[Tensor, Tensor]]:
        """By block, the hidden states of some validation tokens and the base's probabilities."""
        host, split = self.evaluator.host, self.evaluator.rows.task.validation
        rows = self.evaluator.rows.prompts(split)
        inputs: list[list[Tensor]] = [[] for _ in blocks]
        logits: list[list[Tensor]] = [[] for _ in blocks]
        before = host.active
        with ExitStack() as stack, uncompiled(host.model):
            for block, its_inputs, its_logits in zip(blocks, inputs, logits, strict=True):
                stack.callback(block.entry.register_forward_pre_hook(_keeps(its_inputs)).remove)
                for handle in block.watch(_keeps_logits(its_logits)):
                    stack.callback(handle.remove)
            host.activate(name)
            stack.callback(host.activate, before)
            for i in range(min(EXAMPLES, len(rows))):
                ids = torch.tensor(rows.row(i)[0].tolist(), device=host.model.device)
                host.model(input_ids=ids[None])
        for its_inputs, its_logits in zip(inputs, logits, strict=True):
            yield torch.cat(its_inputs), torch.cat(its_logits).float().softmax(-1)


def _of_base(own: Mapping[str, Tensor], blocks: Mapping[str, MoEBlock]) -> dict[str, Tensor]:
    """The base's routers in place of a trial's own; empty if a shape differs."""
    weights = {k: b.scorer.get_parameter(b.scorer_weight).detach() for k, b in blocks.items()}
    if any(weights[key].shape != router.shape for key, router in own.items()):
        return {}
    return {key: weights[key].to(router.dtype) for key, router in own.items()}


def _agreement(prob_TM: Tensor, base_TE: Tensor) -> dict[str, float]:
    return {
        "cka": linear_cka(prob_TM, base_TE),
        "nmi": mutual_information(prob_TM.argmax(-1), base_TE.argmax(-1)),
    }


def _spread(prob_TM: Tensor) -> dict[str, float]:
    experts = prob_TM.shape[-1]
    load_M = torch.bincount(prob_TM.argmax(-1), minlength=experts)
    entropy = float(torch.special.entr(prob_TM).sum(-1).mean())
    return {
        "entropy": entropy / math.log(experts) if experts > 1 else 0.0,
        "load": float(load_M.max() / load_M.sum() * experts),
    }


def _keeps(kept: list[Tensor]) -> Any:
    def keep(_module: nn.Module, args: tuple[Any, ...]) -> None:
        kept.append(args[0].reshape(-1, args[0].shape[-1]))

    return keep


def _keeps_logits(kept: list[Tensor]) -> Any:
    def keep(routing: BaseRouting) -> None:
        kept.append(routing.logits_TE.reshape(-1, routing.logits_TE.shape[-1]))

    return keep
