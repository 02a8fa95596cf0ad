"""Scores an exported adapter on the validation and test splits of a task."""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeGuard

import typer
from rich.progress import Progress

from perft.adapter_folder import base_of, read_settings
from perft.errors import ConfigError
from perft.files import Json
from perft.home import remembered_place
from perft.models.precision import notes_on_precision, require_precision
from perft.models.source import BUILTIN_NAMES, base_directory, check_base, fingerprint
from perft.options import DtypeOption, ExpertsOption, JsonOption, QuantizeOption, QuietOption
from perft.screen import Output
from perft.searching.base import require_base, require_experts
from perft.selection import format_share
from perft.selection.scores import MacroAverage, SplitScore, macro_average, scores_table
from perft.storage import Storage
from perft.tasks import (
    Overlap,
    Split,
    Task,
    TaskSource,
    code_of,
    from_record,
    load_task,
    load_test,
    overlap,
    without_code,
)
from perft.tasks.scoring import Scoring, protocol_of, require_scorable, scoring_of

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
            help="Directory in the LLM-Adapters layout, or hub; of the adapter's own task the "
            "folder that holds its files, or one file to score.",
            show_default="the adapter's",
        ),
    ] = None,
    scoring: Annotated[
        Scoring | None,
        typer.Option(
            help="How choices are scored; other tasks in one way only.",
            show_default="generation; pairs by preference",
        ),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another adapter, to compare with on every example.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Where results.json and predictions.parquet go.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    dtype: DtypeOption = "auto",
    experts: ExpertsOption = "auto",
    quantize: QuantizeOption = "none",
    trust_code: Annotated[
        bool,
        typer.Option(
            "--trust-code", help="Run the Python file that scores the adapter's own task, if any."
        ),
    ] = False,
) -> None:
    """Score an adapter, with 95% intervals, and compare it with another.

    The validation split is the one that the adapter's search chose on, so its accuracy is the
    one that was logged there. Test splits say how good the adapter is.

    Examples:
      perft evaluate --adapter adapter
      perft evaluate --adapter adapter --task boolq --data hub --scoring likelihood
      perft evaluate --adapter adapter --against other --out scores
    """
    output = Output(as_json=as_json, quiet=quiet)
    settings = read_settings(adapter)
    source = _trusted(_source(settings, adapter, task, data), output, trust_code=trust_code)
    folders = {ADAPTER: adapter} | ({AGAINST: against} if against else {})
    named = base_model or base_of(settings, adapter)
    base = None if named in BUILTIN_NAMES else named
    check_base(base)
    require_precision(quantize)
    require_experts(experts, training=False, quantize=quantize)
    splits, loaded = _splits(source, data)
    way = scoring or scoring_of(splits[0])
    for split in splits:
        require_scorable(split, way)
    require_base(base, splits)
    base_options = {"base": base, "dtype": dtype, "experts": experts, "quantize": quantize}
    target = Storage(out).prepare() if out else None
    _warn(folders, fingerprint(base_directory(base)), named, output)
    for line in notes_on_precision(folders.values(), quantize):
        output.note(line)
    record = settings["perft"].get("trained_on") or {}
    if against:
        _warn_of_another_task(record, against, output)
    if loaded and _have_changed(record, source, loaded):
        output.note(f"note: these are not the very data {adapter} was trained on")
    with _progress(output) as progress:
        right, parquet = _predict(folders, splits, way, progress, base_options)
    scores = _scores(overlap(loaded) if loaded else {}, splits, way, right)
    tests = [score for score in scores if score.overlap]
    average = macro_average(tests) if len(tests) > 1 else None
    about: dict[str, Json] = {
        **{role: str(folder) for role, folder in folders.items()},
        "base": named,
        "task": source.name,
        "scores": [score.to_json() for score in scores],
        "macro_average": dataclasses.asdict(average) if average else None,
    }
    if target:
        target.write("results.json", json.dumps(about, indent=1).encode())
        target.write("predictions.parquet", parquet)
    output.document(about)
    output.table(scores_table(scores, average))
    if tests:
        output.say("seen: test examples that are in the training data, too", style="dim")
    for protocol in dict.fromkeys(score.protocol for score in scores):
        output.say(f"protocol: {protocol}", style="dim")
    output.last(_last(scores, average))


def _last(scores: Sequence[SplitScore], average: MacroAverage | None) -> str:
    """The score that counts, in a line: the mean of the test splits, or the last split's."""
    if average is not None:
        interval = f"{100 * average.low:.1f}-{100 * average.high:.1f}"
        return f"mean of {average.splits} test splits: {average.accuracy:.1%} ({interval})"
    score = scores[-1]
    return f"{score.split}: {format_share(sum(score.right), len(score.right))}"


