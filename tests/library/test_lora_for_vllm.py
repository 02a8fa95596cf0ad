"""LoRA folders are laid out as vLLM reads them: names, settings, and the experts' flat tensors."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from contracts.adapters import ONE_OF_EACH, add_random
from contracts.bases import tiny_base
from perft.checkpoint import save_adapter
from perft.injection import AdapterHost
from perft.tensor_keys import key_of

# By variant, the last name of every module that vLLM looks for among those it can put LoRA on.
MODULES = {
    "lora-qv": {"q_proj", "v_proj"},
    "lora-attention": {"q_proj", "k_proj", "v_proj", "o_proj"},
    "lora-router": {"gate"},
    "lora-experts": {"experts"},
}
KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_[AB]\.weight")


@pytest.mark.parametrize("name", MODULES)
def test_names_and_settings_are_those_that_vllm_reads(name: str, tmp_path: Path) -> None:
    host = AdapterHost(tiny_base("olmoe"))
    add_random(host, name, ONE_OF_EACH[name])
    save_adapter(host, name, tmp_path)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    config = host.configs[name]
    assert (settings["peft_type"], settings["bias"], settings["r"]) == ("LORA", "none", config.rank)
    assert settings["lora_alpha"] / settings["r"] == config.scale
    assert isinstance(settings["target_modules"], list)
    found = [KEY.fullmatch(key) for key in load_file(tmp_path / "adapter_model.safetensors")]
    modules = {m["module"].removesuffix(".base_layer").rsplit(".", 1)[1] for m in found if m}
    assert all(found)
    assert modules == MODULES[name]


def test_the_experts_tensors_are_expert_by_expert_and_rank_by_rank(tmp_path: Path) -> None:
    host = AdapterHost(tiny_base("olmoe"))
    add_random(host, "a", ONE_OF_EACH["lora-experts"])
    save_adapter(host, "a", tmp_path)
    stored, own = load_file(tmp_path / "adapter_model.safetensors"), host.tensors("a")
    for block in host.blocks:
        prefix, experts = f"base_model.model.{block.experts_name}", block.num_experts
        for place, weight in (("", "down_proj"), (".base_layer", "gate_up_proj")):
            flat = {m: stored[f"{prefix}{place}.lora_{m}.weight"] for m in "AB"}
            # As vLLM's `_stack_moe_lora_weights` takes them apart.
            found = {
                "A": flat["A"].reshape(experts, -1, flat["A"].shape[-1]),
                "B": flat["B"].reshape(flat["B"].shape[0], -1, experts).permute(2, 0, 1),
            }
            for matrix, tensor in found.items():
                wanted = own[key_of(block.experts_name, f"{weight}_lora_{matrix}")]
                assert torch.equal(tensor, wanted.detach())
