"""What a row costs in a base's cache, and the cache that stays where it is."""

import pytest
import torch

from contracts.adapters import token_ids
from contracts.bases import every_family_but, tiny_base
from perft.models.families import FAMILIES
from perft.models.kv_cache import FixedCache, cache_size

SEQ2SEQ = [name for name, family in FAMILIES.items() if family.encoder_decoder]


def test_a_token_costs_its_keys_and_values() -> None:
    size = cache_size(tiny_base("olmoe", torch.float32))  # 2 layers, 2 heads of 8
    assert size.per_row == 0
    assert size.per_token == 2 * 2 * (2 * 8) * 4
    assert size.of_row(10) == 10 * size.per_token


def test_states_of_a_row_do_not_grow_with_it() -> None:
    size = cache_size(tiny_base("qwen3_next", torch.float32))  # linear and full attention
    assert size.per_token == 2 * (2 * 8) * 4
    assert size.per_row > 0


@every_family_but(*SEQ2SEQ)
def test_every_cache_has_a_size(family: str) -> None:
    size = cache_size(tiny_base(family))
    assert size.per_token > 0
    assert size.per_row >= 0


def test_size_is_asked_of_the_base_once() -> None:
    model = tiny_base("olmoe")
    passes: list[object] = []
    model.register_forward_hook(lambda *_: passes.append(1))
    cache_size(model)
    first = len(passes)
    cache_size(model)
    assert first == len(passes) == 2


@torch.no_grad()
def test_passes_over_a_fixed_cache_stay_in_its_memory_and_see_what_a_growing_one_holds() -> None:
    model, ids = tiny_base("deepseek_v3"), token_ids(3, length=7)  # keys wider than values
    cache = FixedCache(model, rows=5, columns=12)
    at = [tensor.data_ptr() for tensors in cache._layers for tensor in tensors]
    position = torch.arange(6).expand(3, 6)
    model(input_ids=ids[:, :6], position_ids=position, past_key_values=cache.filled(slice(1, 4), 6))
    cache.move(torch.tensor([3, 1]))  # the last and the first of the three
    column_B = torch.tensor([6, 6])
    mask = torch.arange(12) <= column_B[:, None]
    found = model(
        input_ids=ids[[2, 0], 6:],
        position_ids=column_B[:, None],
        attention_mask=mask[:, None, None],
        past_key_values=cache.continued(2, 12, column_B),
    ).logits[:, -1]
    torch.testing.assert_close(found, model(ids).logits[[2, 0], -1], rtol=1e-10, atol=1e-12)
    assert at == [tensor.data_ptr() for tensors in cache._layers for tensor in tensors]
    cache.clear()
    assert not any(tensor.any() for tensors in cache._layers for tensor in tensors)


def test_a_pass_over_written_rows_that_gives_no_mask_is_refused() -> None:
    model = tiny_base("olmoe")
    cache = FixedCache(model, 1, 8).continued(1, 8, torch.tensor([3]))
    with pytest.raises(NotImplementedError):
        model(input_ids=token_ids(1, length=1), past_key_values=cache)
