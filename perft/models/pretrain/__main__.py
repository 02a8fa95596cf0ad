"""The command that makes the built-in base, and tiny bases of other architectures, from a seed.

python -m perft.models.pretrain --out DIR [--architecture mixtral]
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from perft.models.pretrain.architectures import ARCHITECTURES
from perft.models.pretrain.folder import write_base
from perft.models.pretrain.tokenizer import build_tokenizer
from perft.models.pretrain.trainer import MAX_LENGTH, PretrainConfig, build_model, pretrain

_DEFAULT = PretrainConfig()


def main(
    out: Annotated[Path, typer.Option(help="Folder to write the base to.")],
    architecture: Annotated[
        str, typer.Option(help=f"Architecture: {', '.join(ARCHITECTURES)}.")
    ] = _DEFAULT.architecture,
    seed: Annotated[int, typer.Option(help="Seeds text, tokenizer and weights.")] = _DEFAULT.seed,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = _DEFAULT.steps,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of torch.")] = 2,
) -> None:
    """Pretrains a tiny base on seeded text; several minutes on two cores."""
    if architecture not in ARCHITECTURES:
        raise typer.BadParameter(
            f"found {architecture!r}, wanted one of {', '.join(ARCHITECTURES)}",
            param_hint="--architecture",
        )
    torch.set_num_threads(threads)
    config = PretrainConfig(architecture=architecture, seed=seed, steps=steps)
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
    write_base(out, model, tokenizer, config)
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
