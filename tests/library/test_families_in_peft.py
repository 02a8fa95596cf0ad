"""On every family, a folder that perft saved answers the same in `peft`."""

from pathlib import Path

import torch
from peft import PeftModel

import perft.hf_peft  # noqa: F401 - teaches `peft` the type PERFT
from contracts.adapters import SIX, add_random, token_ids
from contracts.bases import every_family, tiny_base
from perft.checkpoint import save_adapter
from perft.config import AdapterConfig
from perft.errors import BaseModelError
from perft.injection import AdapterHost

CONFIGS: dict[str, AdapterConfig] = {
    name: SIX[name] for name in ("perft-r", "perft-e", "lora-qv", "lora-router")
}
NOT_IN_PEFT = {
    # Its router reads the weight of a module that it never calls, where `peft` cannot follow.
    ("longcat_flash", "lora-router"),
    # `peft` 0.21 takes the path for one of the original checkpoint and renames it once more, so
    # that it does not find again what it saved itself either.
    ("mistral_large4", "lora-router"),
}


@every_family
@torch.no_grad()
def test_answers_in_peft_are_those_in_perft(family: str, tmp_path: Path):
    ids = token_ids(2)
    for name, config in CONFIGS.items():
        host = AdapterHost(tiny_base(family))
        try:
            add_random(host, "a", config)
        except BaseModelError:  # the family has no place for this variant
            continue
        if (family, name) in NOT_IN_PEFT:
            continue
        host.activate("a")
        save_adapter(host, "a", tmp_path / name)
        inputs = {"input_ids": ids}
        if host.model.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = ids
        model = PeftModel.from_pretrained(tiny_base(family), tmp_path / name)
        torch.testing.assert_close(
            model(**inputs).logits, host.model(**inputs).logits, rtol=0, atol=1e-6, msg=name
        )
