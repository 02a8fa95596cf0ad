"""A base with a merged LoRA adapter computes what base and adapter compute."""

import pytest
import torch

from contracts.adapters import ONE_OF_EACH, add_random, possible, token_ids
from contracts.bases import answer, every_family, tiny_base
from perft.adapters.table import TABLE
from perft.errors import AdapterError
from perft.injection import AdapterHost
from perft.injection.merging import merge_into_base

MERGEABLE = {n: c for n, c in ONE_OF_EACH.items() if TABLE[n].attach != "moe block"}

# Families whose code computes a part in fp32, whatever the base's dtype.
IN_FP32 = ("beam", "granitemoe_swa", "inkling2", "inkling2_text", "nemotron_h")


@every_family
@torch.no_grad()
def test_merged_is_base_and_adapter(family: str) -> None:
    dtype = torch.float32 if family == "granitemoe_swa" else torch.float64
    host = AdapterHost(tiny_base(family, dtype))
    before = {key: tensor.clone() for key, tensor in host.model.state_dict().items()}
    ids = token_ids(3)
    alone = answer(host.model, ids)
    some = possible(host, MERGEABLE)
    assert some
    for seed, (name, config) in enumerate(some.items()):
        add_random(host, name, config, seed)
        host.activate(name)
        expected = answer(host.model, ids)
        merge_into_base(host, name)
        assert host.configs == {}
        found = answer(host.model, ids)
        assert (found - expected).abs().max() < (1e-5 if family in IN_FP32 else 1e-9), name
        assert (found - alone).abs().max() > 1e-4, name
        host.model.load_state_dict(before)


@pytest.mark.parametrize("name", [n for n in ONE_OF_EACH if n not in MERGEABLE])
def test_what_runs_beside_a_block_is_refused(name: str) -> None:
    host = AdapterHost(tiny_base("olmoe"))
    host.add(name, ONE_OF_EACH[name])
    with pytest.raises(AdapterError, match=f"{name} runs beside each MoE block"):
        merge_into_base(host, name)
    assert name in host.configs
