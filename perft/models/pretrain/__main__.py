"""The command that rebuilds the built-in base: `python -m perft.models.pretrain --out DIR`."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from perft.models.pretrain.card import write_card
from perft.models.pretrain.tokenizer import build_tokenizer
from perft.models.pretrain.trainer import MAX_LENGTH, PretrainConfig, build_model, pretrain

_DEFAULT = PretrainConfig()


def main(
    out: Annotated[Path, typer.Option(help="Folder to write the base to.")],
    seed: Annotated[int, typer.Option(help="Seeds text, tokenizer and weights.")] = _DEFAULT.seed,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = _DEFAULT.steps,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of torch.")] = 2,
) -> None:
    """Pretrains the built-in base on its seeded text; several minutes on two cores."""
    torch.set_num_threads(threads)
    config = PretrainConfig(seed=seed, steps=steps)
    tokenizer = build_tokenizer(seed=seed, max_length=MAX_LENGTH)
    model = build_model(tokenizer, config)
    with _progress() as progress:
        task = progress.add_task("pretraining", total=steps, loss=float("nan"))
        pretrain(
            model,
            tokenizer,
            config,
            lambda done, loss: progress.update(task, completed=done, loss=loss),
        )
    # Rounded to bf16, so that the base is the same whether loaded in bf16 or in fp32.
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    write_card(out, model, config)
    typer.echo(f"wrote {out}")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("step {task.completed}/{task.total}  loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )


if __name__ == "__main__":
    typer.run(main)
