"""Scores an exported adapter on the validation and test splits of a task."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for a tree that is not installed

import typer
from rich.console import Console
from rich.progress import track

from perft.adapter_folder import read_settings
from perft.cli import DtypeOption, ExpertsOption, run
from perft.errors import AdapterError, ConfigError
from perft.models.source import base_directory, check_base, fingerprint
from perft.search.prepare import require_experts
from perft.selection.scores import SplitScore, macro_average, scores_table
from perft.storage import Storage
from perft.tasks import Split, Task, TaskSource, load_task, overlap
from perft.tasks.scoring import Scoring, protocol_of, require_scorable

ADAPTER, AGAINST = "adapter", "against"


def main(
    *,
    adapter: Annotated[Path, typer.Option(help="Folder that jobs/export.py wrote.")],
    task: Annotated[
        str | None,
        typer.Option(
            help="Task: arithmetic, commonsense, boolq, ...", show_default="the adapter's"
        ),
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(help="Base: a hub id or a local directory.", show_default="the adapter's"),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Directory in the LLM-Adapters layout, or hub.", show_default="the adapter's"
        ),
    ] = None,
    scoring: Annotated[
        Scoring, typer.Option(help="How choices are scored; other tasks only by generation.")
    ] = "generation",
    against: Annotated[
        Path | None, typer.Option(help="Another adapter, to compare with on every example.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Where results.json and predictions.parquet go.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    dtype: DtypeOption = "auto",
    experts: ExpertsOption = "auto",
) -> None:
    """Score an adapter, with 95% intervals, and compare it with another.

    The validation split is the one that the adapter's search chose on, so its accuracy is the
    one that was logged there. Test splits say how good the adapter is.
    """
    settings = read_settings(adapter)
    source = _source(settings, task, data)
    folders = {ADAPTER: adapter} | ({AGAINST: against} if against else {})
    named = base_model or settings.get("base_model_name_or_path")
    if named is None:
        raise AdapterError(f"{adapter} names no base; give the one it was trained on: --base-model")
    base = None if named == "embedded" else named
    check_base(base)
    require_experts(experts, training=False)
    loaded = load_task(source)
    splits = _scored(loaded, scoring)
    target = Storage(out).prepare() if out else None
    _warn(folders, fingerprint(base_directory(base)), named)
    right, parquet = _predict(folders, base, splits, scoring, dtype=dtype, experts=experts)
    scores = _scores(loaded, splits, scoring, right)
    tests = [score for score in scores if score.overlap]
    average = macro_average(tests) if len(tests) > 1 else None
    about = {
        **{role: str(folder) for role, folder in folders.items()},
        "base": named,
        "task": source.name,
        "scores": [score.to_json() for score in scores],
        "macro_average": dataclasses.asdict(average) if average else None,
    }
    results = json.dumps(about, indent=1)
    if target:
        target.write("results.json", results.encode())
        target.write("predictions.parquet", parquet)
    if as_json:
        print(results)
        return
    console = Console()
    console.print(scores_table(scores, average))
    if tests:
        console.print("seen: test examples that are in the training data, too", style="dim")
    for protocol in dict.fromkeys(score.protocol for score in scores):
        console.print(f"protocol: {protocol}", style="dim", highlight=False)


def _source(settings: dict[str, Any], task: str | None, data: str | None) -> TaskSource:
    """What is asked for; else what the adapter was trained on."""
    trained = settings["perft"].get("trained_on")
    if trained is None and task is None:
        raise ConfigError("the adapter does not say what it was trained on; name a task: --task")
    source = TaskSource(**(trained or {"name": task}))
    if task is None or task == source.name:
        return dataclasses.replace(source, data=data or source.data)
    return dataclasses.replace(source, name=task, data=data or source.data, own=None)


def _scored(task: Task, scoring: Scoring) -> tuple[Split, ...]:
    splits = (task.validation, *task.tests)
    for split in splits:
        require_scorable(split, scoring)
    return splits


def _warn(folders: dict[str, Path], print_of_base: str, named: str) -> None:
    for folder in folders.values():
        trained_on = read_settings(folder)["perft"].get("base_fingerprint", print_of_base)
        if trained_on != print_of_base:
            typer.echo(f"note: {named} is not the very base {folder} was trained on", err=True)


def _predict(
    folders: dict[str, Path],
    base_model: str | None,
    splits: tuple[Split, ...],
    scoring: Scoring,
    *,
    dtype: str,
    experts: str,
) -> tuple[dict[str, dict[str, list[bool]]], bytes]:
    """By adapter and split, which examples are right; and all predictions as Parquet."""
    # Imported late: a mistake in the options shows at once, not after torch has loaded.
    import torch  # noqa: PLC0415

    from perft.checkpoint import load_adapter  # noqa: PLC0415
    from perft.evaluation.splits import predict_split, predictions_parquet  # noqa: PLC0415
    from perft.injection import AdapterHost  # noqa: PLC0415
    from perft.models.load import load_base  # noqa: PLC0415

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = load_base(base_model, device=device, dtype=dtype, experts=experts)
    host = AdapterHost(base.model)
    for role, folder in folders.items():
        load_adapter(host, folder, name=role)
    screen = Console(stderr=True)
    found = {
        split.name: predict_split(base, host, list(folders), split, scoring)
        for split in track(splits, "scoring", console=screen, disable=not screen.is_terminal)
    }
    by_adapter = {role: {split: rows[role] for split, rows in found.items()} for role in folders}
    right = {
        role: {split: [row.correct for row in rows] for split, rows in by_split.items()}
        for role, by_split in by_adapter.items()
    }
    return right, predictions_parquet(by_adapter, splits)


def _scores(
    task: Task,
    splits: tuple[Split, ...],
    scoring: Scoring,
    right: dict[str, dict[str, list[bool]]],
) -> list[SplitScore]:
    overlaps = overlap(task)
    return [
        SplitScore(
            split=split.name,
            protocol=protocol_of(split, scoring),
            right=right[ADAPTER][split.name],
            overlap=overlaps.get(split.name),
            against=right[AGAINST][split.name] if AGAINST in right else (),
        )
        for split in splits
    ]


if __name__ == "__main__":
    run(main)
