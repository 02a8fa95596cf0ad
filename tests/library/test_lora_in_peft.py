"""LoRA adapters load in unmodified `peft`, without a word from it, and answer the same."""

import dataclasses
from pathlib import Path

import pytest
import torch
from peft import PeftConfig, PeftModel, PeftType

from contracts.adapters import SIX, add_random, token_ids
from contracts.bases import tiny_base
from perft.checkpoint import save_adapter
from perft.config import AdapterConfig, LoraAttentionConfig, LoraExpertsConfig
from perft.injection import AdapterHost

LORA: dict[str, AdapterConfig] = {
    "lora-qv": SIX["lora-qv"],
    "lora-qv-dropout": dataclasses.replace(SIX["lora-qv"], alpha=1.5, dropout=0.3),
    "lora-qv-last-layer": dataclasses.replace(SIX["lora-qv"], layers="last:1"),
    "lora-attention": LoraAttentionConfig(rank=2),
    "lora-router": SIX["lora-router"],
    "lora-router-last-layer": dataclasses.replace(SIX["lora-router"], layers="last:1"),
    "lora-experts": LoraExpertsConfig(rank=3),
    "lora-experts-last-layer": LoraExpertsConfig(rank=2, alpha=1.0, layers="last:1"),
}


@pytest.mark.parametrize("family", ["olmoe", "mixtral"])
@pytest.mark.parametrize("config", LORA.values(), ids=LORA)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@torch.no_grad()
def test_logits_in_peft_are_ours(
    family: str, config: AdapterConfig, dtype: torch.dtype, tmp_path: Path
):
    host, ids = AdapterHost(tiny_base(family, dtype)), token_ids(3)
    alone = host.model(ids).logits
    add_random(host, "a", config)
    host.activate("a")
    save_adapter(host, "a", tmp_path)
    wanted = host.model(ids).logits
    found = PeftModel.from_pretrained(tiny_base(family, dtype), tmp_path)(ids).logits
    torch.testing.assert_close(
        found, wanted, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12
    )
    assert (wanted - alone).abs().max() > 0.1


@pytest.mark.parametrize("config", LORA.values(), ids=LORA)
def test_peft_finds_a_lora_and_as_many_parameters(config: AdapterConfig, tmp_path: Path):
    host = AdapterHost(tiny_base("olmoe"))
    host.add("a", config)
    save_adapter(host, "a", tmp_path)
    assert PeftConfig.from_pretrained(tmp_path).peft_type == PeftType.LORA
    model = PeftModel.from_pretrained(tiny_base("olmoe"), tmp_path, is_trainable=True)
    trainable, _ = model.get_nb_trainable_parameters()
    assert trainable == host.size(config).trainable