def _source(
    settings: dict[str, Any], adapter: Path, task: str | None, data: str | None
) -> TaskSource:
    """The task of the options, by default the one that the adapter was trained on."""
    record = settings["perft"].get("trained_on")
    if record is None and task is None:
        raise ConfigError("the adapter does not say what it was trained on; name a task: --task")
    if record is None:
        return TaskSource(name=str(task), data=data)
    root = Path(data) if data else remembered_place(str(record.get("data_fingerprint")))
    if task is not None and task != record.get("name"):
        record = {**record, "name": task, "own": None}
    only = Path(data) if _is_one_file(data) and record.get("own") else None
    source = from_record(record, root, adapter, only=only)
    return source if source.own else dataclasses.replace(source, data=data or source.data)


def _trusted(source: TaskSource, output: Output, *, trust_code: bool) -> TaskSource:
    """The task; a file's function scores it only if the user trusts that file, which is named."""
    if (code := code_of(source)) is None:
        return source
    file, name = code
    if trust_code:
        output.note(f"runs {file}, whose function {name} scores task {source.name!r}")
        return dataclasses.replace(source, trust_code=True)
    output.note(
        f"note: task {source.name!r} is scored by the function {name} of {file}, which was not "
        "run; the rule exact scores it instead; look at the file, then use --trust-code"
    )
    return without_code(source)


def _is_one_file(data: str | None) -> TypeGuard[str]:
    return data is not None and Path(data).is_file()


def _splits(source: TaskSource, data: str | None) -> tuple[tuple[Split, ...], Task | None]:
    """The splits to score, and the task; None if one file of an own task is all there is."""
    if source.own is not None and _is_one_file(data):
        return (load_test(source),), None
    task = load_task(source)
    return (task.validation, *task.tests), task


def _warn(folders: dict[str, Path], base_fingerprint: str, named: str, output: Output) -> None:
    for folder in folders.values():
        trained_on = read_settings(folder)["perft"].get("base_fingerprint", base_fingerprint)
        if trained_on != base_fingerprint:
            output.note(f"note: {named} is not the very base {folder} was trained on")


def _warn_of_another_task(record: dict[str, Any], against: Path, output: Output) -> None:
    other = read_settings(against)["perft"].get("trained_on") or {}
    mine, theirs = record.get("name"), other.get("name")
    if mine and theirs and mine != theirs:
        output.note(f"note: {against} was trained on task {theirs!r}, the adapter on {mine!r}")


def _have_changed(record: dict[str, Any], source: TaskSource, task: Task) -> bool:
    """Whether the data have changed, as far as a fingerprint of task and scorer can tell."""
    rule = (record.get("own") or {}).get("scorer", "")
    is_same = source.name == record.get("name") and (isinstance(rule, str) or source.trust_code)
    return is_same and record.get("data_fingerprint") not in (None, task.fingerprint)


def _predict(
    folders: dict[str, Path],
    splits: tuple[Split, ...],
    scoring: Scoring,
    progress: Progress,
    base_options: Mapping[str, Any],
) -> tuple[dict[str, dict[str, list[bool]]], bytes]:
    """By adapter and split, which answers are right; and all predictions as Parquet."""
    # Imported late: a mistake in the options shows at once, before torch is loaded.
    import torch  # noqa: PLC0415

    from perft.checkpoint import load_adapter  # noqa: PLC0415
    from perft.evaluation.splits import predict_split, predictions_parquet  # noqa: PLC0415
    from perft.injection import AdapterHost  # noqa: PLC0415
    from perft.models.load import load_base  # noqa: PLC0415

    loading = progress.add_task(
        f"loading the base {base_options['base'] or 'built in'}", total=None
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = load_base(device=device, compile=False, **base_options)
    host = AdapterHost(base.model)
    for role, folder in folders.items():
        load_adapter(host, folder, name=role)
    progress.update(loading, visible=False)
    found = {}
    for split in splits:
        task = progress.add_task(f"{split.name}, {len(split.examples):,} examples", total=1.0)
        advance = functools.partial(progress.advance, task)
        found[split.name] = predict_split(
            base, host, list(folders), split, scoring, advance=advance
        )
    by_adapter = {role: {split: rows[role] for split, rows in found.items()} for role in folders}
    right = {
        role: {split: [row.correct for row in rows] for split, rows in by_split.items()}
        for role, by_split in by_adapter.items()
    }
    return right, predictions_parquet(by_adapter, splits)


def _progress(output: Output) -> Progress:
    """Bars of the splits, which vanish at the end; none if the terminal is no person's."""
    return Progress(console=output.progress, transient=True, disable=output.progress.quiet)


def _scores(
    overlaps: Mapping[str, Overlap],
    splits: tuple[Split, ...],
    scoring: Scoring,
    right: dict[str, dict[str, list[bool]]],
) -> list[SplitScore]:
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
