"""The MoE families that perft supports, and how they differ. Free of torch.

In nearly every family of transformers 5 a block has a router (`gate` or `router`) and fused
experts that take each token's choice: that form is found by its structure, so its row below is
`Family()`. Other rows state only what the family does differently.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from perft.errors import BaseModelError

RoutingForm = Literal["chosen", "probabilities", "input scores", "top 1", "all gates", "sorted"]


def _one(_block: Any) -> float:
    return 1.0


def _routed_scaling_factor(block: Any) -> float:
    return float(block.routed_scaling_factor)


def _average_with_shared(block: Any) -> float:
    shared = block.num_shared_experts > 0
    return 0.5 if shared and block.shared_expert_combination_strategy == "average" else 1.0


@dataclass(frozen=True)
class Family:
    """How to read one family's MoE block.

    Attributes:
        routing: the form in which the block passes each token's choice on;
            `perft.models.routing` has one reader for each.
        experts: attribute of the experts module that holds the number of experts.
        top_k: experts per token where no module holds it: the number, or its configuration key.
        scorer: path inside the router of the module that LoRA on the router works on; empty for
            the router as a whole.
        scale: the factor of the experts' weighted sum, given the block.
        encoder_decoder: loaded by AutoModelForSeq2SeqLM instead of AutoModelForCausalLM.
        multimodal: loaded by AutoModelForMultimodalLM instead; trained on text alone.
    """

    routing: RoutingForm = "chosen"
    experts: str = "num_experts"
    top_k: int | str = "num_experts_per_tok"
    scorer: str = ""
    scale: Callable[[Any], float] = _one
    encoder_decoder: bool = False
    multimodal: bool = False


_COMMON = (
    "aria_text", "axk1", "axk2", "bailing_hybrid", "deepseek_v2", "deepseek_v3",
    "deepseek_v32", "deepseek_v4", "dots1", "dots3_note", "dots3_note_text", "ernie4_5_moe",
    "exaone_moe", "flex_olmo", "flint", "glm4_moe", "glm4_moe_lite", "glm_moe_dsa", "gpt_oss",
    "granitemoe", "granitemoe_swa", "granitemoehybrid", "granitemoeshared",
    "hy_v3", "hy_v4", "inkling2_text", "inkling_text", "jamba", "kimi_linear", "kolibri1",
    "lfm2_moe", "mellum", "mimo_v2_flash", "minimax", "minimax_m2", "mixtral",
    "nemotron_h", "olmoe", "phimoe", "qwen2_moe", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_moe",
    "qwen3_next", "qwen4_exp", "qwen4_exp_text", "solar_open", "zaya",
)  # fmt: skip

_MULTIMODAL = (
    "aria", "glm4v_moe", "inkling2", "inkling_mm_model", "kimi_k25", "mistral4", "mistral_large4",
    "qwen3_vl_moe",
)  # fmt: skip

FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(_COMMON, Family()),
    **dict.fromkeys(_MULTIMODAL, Family(multimodal=True)),
    "afmoe": Family(scorer="gate"),
    "beam": Family(scale=_routed_scaling_factor),
    "cohere2_moe": Family(scale=_average_with_shared),
    "dbrx": Family(scorer="layer"),
    "gemma4": Family(routing="probabilities", top_k="top_k_experts", scorer="proj"),
    "gemma4_text": Family(routing="probabilities", top_k="top_k_experts", scorer="proj"),
    "hunyuan_v1_moe": Family(scorer="wg"),
    "jetmoe": Family(routing="sorted", scorer="layer"),
    "laguna": Family(scale=_routed_scaling_factor),
    "llama4": Family(routing="input scores"),
    "llama4_text": Family(routing="input scores"),
    "longcat_flash": Family(experts="total_experts"),
    "minimax_m3_vl": Family(scale=_routed_scaling_factor, multimodal=True),
    "minimax_m3_vl_text": Family(scale=_routed_scaling_factor),
    "nllb-moe": Family(routing="all gates", top_k=2, scorer="classifier", encoder_decoder=True),
    "switch_transformers": Family(
        routing="top 1", top_k=1, scorer="classifier", encoder_decoder=True
    ),
}

UNSUPPORTED: Mapping[str, str] = {
    "nemo_speechlm": "transcribes speech: its prompts are audio, which no task of perft has",
    "doge": "retrieves thousands of one-row experts by product keys: no router with fused experts",
    "diffusion_gemma": "denoises whole blocks of tokens: it is not trained to predict the next one",
    "ernie4_5_vl_moe": "has experts for text and others for images in one block, two routers each",
    **dict.fromkeys(
        ("qwen3_omni_moe", "qwen3_omni_moe_thinker"),
        "thinks and talks with two MoE models, and nothing says which of them to train",
    ),
    **dict.fromkeys(
        (
            "deepseek_ocr2", "glm5_next", "muse_spark", "nemotron_h_omni", "step3p7",
            "unlimited_ocr",
        ),
        "sees or hears beside an MoE text model, and adapters on that have not been tried",
    ),
}  # fmt: skip
"""Further MoE types of the three auto classes, with the reason why they are not supported."""

_TEXT_PARTS: Mapping[str, str] = {
    "glm4v_moe_text": "glm4v_moe",
    "mistral_large4_text": "mistral_large4",
    "qwen3_vl_moe_text": "qwen3_vl_moe",
    **{
        f"{name}_text": name
        for name in ("deepseek_ocr2", "ernie4_5_vl_moe", "glm5_next", "muse_spark", "unlimited_ocr")
    },
    "step3p5": "step3p7",
}
"""Text models that transformers has only inside another model, and in which."""

# Each family has one of each, in its configuration or the text part of that.
_SIZE_KEYS = (
    "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts",
    "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "moe_top_k",
    "top_k_experts",
)  # fmt: skip
_PARTS = ("text_config", "ffn_config")


def family_of(model_type: str, name: str) -> Family:
    """The family of a base.

    Args:
        model_type: `model_type` of its configuration.
        name: what the user called it, for the message.

    Raises:
        BaseModelError: if the family is not supported.
    """
    if reason := UNSUPPORTED.get(model_type):
        raise BaseModelError(f"base {name!r} is of type {model_type!r}, not supported: {reason}")
    if whole := _TEXT_PARTS.get(model_type):
        raise BaseModelError(
            f"base {name!r} is of type {model_type!r}, the text part of a {whole!r}, which "
            f"transformers cannot load by itself; use the whole model"
        )
    if model_type not in FAMILIES:
        raise BaseModelError(
            f"base {name!r} is of type {model_type!r}, which is not a supported MoE family; "
            f"supported: {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[model_type]


def require_moe_settings(config: Mapping[str, Any], name: str) -> None:
    """Checks a base's configuration (a `config.json`) before anything is loaded.

    Raises:
        BaseModelError: if the family is not supported, or the MoE sizes make no sense.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise BaseModelError(
            f"base {name!r} has model_type={model_type!r} in its config.json, wanted the name of "
            "an MoE family"
        )
    _refuse_wrapper(config, name)
    if config.get("auto_map") and model_type not in {*FAMILIES, *UNSUPPORTED}:
        raise BaseModelError(
            f"base {name!r} is of type {model_type!r}, which comes with code of its own (auto_map "
            "in its config.json): code of a model's repository is never run; supported: "
            f"{', '.join(sorted(FAMILIES))}"
        )
    family_of(model_type, name)
    # A key that is absent means the family's default, so only values that are there are checked.
    for key, value in _sizes(config):
        values = value if isinstance(value, list) else [value]  # some have one for each layer
        if not all(isinstance(size, int) and size >= 1 for size in values):
            raise BaseModelError(f"base {name!r} has {key}={value!r} in its config.json")


