"""Scores an exported adapter on the validation and test splits of a task."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from perft.adapter_folder import read_settings
from perft.cli import Dtype, run
from perft.errors import AdapterError
from perft.models.source import base_directory, check_base, fingerprint
from perft.selection import wilson
from perft.tasks import Split, TaskSource, load_task


def main(
    *,
    adapter: Annotated[Path, typer.Option(help="Folder that jobs/export.py wrote.")],
    task: Annotated[str, typer.Option(help="Task: arithmetic, addsub, multiarith, ...")],
    base_model: Annotated[
        str | None,
        typer.Option(help="Base: a hub id or a local directory.", show_default="the adapter's"),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Directory in the LLM-Adapters layout.", show_default="the adapter's"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    dtype: Annotated[Dtype, typer.Option(help="Dtype of the base.")] = "auto",
) -> None:
    """Score an adapter by greedy generation, with 95% intervals.

    The validation split is the one that the adapter's search chose on, so its accuracy is the
    one that was logged there. Test splits say how good the adapter is.
    """
    settings = read_settings(adapter)
    trained = TaskSource(**settings["perft"].get("trained_on", {"name": task}))
    source = dataclasses.replace(trained, name=task, data=data or trained.data)
    named = base_model or settings.get("base_model_name_or_path")
    if named is None:
        raise AdapterError(f"{adapter} names no base; give the one it was trained on: --base-model")
    base = None if named == "embedded" else named
    check_base(base)
    loaded = load_task(source)
    print_of_base = fingerprint(base_directory(base))
    if settings["perft"].get("base_fingerprint", print_of_base) != print_of_base:
        typer.echo(f"note: {named} is not the very base the adapter was trained on", err=True)
    scores = _score(adapter, base, dtype, (loaded.validation, *loaded.tests))
    if as_json:
        about = {"adapter": str(adapter), "base": named, "task": source.name, "scores": scores}
        print(json.dumps(about, indent=1))
    else:
        console = Console()
        console.print(_table(scores))
        console.print(f"protocol: {scores[0]['protocol']}", style="dim", highlight=False)


def _score(
    adapter: Path, base_model: str | None, dtype: str, splits: tuple[Split, ...]
) -> list[dict[str, Any]]:
    # Imported late: a mistake in the options shows at once, not after torch has loaded.
    import torch  # noqa: PLC0415

    from perft.checkpoint import load_adapter  # noqa: PLC0415
    from perft.evaluation import predict, prompt_rows  # noqa: PLC0415
    from perft.models.load import load_base  # noqa: PLC0415
    from perft.ranks import Ranks  # noqa: PLC0415

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = load_base(base_model, device=device, dtype=dtype)
    host = load_adapter(base.model, adapter)
    scores = []
    for split in splits:
        prompts = prompt_rows(split, base.tokenizer, base.positions)
        rows = predict(
            host,
            [host.active],
            split,
            prompts=prompts,
            tokenizer=base.tokenizer,
            ranks=Ranks(device=device),
        )[host.active]
        scores.append(_score_of(split, sum(row.correct for row in rows)))
    return scores


def _score_of(split: Split, correct: int) -> dict[str, Any]:
    scored = len(split.examples)
    low, high = wilson(correct, scored)
    return {
        "split": split.name,
        "protocol": split.scorer.protocol,
        "correct": correct,
        "scored": scored,
        "accuracy": correct / scored,
        "low": low,
        "high": high,
    }


def _table(scores: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("split", "accuracy", "95% interval", "correct"):
        table.add_column(title, justify="left" if title == "split" else "right")
    for score in scores:
        table.add_row(
            score["split"],
            f"{score['accuracy']:.1%}",
            f"{score['low']:.1%} - {score['high']:.1%}",
            f"{score['correct']}/{score['scored']}",
        )
    return table


if __name__ == "__main__":
    run(main)
