"""The architectures of tiny bases: one size, four kinds of MoE blocks.

All have three layers of hidden size 96 with four heads, and eight base experts of width 64; they
differ in what their block does with them.
"""

from collections.abc import Callable, Mapping

from transformers import MixtralConfig, OlmoeConfig, PreTrainedConfig, Qwen2MoeConfig

_HIDDEN, _WIDTH, _EXPERTS = 96, 64, 8
_SHARED: Mapping[str, object] = {
    "hidden_size": _HIDDEN,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "bos_token_id": None,
}


def _olmoe(settings: Mapping[str, object], top_k: int) -> PreTrainedConfig:
    return OlmoeConfig(
        **_SHARED,
        **settings,
        intermediate_size=_WIDTH,
        num_experts=_EXPERTS,
        num_experts_per_tok=top_k,
    )


def _mixtral(settings: Mapping[str, object]) -> PreTrainedConfig:
    return MixtralConfig(
        **_SHARED,
        **settings,
        intermediate_size=_WIDTH,
        num_local_experts=_EXPERTS,
        num_experts_per_tok=2,
    )


def _qwen2_moe(settings: Mapping[str, object]) -> PreTrainedConfig:
    return Qwen2MoeConfig(
        **_SHARED,
        **settings,
        intermediate_size=_WIDTH,
        moe_intermediate_size=_WIDTH,
        shared_expert_intermediate_size=_WIDTH,
        num_experts=_EXPERTS,
        num_experts_per_tok=2,
    )


ARCHITECTURES: Mapping[str, Callable[[Mapping[str, object]], PreTrainedConfig]] = {
    "olmoe": lambda settings: _olmoe(settings, top_k=2),
    "switch": lambda settings: _olmoe(settings, top_k=1),
    "mixtral": _mixtral,
    "qwen2-moe": _qwen2_moe,
}
"""By name, the configuration of a tiny base from its remaining settings.

    olmoe      two experts per token, weighted by their probabilities; the built-in base
    switch     one expert per token, weighted by its probability (arXiv 2101.03961)
    mixtral    two experts per token, whose weights add up to 1 (arXiv 2401.04088)
    qwen2-moe  two experts per token and a shared one for all, as in DeepSeekMoE (arXiv 2401.06066)
"""
