"""The smallest configuration of every family, for the catalogue and the tests.

A few thousand parameters and two layers with an MoE block, after a dense layer in families that
begin with one; four base experts, two per token where that can be set.
"""

from collections.abc import Mapping

from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from perft.models.auto import auto_class
from perft.models.families import FAMILIES

VOCABULARY = 50

# By configuration key; each family takes the keys that it has.
_SIZES: Mapping[str, object] = {
    "vocab_size": VOCABULARY, "unpadded_vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY,
    "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
    "max_position_embeddings": 64, "max_seq_len": 64, "index_topk": 64, "rel_extent": 16,
    "num_hidden_layers": 2, "num_layers": 2, "n_layers": 2, "num_decoder_layers": 2,
    "encoder_layers": 2, "decoder_layers": 2, "encoder_sparse_step": 1, "decoder_sparse_step": 1,
    "num_sparse_encoder_layers": 2, "num_sparse_decoder_layers": 2,
    "first_k_dense_replace": 1, "num_dense_layers": 1, "mlp_only_layers": [],
    "expert_layer_period": 1, "expert_layer_offset": 0,
    "hidden_size": 16, "d_model": 16, "intermediate_size": 16, "ffn_hidden_size": 16,
    "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "d_ff": 16,
    "num_attention_heads": 2, "num_key_value_heads": 2, "num_heads": 2, "n_heads": 2,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "swa_num_attention_heads": 2, "swa_num_key_value_heads": 2, "index_n_heads": 2,
    "linear_num_heads": 2, "linear_num_key_heads": 2, "linear_num_value_heads": 2,
    "mamba_num_heads": 2, "o_groups": 2,
    "head_dim": 8, "swa_head_dim": 8, "v_head_dim": 8, "d_kv": 8, "kv_channels": 8, "d_rel": 4,
    "index_head_dim": 8, "linear_head_dim": 8, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "mamba_d_head": 8, "mamba_head_dim": 8, "mamba_d_state": 4,
    "mamba_dt_rank": 4, "ssm_state_size": 4,
    "kv_lora_rank": 8, "q_lora_rank": 8, "o_lora_rank": 8, "gated_norm_rank": 4,
    "qk_rope_head_dim": 4, "qk_nope_head_dim": 4,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4,
    "zero_expert_num": 2, "n_group": 1, "topk_group": 1, "num_expert_group": 1,
    "num_experts_per_tok": 2, "num_experts_per_token": 2, "moe_topk": 2, "moe_k": 2,
    "num_shared_experts": 1, "n_shared_experts": 1, "moe_num_shared_experts": 1,
    "moe_intermediate_size": 8, "expert_ffn_hidden_size": 8, "router_hidden_size": 8,
    "shared_intermediate_size": 8, "shared_expert_intermediate_size": 8,
    "shared_experts_intermediate_size": 8, "moe_shared_expert_intermediate_size": 8,
}  # fmt: skip

_HYBRID = {"layer_types": ["linear_attention", "full_attention"]}
_ROPE = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}

_DENSE_FIRST = (
    "afmoe", "axk1", "axk2", "bailing_hybrid", "beam", "deepseek_v2", "deepseek_v3",
    "deepseek_v32", "dots1", "ernie4_5_moe", "exaone_moe", "glm4_moe",
    "glm4_moe_lite", "glm_moe_dsa", "hy_v3", "hy_v4", "kimi_linear", "laguna", "lfm2_moe",
    "mimo_v2_flash", "glm4v_moe_text", "mistral4", "mistral_large4_text",
)  # fmt: skip

