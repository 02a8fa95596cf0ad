"""Shows the task of a search space: examples as the base reads them, sizes and lengths.

Nothing is trained and no weights are read: a look at it costs seconds.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from perft.files import Json
from perft.models.source import is_tiny, tokenizer_directory
from perft.options import (
    LARGEST_SEED,
    BaseOption,
    DataOption,
    JsonOption,
    QuietOption,
    ValidationSizeOption,
    space_names,
)
from perft.screen import Output
from perft.searching.base import with_base_template
from perft.searching.space import find_space
from perft.tasks import Example, Split, load_task
from perft.tasks.rendered import rendered

if TYPE_CHECKING:
    from perft.tasks.tokenize import TokenizedSplit, Tokenizer


def main(
    *,
    space: Annotated[
        str, typer.Option(help="Search space whose task is shown.", autocompletion=space_names)
    ],
    base_model: BaseOption = None,
    data: DataOption = None,
    validation_size: ValidationSizeOption = 400,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of the validation split.")
    ] = 0,
    examples: Annotated[int, typer.Option(min=1, max=1000, help="Training examples to show.")] = 3,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show the task of a search space before anything is paid for.

    A few training examples as the base reads them, with what is trained marked, their labels and
    lengths; how many examples each split has, how long they are by the base's tokenizer, and how
    many are longer than a trial's rows may be. Of --base-model no weights are read: a directory
    with a config.json and a tokenizer will do.

    Examples:
      perft tasks --space arithmetic
      perft tasks --space ./my_space.py --base-model path/of/base
      perft tasks --space commonsense --examples 10 --json
    """
    output = Output(as_json=as_json, quiet=quiet)
    found = find_space(space)
    source = with_base_template(found.source(data, validation_size, seed), base_model)
    task = load_task(source)
    max_length = found.trained(is_tiny(base_model)).max_length
    tokenizer = _tokenizer(base_model)
    lengths = {split.name: _Lengths.of(split, tokenizer, max_length) for split in task.splits}
    labels = {split.name: _labels(split) for split in task.splits}
    shown = task.train.examples[:examples]
    rows = _tokens(shown, tokenizer, max_length)
    output.document(
        {
            "space": space,
            "task": task.name,
            "base": base_model,
            "max_length": max_length,
            "scored_by": task.validation.scorer.protocol,
            "splits": [
                {"split": name, **asdict(length), "labels": labels[name]}
                for name, length in lengths.items()
            ],
            "examples": [_to_json(each, rows, i) for i, each in enumerate(shown)],
        }
    )
    for index, example in enumerate(shown):
        ids, prompt = rows.row(index)
        output.say(
            f"train example {index + 1}: {len(example.prompt + example.completion):,} characters, "
            f"{len(ids):,} tokens, of which {len(ids) - prompt:,} are trained",
            style="bold",
        )
        output.console.print(_marked(example), soft_wrap=True)
        output.say("")
    output.say("trained: what stands between \u00ab and \u00bb, and end of sequence")
    output.say(f"scored by {task.validation.scorer.protocol}")
    output.table(_table(task.splits, lengths))
    for name, counts in labels.items():
        if counts:
            told = ", ".join(f"{label[:40]!r} {count:,}" for label, count in counts.items())
            output.say(f"labels of {name}: {told}")
    cut = sum(each.longer for each in lengths.values())
    if cut:
        output.say(
            f"note: {cut:,} examples have more than max_length = {max_length} tokens; they lose "
            "the beginning of their prompt; raise max_length in the space's training"
        )
    sizes = ", ".join(f"{len(split.examples):,} {split.name}" for split in task.splits)
    output.last(f"task {task.name}: {sizes}")


@dataclass(frozen=True, kw_only=True)
class _Lengths:
    """How many examples a split has, and how long they are, end of sequence included."""

    examples: int
    characters: float
    tokens: float
    most_tokens: int
    trained_tokens: float
    longer: int

    @classmethod
    def of(cls, split: Split, tokenizer: "Tokenizer", max_length: int) -> "_Lengths":
        """Medians over a split, its longest row, and how many exceed `max_length`."""
        rows = _tokens(split.examples, tokenizer, _ENDLESS)
        characters = [len(each.prompt + each.completion) for each in split.examples]
        return cls(
            examples=len(split.examples),
            characters=median(characters),
            tokens=median(rows.lengths.tolist()),
            most_tokens=int(rows.lengths.max()),
            trained_tokens=median((rows.lengths - rows.prompt_lengths).tolist()),
            longer=int((rows.lengths > max_length).sum()),
        )


MOST_LABELS = 12
"""Most different labels of which the numbers are shown."""


def _labels(split: Split) -> dict[str, int]:
    """How many examples have each label, also choices that none has; empty if there are many."""
    counts = Counter(each.answer for each in split.examples)
    choices = {choice.strip() for each in split.examples for choice in each.choices}
    if counts.keys() <= choices:  # else a choice is a sentence with the label in it
        counts.update(dict.fromkeys(choices, 0))
    few = len(counts) <= min(MOST_LABELS, len(split.examples) - 1)
    return dict(sorted(counts.items())) if few else {}


_ENDLESS = 1 << 30
"""Tokens that no row has."""


def _tokenizer(base_model: str | None) -> "Tokenizer":
    # Imported late: a mistake in the options shows at once, before transformers is loaded.
    from perft.models.tokenizer import load_tokenizer  # noqa: PLC0415

    # Which ids the base knows, its weights say; a search checks that when it starts.
    tokenizer: Tokenizer = load_tokenizer(tokenizer_directory(base_model), _ENDLESS)
    return tokenizer


def _tokens(
    examples: Sequence[Example], tokenizer: "Tokenizer", max_length: int
) -> "TokenizedSplit":
    from perft.tasks.tokenize import tokenize  # noqa: PLC0415 - as above

    return tokenize(examples, tokenizer, max_length, "answer")


def _marked(example: Example) -> Text:
    """An example's text, in which what is trained stands between marks."""
    text = Text()
    for piece in rendered(example):
        text.append(
            f"\u00ab{piece.text}\u00bb" if piece.is_trained else piece.text,
            style="green" if piece.is_trained else None,
        )
    if example.rejected:
        text.append(f"\nrejected: {example.rejected}", style="red")
    if example.choices:
        text.append(f"\nchoices: {', '.join(map(str.strip, example.choices))}", style="dim")
    return text.append(f"\nlabel: {example.answer}", style="bold")


def _to_json(example: Example, rows: "TokenizedSplit", index: int) -> dict[str, Json]:
    ids, prompt = rows.row(index)
    return {
        "pieces": [{"text": each.text, "trained": each.is_trained} for each in rendered(example)],
        "label": example.answer,
        "choices": list(example.choices),
        "rejected": example.rejected,
        "characters": len(example.prompt + example.completion),
        "tokens": len(ids),
        "trained_tokens": len(ids) - prompt,
    }


def _table(splits: Sequence[Split], lengths: dict[str, _Lengths]) -> Table:
    table = Table(
        title="Medians of characters, tokens and trained tokens",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("split", no_wrap=True)
    for heading in ("examples", "characters", "tokens", "longest", "trained", "too long"):
        table.add_column(heading, justify="right", no_wrap=True)
    for split in splits:
        one = lengths[split.name]
        counts = (one.most_tokens, one.trained_tokens, one.longer)
        table.add_row(
            split.name,
            *(f"{count:,.10g}" for count in (one.examples, one.characters, one.tokens, *counts)),
        )
    return table
