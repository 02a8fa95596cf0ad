"""The lines on a model card that generate with the adapter: perft, peft, a pipeline.

Each runs as it stands once the folder is where it says; tests run them.
"""

from perft.adapters.table import variant_of
from perft.config import AdapterConfig
from perft.export.extras import Extras

FOLDER = "path/to/this/folder"
"""Stands for the adapter's folder on a card that is on no hub."""

_PROMPT = "your prompt"
_TOKENS = 64  # where the task generates nothing


def with_perft(base: str | None, extras: Extras) -> str:
    """Loads base and adapter by perft, given the arguments for the base; transformers generates."""
    imports = ["import perft", *_download(extras)]
    return "\n".join(
        [*imports, "", *_on_base(base, extras), *_generate("base.model", "base.tokenizer", extras)]
    )


def with_peft(adapter: AdapterConfig, base: str | None, extras: Extras) -> str:
    """Loads the adapter by HF PEFT; only the PERFT variants need perft for that."""
    is_lora = variant_of(adapter).hf_storage != "PERFT"
    own = [] if is_lora else ["import perft.hf_peft  # from here on, peft knows the type PERFT"]
    folder = repr(extras.repo or FOLDER)
    if base is None:
        loads = ["base = perft.load_base()", "model, tokenizer = base.model, base.tokenizer"]
        imports = ["from peft import PeftModel"]
        own = own or ["import perft  # has the base"]
    else:
        loads = [
            f"model = AutoModelForCausalLM.from_pretrained({base}, dtype='auto')",
            f"tokenizer = AutoTokenizer.from_pretrained({base})",
        ]
        imports = [
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
        ]
    adds = f"model = PeftModel.from_pretrained(model, {folder})"
    return "\n".join([*own, *imports, "", *loads, adds, *_generate("model", "tokenizer", extras)])


def with_pipeline(base: str | None, extras: Extras) -> str:
    """The adapter in a pipeline of transformers, likewise."""
    imports = ["import perft", *_download(extras), "from transformers import pipeline"]
    settings = "'add_special_tokens': False, " if _plain(extras) else ""
    generate = [
        f"prompt = {_prompt(extras)}",
        "write = pipeline('text-generation', model=base.model, tokenizer=base.tokenizer)",
        f"settings = {{{settings}'max_new_tokens': {_tokens(extras)}, 'do_sample': False}}",
        "print(write(prompt, return_full_text=False, **settings)[0]['generated_text'])",
    ]
    return "\n".join([*imports, "", *_on_base(base, extras), *generate])


def _download(extras: Extras) -> list[str]:
    return ["from huggingface_hub import snapshot_download"] if extras.repo else []


def _on_base(base: str | None, extras: Extras) -> list[str]:
    folder = f"snapshot_download({extras.repo!r})" if extras.repo else repr(FOLDER)
    return [f"base = perft.load_base({base or ''})", f"perft.load_adapter(base.model, {folder})"]


def _generate(model: str, tokenizer: str, extras: Extras) -> list[str]:
    return [
        f"prompt = {_prompt(extras)}",
        f"inputs = {tokenizer}(prompt, {_plain(extras)}return_tensors='pt').to({model}.device)",
        f"output = {model}.generate(**inputs, max_new_tokens={_tokens(extras)}, do_sample=False)",
        "answer = output[0, inputs['input_ids'].shape[1] :]",
        f"print({tokenizer}.decode(answer, skip_special_tokens=True))",
    ]


def _plain(extras: Extras) -> str:
    """Keeps the tokenizer from adding special tokens to a prompt that has its chat template's."""
    example = extras.prompt.example if extras.prompt else None
    return "add_special_tokens=False, " if example and example.is_rendered else ""


def _prompt(extras: Extras) -> str:
    """The example's prompt as a literal of Python."""
    example = extras.prompt.example if extras.prompt else None
    return ascii(example.prompt if example else _PROMPT)


def _tokens(extras: Extras) -> int:
    return extras.prompt.max_new_tokens or _TOKENS if extras.prompt else _TOKENS
