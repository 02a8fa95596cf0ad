"""Scores several adapters on one split, by generation or likelihood, with all predictions.

Invariant: all adapters see the same examples in the same order.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import parquet
from transformers import PreTrainedTokenizerBase

from perft.errors import AdapterError
from perft.evaluation.generate import Advance, unheard
from perft.evaluation.likelihood import choose
from perft.evaluation.preference import compare, preferred
from perft.evaluation.score import Prediction, predict, prompt_rows
from perft.injection import AdapterHost
from perft.models.load import Base
from perft.ranks import Ranks
from perft.tasks import Split
from perft.tasks.scoring import Scoring
from perft.tasks.tokenize import tokenize_choices, tokenize_pairs
from perft.tasks.vocabulary import require_embeddings

Predictions = Mapping[str, Mapping[str, Sequence[Prediction]]]
"""By adapter and split, every prediction by example index."""


def predict_split(
    base: Base,
    host: AdapterHost,
    names: Sequence[str],
    split: Split,
    scoring: Scoring,
    *,
    advance: Advance = unheard,
) -> dict[str, list[Prediction]]:
    """Every prediction of each adapter, by example index.

    Args:
        base: loaded, in one process.
        host: its host, with the adapters on it.
        names: the adapters.
        split: examples and scorer.
        scoring: by generation, by the likelihood of choices, or by preference.
        advance: hears of progress.

    Raises:
        ConfigError: if the base has no room for prompt and answer.
        DataError: if a text has a token that the base does not know.
        BaseModelError: if tokenizer and base do not belong together.
        AdapterError: if the base was computed without calling an adapter.
    """
    require_embeddings([split], base.tokenizer, base.embeddings)
    found = _predicted(base, host, names, split, scoring, advance=advance)
    for name in names if split.examples else ():
        if silent := host.untouched(name):
            raise AdapterError(
                f"the base was computed without calling {silent[0]}, where the adapter {name!r} "
                "has its part; try --experts eager"
            )
    return found


def _predicted(
    base: Base,
    host: AdapterHost,
    names: Sequence[str],
    split: Split,
    scoring: Scoring,
    *,
    advance: Advance,
) -> dict[str, list[Prediction]]:
    ranks, tokenizer = Ranks(device=base.model.device), base.tokenizer
    if scoring == "preference":
        pairs = tokenize_pairs(split.examples, tokenizer, base.positions)
        count, pad = len(split.examples), _pad(tokenizer)
        losses = compare(host, names, pairs, pairs=count, pad=pad, ranks=ranks, advance=advance)
        return {name: preferred(split, losses[name]) for name in names}
    if scoring == "generation":
        prompts = prompt_rows(split, tokenizer, base.positions)
        found = predict(
            host, names, split, prompts=prompts, tokenizer=tokenizer, ranks=ranks, advance=advance
        )
        return {name: found[name] for name in names}
    return choose(
        host,
        names,
        split,
        rows=tokenize_choices(split.examples, tokenizer, base.positions),
        normalized=scoring == "likelihood-normalized",
        pad=_pad(tokenizer),
        ranks=ranks,
        advance=advance,
    )


def _pad(tokenizer: PreTrainedTokenizerBase) -> int:
    pad: Any = tokenizer.pad_token_id
    assert isinstance(pad, int), "a loaded base has one"
    return pad


def predictions_parquet(predictions: Predictions, splits: Sequence[Split]) -> bytes:
    """Every prediction as a Parquet file: one row for each adapter, split and example."""
    columns: dict[str, list[object]] = {
        name: []
        for name in (
            "adapter", "split", "index", "prompt", "output", "extracted", "label", "correct",
        )
    }  # fmt: skip
    for adapter, by_split in predictions.items():
        for split in splits:
            for row in by_split[split.name]:
                example = split.examples[row.index]
                values = (
                    adapter, split.name, row.index, example.prompt, row.output, row.extracted,
                    example.answer, row.correct,
                )  # fmt: skip
                for column, value in zip(columns.values(), values, strict=True):
                    column.append(value)
    schema = pa.schema([(name, _TYPES.get(name, pa.string())) for name in columns])
    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns, schema=schema), buffer)
    return buffer.getvalue()


_TYPES = {"index": pa.int64(), "correct": pa.bool_()}
