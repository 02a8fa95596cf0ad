"""A base of OLMoE-1B-7B's geometry with random weights, and word problems for it, on disk.

Run as a program, it writes the base to a folder, with a tiny geometry on a CPU, and prints the
device.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from card import described
from transformers import OlmoeConfig, OlmoeForCausalLM

from perft.models.source import BUILTIN
from perft.tasks import Split, TaskSource, load_task

# The numbers of OLMoE-1B-7B-0924's config.json; the others are the defaults of the family.
GEOMETRY = OlmoeConfig(vocab_size=50304, intermediate_size=1024, pad_token_id=1)
TINY_GEOMETRY = OlmoeConfig(
    hidden_size=16, intermediate_size=8, num_experts=4, num_experts_per_tok=2,
    num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, vocab_size=1000,
    pad_token_id=0, eos_token_id=1,
)  # fmt: skip


def drawn(config: OlmoeConfig, device: torch.device) -> OlmoeForCausalLM:
    """A base with random weights, in bf16."""
    torch.manual_seed(0)
    with device:
        return OlmoeForCausalLM._from_config(config, dtype=torch.bfloat16).eval()


def write_base(config: OlmoeConfig, folder: Path, device: torch.device) -> None:
    """Writes it in bf16, with the built-in base's tokenizer, whose tokens are the first ones.

    Args:
        config: its sizes.
        folder: where to.
        device: where the weights are drawn.
    """
    drawn(config, device).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BUILTIN / name, folder / name)


def write_data(folder: Path, train: int, test: int) -> str:
    """Writes so many of the built-in task's word problems in the LLM-Adapters layout."""
    task = load_task(TaskSource(name="arithmetic"))
    for split, count, path in (
        (task.train, train, "train/math_data.json"),
        (task.tests[0], test, "eval/AddSub/test.json"),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(json.dumps(_rows(split, count)))
    return str(folder)


def main(folder: str, device: str) -> None:
    """Writes the base, drawn on a device."""
    place = torch.device(device)
    print(described(place), flush=True)
    write_base(GEOMETRY if place.type == "cuda" else TINY_GEOMETRY, Path(folder), place)


def _rows(split: Split, count: int) -> list[dict[str, str]]:
    return [
        {"instruction": each.prompt, "input": "", "output": each.completion, "answer": each.answer}
        for each in split.examples[:count]
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