def _refuse_wrapper(config: Mapping[str, Any], name: str) -> None:
    """Explains the refusal of a model around an MoE text model that is supported alone."""
    model_type, text = config["model_type"], config.get("text_config")
    inner = text.get("model_type") if isinstance(text, Mapping) else None
    if model_type not in {*FAMILIES, *UNSUPPORTED} and isinstance(inner, str) and inner in FAMILIES:
        raise BaseModelError(
            f"base {name!r} is of type {model_type!r}, a model that sees or hears around a text "
            f"model of type {inner!r}: the text model is supported by itself, but not in here; "
            "save it as a base of its own (save_pretrained of its language model)"
        )


def require_decoder(config: Mapping[str, Any], name: str) -> None:
    """Checks that a base is a causal language model, as the training loop needs.

    Raises:
        BaseModelError: if the family is not supported, or is an encoder-decoder.
    """
    if family_of(str(config.get("model_type", "")), name).encoder_decoder:
        raise BaseModelError(
            f"base {name!r} is of type {config['model_type']!r}, an encoder with a decoder; "
            "searches and jobs train causal language models. Load it with AutoModelForSeq2SeqLM, "
            "put adapters on it with AdapterHost, and train it with a loop of your own"
        )


def _sizes(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for part in (config, *(config.get(name) for name in _PARTS)):
        if isinstance(part, Mapping):
            yield from ((key, part[key]) for key in _SIZE_KEYS if key in part)
