"""One trial in the usual way: a process of its own, with HF PEFT and transformers.

LoRA on attention is HF PEFT's; the other variants are perft's adapters, put on the base one at a
time. The loop is the usual one: padded batches, the model's own loss, AdamW with a linear schedule,
`model.generate` for the answers. Run by `gpu_search.py` as a program, so that its start is counted;
it reads its job from a file and writes what it did to another.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, get_linear_schedule_with_warmup

from perft.config import AdapterConfig, LoraAttentionConfig, LoraQVConfig
from perft.evaluation.score import judge
from perft.injection import AdapterHost
from perft.tasks import Split, TaskSource, load_task
from perft.training.data import TokenizedTask
from perft.training.pack import RUNG_EXAMPLES
from perft.training.schedule import example_indices
from perft.trial import TrialConfig

IGNORED = -100
"""The label of a token without loss, as transformers has it."""
Rows = Sequence[tuple[Any, int]]


class StockTrial:
    """A trial's model and data.

    Args:
        job: `config` (flat), `base` (a directory), `source` (a task source's fields), `rows` (of a
            batch in evaluation), `device`.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.config = TrialConfig.from_flat(job["config"])
        self.device = torch.device(job["device"])
        self.rows_at_once = job["rows"]
        model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.bfloat16)
        self.model = with_adapter(model.to(self.device), self.config.adapter)
        self.tokenizer = AutoTokenizer.from_pretrained(job["base"])
        self.task = load_task(TaskSource(**job["source"]))
        self.data = TokenizedTask(self.task, self.tokenizer, model.config.max_position_embeddings)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        training = self.config.training
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=training.lr, weight_decay=training.weight_decay
        )
        self.schedule = get_linear_schedule_with_warmup(
            self.optimizer, training.warmup_steps, training.max_steps
        )

    def train(self, start: int, stop: int) -> None:
        """Optimiser steps `start` to `stop`."""
        training = self.config.training
        rows = self.data.train(training.max_length, training.loss_on)
        self.model.train()
        for step in range(start, stop):
            chosen = example_indices(training, step, len(rows))
            loss = self.loss([rows.row(i) for i in chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.trained, training.clip_norm)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def loss(self, rows: Rows) -> Tensor:
        """The model's own, of one padded batch."""
        length = max(len(ids) for ids, _ in rows)
        ids_BS = np.full((len(rows), length), self.tokenizer.pad_token_id, dtype=np.int64)
        label_BS = np.full_like(ids_BS, IGNORED)
        mask_BS = np.zeros_like(ids_BS)
        for b, (ids, free) in enumerate(rows):
            ids_BS[b, : len(ids)], mask_BS[b, : len(ids)] = ids, 1
            label_BS[b, free : len(ids)] = ids[free:]
        ids, mask, labels = (
            torch.from_numpy(array).to(self.device) for array in (ids_BS, mask_BS, label_BS)
        )
        loss: Tensor = self.model(input_ids=ids, attention_mask=mask, labels=labels).loss
        return loss

    @torch.no_grad()
    def validation_loss(self, examples: int) -> float:
        """Mean over predicted tokens of the first validation examples."""
        rows = self.data.validation(self.config.training.max_length)
        self.model.eval()
        total = tokens = 0.0
        for chunk in self._chunks(examples):
            batch = [rows.row(i) for i in chunk]
            count = sum(len(ids) - max(free, 1) for ids, free in batch)
            total += float(self.loss(batch)) * count
            tokens += count
        return total / tokens

    @torch.no_grad()
    def correct(self, split: Split) -> int:
        """Answers that `generate` gives right."""
        prompts = self.data.prompts(split)
        self.model.eval()
        right = 0
        for chunk in self._chunks(len(prompts)):
            rows = [prompts.row(i)[0] for i in chunk]
            batch = self.tokenizer.pad(
                {"input_ids": [row.tolist() for row in rows]},
                padding_side="left",
                return_tensors="pt",
            ).to(self.device)
            written = self.model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=split.scorer.max_new_tokens,
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id,
                eos_token_id=self.tokenizer.eos_token_id,
            )[:, batch["input_ids"].shape[1] :]
            texts = self.tokenizer.batch_decode(written, skip_special_tokens=True)
            found = zip(chunk, texts, strict=True)
            right += sum(judge(split, i, text).correct for i, text in found)
        return right

    def _chunks(self, count: int) -> list[range]:
        size = self.rows_at_once
        return [range(first, min(first + size, count)) for first in range(0, count, size)]


def with_adapter(model: Any, config: AdapterConfig) -> Any:
    """The model as it is trained: HF PEFT's where it has the variant, else perft's hooks on it."""
    if isinstance(config, LoraQVConfig | LoraAttentionConfig):
        targets = ["q_proj", "v_proj"]
        if isinstance(config, LoraAttentionConfig):
            targets += ["k_proj", "o_proj"]
        alpha = config.scale * config.rank
        lora = LoraConfig(r=config.rank, lora_alpha=alpha, target_modules=targets)
        return get_peft_model(model, lora)
    host = AdapterHost(model)
    host.add("trial", config)
    host.activate("trial")
    return model


def run_trial(job: Mapping[str, Any]) -> dict[str, Any]:
    """Trains from rung to rung until the trial is full or weak.

    Args:
        job: that of `StockTrial`, and `rungs`, `losses` (by rung, of the trials before),
            `reduction_factor`.

    Returns:
        `step`, `losses` by rung, `correct` (None for a trial that was stopped) and `seconds` by
        phase.
    """
    clock = [time.monotonic()]
    seconds = {"load": 0.0, "training": 0.0, "evaluation": 0.0}

    def took(phase: str) -> None:
        clock.append(time.monotonic())
        seconds[phase] += clock[-1] - clock[-2]

    trial = StockTrial(job)
    took("load")
    step, correct, losses = 0, None, {}
    everything = len(trial.task.validation.examples)
    for rung in job["rungs"]:
        trial.train(step, rung)
        step = rung
        took("training")
        full = rung == job["rungs"][-1]
        losses[rung] = trial.validation_loss(everything if full else min(RUNG_EXAMPLES, everything))
        if full:
            correct = trial.correct(trial.task.validation)
        took("evaluation")
        others = job["losses"].get(str(rung), [])
        if others and losses[rung] > np.percentile(others, 100 / job["reduction_factor"]):
            break
    return {"step": step, "losses": losses, "correct": correct, "seconds": seconds}


if __name__ == "__main__":
    source, destination = map(Path, sys.argv[1:])
    destination.write_text(json.dumps(run_trial(json.loads(source.read_text()))))
