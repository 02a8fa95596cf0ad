"""Batched greedy generation with a KV cache, for the rows of many adapters at once.

Shapes: B rows, S tokens so far.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from perft.injection import AdapterHost, rows_of
from perft.ranks import Ranks

Ids = npt.NDArray[np.int32]


@torch.no_grad()
def generate(
    host: AdapterHost,
    names: Sequence[str | None],
    prompts: Sequence[Ids],
    *,
    max_new_tokens: int,
    pad: int,
    eos: int,
    ranks: Ranks,
) -> dict[str | None, list[list[int]]]:
    """Continues every prompt with every adapter, greedily, until end of sequence.

    Args:
        host: the base with the adapters on it.
        names: the adapters; None is the base alone.
        prompts: token ids of each prompt; may be empty on some rank.
        max_new_tokens: limit per prompt.
        pad: token id of padding, which goes on the left.
        eos: token id that ends a row.
        ranks: all ranks run the same number of forward passes.

    Returns:
        For each adapter, for each prompt, the new token ids without end of sequence.
    """
    # A rank without prompts still takes part in the collectives of a sharded base.
    rows = list(prompts) or [np.array([eos], dtype=np.int32)]
    device = host.model.device
    ids_BS, mask_BS = _left_padded(rows * len(names), pad, device)
    layout = rows_of(dict.fromkeys(names, len(rows)))
    new: list[Tensor] = []
    done_B = torch.zeros(len(ids_BS), dtype=torch.bool, device=device)
    position_BS = (mask_BS.cumsum(1) - 1).clamp(min=0)
    cache = None
    for _ in range(max_new_tokens):
        with host.using(layout):
            out = host.model(
                input_ids=ids_BS,
                attention_mask=mask_BS,
                position_ids=position_BS,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        cache = out.past_key_values
        next_B = out.logits[:, -1].argmax(-1).masked_fill(done_B, eos)
        done_B = done_B | (next_B == eos)
        new.append(next_B)
        if _all_done(done_B, ranks):
            break
        ids_BS = next_B.unsqueeze(1)
        mask_BS = torch.cat([mask_BS, mask_BS.new_ones(len(mask_BS), 1)], dim=1)
        position_BS = position_BS[:, -1:] + 1
    outputs = [_until(row, eos) for row in torch.stack(new, dim=1).tolist()]
    per_name = len(rows)
    return {
        name: outputs[i * per_name : i * per_name + len(prompts)] for i, name in enumerate(names)
    }


def _left_padded(rows: Sequence[Ids], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    length = max(len(row) for row in rows)
    ids = np.full((len(rows), length), pad, dtype=np.int64)
    mask = np.zeros((len(rows), length), dtype=np.int64)
    for b, row in enumerate(rows):
        ids[b, length - len(row) :] = row
        mask[b, length - len(row) :] = 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


def _all_done(done_B: Tensor, ranks: Ranks) -> bool:
    waiting = (~done_B).sum()
    ranks.add_up([waiting])
    return not bool(waiting)


def _until(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos)] if eos in ids else ids
