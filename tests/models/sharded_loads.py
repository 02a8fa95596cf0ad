"""What every rank of a test runs: loads bases of all families, each rank its own part."""

import json
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

from contracts.adapters import token_ids
from contracts.bases import answer
from perft.models.head import has_plain_head
from perft.models.load import load_base
from perft.ranks import Ranks


@torch.no_grad()
def load_and_answer(ranks: Ranks, folder: Path) -> None:
    """Writes, for each base of `folder`, its logits here and what this rank holds of it."""
    held: dict[str, float] = {}
    plain: dict[str, bool] = {}
    for place in sorted((folder / "bases").iterdir()):
        model = load_base(str(place), ranks=ranks).model
        whole = sum(parameter.numel() for parameter in model.parameters())
        held[place.name] = sum(map(_local, model.parameters())) / whole
        plain[place.name] = has_plain_head(model)
        torch.save(answer(model, token_ids(2)), folder / f"{place.name}-{ranks.rank}.pt")
    found = {"held": held, "plain": plain}
    (folder / f"found-{ranks.rank}.json").write_text(json.dumps(found))


def load_beside_a_gpu(ranks: Ranks, folder: Path) -> None:
    """The same on a machine that has GPUs, which these ranks leave alone."""
    torch._C._get_accelerator = lambda *_: torch.device("cuda")
    torch.accelerator.current_accelerator = lambda **_: torch.device("cuda")
    load_and_answer(ranks, folder)


def _local(parameter: torch.Tensor) -> int:
    return (parameter.to_local() if isinstance(parameter, DTensor) else parameter).numel()
