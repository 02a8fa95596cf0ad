"""A loaded base is frozen, in evaluation mode, and complete, or it is refused."""

import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from contracts.adapters import token_ids
from contracts.bases import FAMILIES, save_base, tiny_base
from models.odd_bases import edit
from perft.errors import BaseModelError
from perft.injection import AdapterHost
from perft.models.load import load_base
from perft.models.rehearsal import rehearse
from perft.models.source import fingerprint


def weights(base: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load((base / "model.safetensors").read_bytes())


def rewrite(base: Path, tensors: dict[str, torch.Tensor]) -> None:
    (base / "model.safetensors").write_bytes(
        safetensors.torch.save(tensors, metadata={"format": "pt"})
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_loaded_base_is_frozen_in_evaluation_mode_and_answers_as_before(family, tmp_path):
    model = tiny_base(family, torch.float32)
    base = load_base(str(save_base(model, tmp_path)))
    assert base.name == str(tmp_path)
    assert base.directory == tmp_path.resolve()
    assert base.fingerprint == fingerprint(tmp_path)
    assert base.activated == AdapterHost(model).base_activated
    assert not base.model.training
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert base.tokenizer("w7 w3")["input_ids"] == [7, 3]
    with torch.no_grad():
        ids = token_ids(2)
        torch.testing.assert_close(base.model(ids).logits, model(ids).logits)


def test_base_is_fp32_on_a_cpu_unless_another_dtype_is_asked_for(saved: Path):
    assert load_base(str(saved)).model.dtype == torch.float32
    assert load_base(str(saved), dtype="bfloat16").model.dtype == torch.bfloat16


@torch.no_grad()
def test_base_answers_in_float64_too(saved: Path):
    exact = load_base(str(saved), dtype="float64").model(token_ids(2)).logits
    assert exact.dtype == torch.float64
    rounded = load_base(str(saved)).model(token_ids(2)).logits
    torch.testing.assert_close(rounded, exact.float(), rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("transposed", [False, True])
def test_experts_that_may_be_stored_in_two_layouts_are_loaded_from_both(
    transposed: bool, tmp_path: Path
):
    """As `save_pretrained` writes them, (E, O, I), and as the hub has them, (E, I, O)."""
    model = tiny_base("qwen3_vl_moe", torch.float32, moe_intermediate_size=4)
    place = save_base(model, tmp_path)
    if transposed:
        stored = weights(place).items()
        rewrite(place, {k: t.mT.contiguous() if ".experts." in k else t for k, t in stored})
    rehearse(str(place))
    ids = token_ids(2)
    torch.testing.assert_close(load_base(str(place)).model(ids).logits, model(ids).logits)


def test_tokenizer_without_padding_pads_with_the_end_token(tmp_path: Path):
    base = load_base(str(save_base(tiny_base("olmoe", torch.float32), tmp_path, pad=False)))
    assert base.tokenizer.pad_token == base.tokenizer.eos_token == "w1"


def test_base_with_tied_embeddings_is_complete(tmp_path: Path):
    config = MixtralConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=2,
        tie_word_embeddings=True,
    )
    base = load_base(str(save_base(MixtralForCausalLM(config), tmp_path)))
    assert base.model.lm_head.weight is base.model.model.embed_tokens.weight


def test_dense_base_is_refused(tmp_path: Path):
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    save_base(LlamaForCausalLM(config), tmp_path)
    with pytest.raises(BaseModelError, match=r"of type 'llama', .* supported: .*mixtral, .*olmoe"):
        load_base(str(tmp_path))


@pytest.mark.parametrize("share", [0.5, 0.0])
def test_weights_cut_short_are_refused(base: Path, share: float):
    content = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        load_base(str(base))


def test_base_that_lacks_a_tensor_is_refused_rather_than_filled_at_random(base: Path):
    tensors = {key: t for key, t in weights(base).items() if "layers.1.self_attn" not in key}
    rewrite(base, tensors)
    with pytest.raises(
        BaseModelError, match=r"lacks 4 weights .*, model\.layers\.1\.self_attn\.k_proj\.weight"
    ):
        load_base(str(base))


def test_base_with_a_tensor_of_another_shape_is_refused(base: Path):
    tensors = weights(base)
    tensors["lm_head.weight"] = tensors["lm_head.weight"][:, :-1].contiguous()
    rewrite(base, tensors)
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        load_base(str(base))


def test_damaged_tokenizer_is_refused(base: Path):
    (base / "tokenizer.json").write_text("{")
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        load_base(str(base))


@pytest.mark.parametrize("pad", [50, 10_000, -1, None])
def test_padding_is_an_id_that_the_base_has(base: Path, pad: int | None):
    edit(base, pad_token_id=pad)
    edit(base, "tokenizer_config.json", pad_token="<padding>")  # which it adds at the end
    loaded = load_base(str(base))
    assert loaded.tokenizer.pad_token_id == loaded.tokenizer.eos_token_id == 1
    assert rehearse(str(base)).tokenizer.pad_token_id == 1
    assert loaded.embeddings == 50


def test_an_end_of_sequence_that_the_base_has_not_is_refused(base: Path):
    edit(base, "tokenizer_config.json", eos_token="<end>")
    for load in (load_base, rehearse):
        with pytest.raises(BaseModelError, match="'<end>' of id 50, and the base has embeddings"):
            load(str(base))


def test_a_lora_in_the_directory_is_not_loaded(base: Path):
    want = load_base(str(base)).model.state_dict()
    sizes = {"lora_A": (4, 16), "lora_B": (16, 4)}
    names = [f"base_model.model.model.layers.{i}.self_attn.q_proj" for i in range(2)]
    lora = {f"{n}.{ab}.weight": torch.ones(size) for n in names for ab, size in sizes.items()}
    safetensors.torch.save_file(lora, base / "adapter_model.safetensors")
    edit(base, "adapter_config.json", peft_type="LORA", r=4, target_modules=["q_proj"])
    found = load_base(str(base)).model.state_dict()
    assert found.keys() == want.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in want.items())


def test_nothing_is_unpickled(base: Path):
    """Not weights beside the safetensors files, nor a checkpoint of torch's own kind."""
    ran = base / "ran"
    bomb = pickle.dumps(Bomb(str(ran)))
    for name in ("pytorch_model.bin", ".metadata", "adapter_model.bin"):
        (base / name).write_bytes(bomb)
    (base / "__0_0.distcp").write_bytes(bomb)
    load_base(str(base))
    rehearse(str(base))
    assert not ran.exists()


class Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_no_code_of_a_model_repository_is_run(base: Path):
    """A configuration that names its own classes gets those of transformers."""
    marker = base / "ran"
    (base / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass C: pass\n")
    text = (base / "config.json").read_text()
    added = '"auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.C"}'
    (base / "config.json").write_text(text.rstrip().removesuffix("}").rstrip() + f", {added}}}")
    assert isinstance(load_base(str(base)).model, MixtralForCausalLM)
    assert not marker.exists()