# Further settings by family; None leaves a key at the family's default.
_OWN: Mapping[str, Mapping[str, object]] = {
    "bailing_hybrid": {"layer_group_size": 2},
    "beam": {"mlp_layer_types": ["dense", "sparse", "sparse"]},
    "dbrx": {
        "num_key_value_heads": None,
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 8, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v4": {
        "head_dim": 8,
        "num_key_value_heads": 1,
        "partial_rotary_factor": 0.5,
        "qk_rope_head_dim": None,
        "hc_mult": 2,
        "mlp_layer_types": ["hash_moe", "moe"],
    },
    "dots1": {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_shared_experts": 1,
        "head_dim": 8,
    },
    "dots3_note_text": {"mlp_layer_types": ["sparse", "sparse"]},  # its third attends otherwise
    "ernie4_5_moe": {"moe_layer_end_index": 2},
    "gemma4_text": {
        "enable_moe_block": True,
        "num_experts": 4,
        "top_k_experts": 2,
        "hidden_size_per_layer_input": 0,
        "per_layer_config": {},
    },
    "glm4v_moe_text": {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e4,
            "partial_rotary_factor": 0.5,
            "mrope_section": [1, 1, 0],
        },
    },
    "granitemoehybrid": {"mamba_n_heads": 4, "layer_types": ["mamba", "attention"]},
    "inkling_text": {"n_shared_experts": 1},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {"layer_types": ["linear_attention", "full_attention", "linear_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"]},
    "mimo_v2_flash": {
        "num_key_value_heads": 1,
        "rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE},
    },
    "nemotron_h": {
        "layers_block_type": ["full_attention", "moe", "linear_attention", "moe"],
        "num_hidden_layers": None,
        "n_groups": 1,
        "chunk_size": 4,
        "expand": 1,
    },
    "phimoe": {"router_jitter_noise": 0.5},  # less leaves one expert, whose weight is always 1
    "qwen3_5_moe_text": _HYBRID,
    "qwen3_next": _HYBRID,
    "qwen4_exp_text": {
        **_HYBRID,
        "hc_lowrank": 4,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 64,
        "indexer_compress_ratio": 4,
    },
    "zaya": {"num_experts_per_tok": 1},
}
# Sizes of vision and audio modules and of their projections: no text goes through them.
_SENSES: Mapping[str, object] = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "depth": 1,
    "num_heads": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8,
    "out_hidden_size": 16, "embed_dim": 16, "mm_hidden_size": 16, "projector_hidden_size": 16,
    "n_layers": 1, "num_layers": 1, "deepstack_visual_indexes": [0], "text_hidden_size": 16,
    "vocab_size": VOCABULARY,
}  # fmt: skip
_PROJECTIONS: Mapping[str, object] = {
    "projection_hidden_size": 16, "mm_hidden_size": 16, "projector_hidden_size": 16,
}  # fmt: skip
# Of multimodal models, only the language model is built.
_OTHER_PARTS: Mapping[str, Mapping[str, object]] = {
    "dots3_note": {
        "vision_config": {"adapter_out_dim": 16},
        "audio_config": {"adapter_out_dim": 16},
    },
}


def tiny_config(model_type: str, **settings: object) -> PreTrainedConfig:
    """The smallest configuration of a supported family.

    Args:
        model_type: one of `FAMILIES`.
        settings: further settings, of the text part where there are several parts.
    """
    default = AutoConfig.for_model(model_type)
    text = default.get_text_config()
    own = {**_settings(text), **settings}
    if text is default:
        return AutoConfig.for_model(model_type, **own)
    others = _OTHER_PARTS.get(model_type, {})
    if FAMILIES[model_type].multimodal:
        parts = {name: getattr(default, name, None) for name in default.sub_configs}
        others = {
            name: _fitting(_SENSES, part)
            for name, part in parts.items()
            if part is not None and part is not text
        } | _fitting(_PROJECTIONS, default)
    return AutoConfig.for_model(model_type, text_config=own, **others)


def tiny_model(model_type: str, **settings: object) -> PreTrainedModel:
    """A base of `tiny_config` with the family's own random weights, in evaluation mode."""
    config = tiny_config(model_type, **settings)
    model: PreTrainedModel = auto_class(config).from_config(config)
    return model.eval()


def _fitting(sizes: Mapping[str, object], default: PreTrainedConfig) -> dict[str, object]:
    """The sizes whose key and type a configuration has."""
    keys = default.to_dict()
    return {key: size for key, size in sizes.items() if type(keys.get(key)) is type(size)}


def _settings(default: PreTrainedConfig) -> dict[str, object]:
    keys = default.to_dict()
    sizes = {key: value for key, value in _SIZES.items() if key in keys}
    if "qk_rope_head_dim" in sizes and "head_dim" in sizes:
        sizes["head_dim"] = sizes["qk_rope_head_dim"]  # latent attention rotates these alone
    if default.model_type in _DENSE_FIRST:
        sizes["num_hidden_layers"] = 3
    own = {**sizes, **_OWN.get(default.model_type, {})}
    return {key: value for key, value in own.items() if value is not None}
