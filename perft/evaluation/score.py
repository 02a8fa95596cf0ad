"""Scores adapters on a split: greedy generation, extraction, comparison with the label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from perft.errors import ConfigError
from perft.evaluation.generate import Name, generate
from perft.evaluation.loss import chunks_by_length
from perft.injection import AdapterHost
from perft.ranks import Ranks
from perft.tasks import Split
from perft.tasks.tokenize import TokenRows, longest_choice, tokenize_prompts


@dataclass(frozen=True)
class Prediction:
    """One scored example: the generated text, what was extracted, and whether it is right."""

    index: int
    output: str
    extracted: str | None
    correct: bool


def prompt_rows(split: Split, tokenizer: PreTrainedTokenizerBase, positions: int) -> TokenRows:
    """The split's prompts as token rows that leave room for the answer.

    Args:
        split: its scorer says how many tokens an answer may have.
        tokenizer: the base's.
        positions: longest sequence the base takes, in tokens.

    Raises:
        ConfigError: if the base has no room for prompt and answer.
    """
    new = new_tokens(split, tokenizer)
    room = positions - new
    if room < 1:
        raise ConfigError(
            f"{split.name} generates up to {new} tokens and the base takes only {positions} in all"
        )
    return tokenize_prompts(split.examples, tokenizer, room)


def new_tokens(split: Split, tokenizer: PreTrainedTokenizerBase) -> int:
    """Limit of generation: the scorer's, or as many as this tokenizer makes of a choice."""
    return max(split.scorer.max_new_tokens, longest_choice(split.examples, tokenizer))


def predict(
    host: AdapterHost,
    names: Sequence[Name],
    split: Split,
    *,
    prompts: TokenRows,
    tokenizer: PreTrainedTokenizerBase,
    ranks: Ranks,
    first: int | None = None,
) -> dict[Name, list[Prediction]]:
    """Predictions of this rank's share of the split, for each adapter, by example index.

    Args:
        host: the base with the adapters on it.
        names: the adapters; None is the base alone.
        split: examples and scorer.
        prompts: the split's, from `prompt_rows`.
        tokenizer: the base's.
        ranks: the examples are shared among them.
        first: scores only so many examples, from the first; None scores all.
    """
    assert tokenizer.eos_token_id is not None, "tokenisation has refused a base without one"
    found: dict[Name, list[Prediction]] = {name: [] for name in names}
    count = len(prompts) if first is None else min(first, len(prompts))
    limit = new_tokens(split, tokenizer)
    lengths = (prompts.lengths[:count] + limit).tolist()
    for chunk in chunks_by_length(lengths, len(names), ranks):
        mine = chunk[ranks.share(len(chunk))]
        new = generate(
            host,
            names,
            [prompts.row(i)[0] for i in mine],
            max_new_tokens=limit,
            pad=tokenizer.pad_token_id,
            eos=tokenizer.eos_token_id,
            ranks=ranks,
        )
        for name, rows in new.items():
            # Decoding no rows gives one empty text; a rank may have none.
            texts = tokenizer.batch_decode(rows, skip_special_tokens=True) if rows else []
            found[name] += [judge(split, i, text) for i, text in zip(mine, texts, strict=True)]
    return {name: sorted(rows, key=lambda row: row.index) for name, rows in found.items()}


def count_correct(
    predictions: Mapping[Name, Sequence[Prediction]], ranks: Ranks
) -> dict[Name, int]:
    """Right answers of each adapter over all ranks."""
    counts = torch.tensor(
        [sum(p.correct for p in rows) for rows in predictions.values()], device=ranks.device
    )
    ranks.add_up([counts])
    return dict(zip(predictions, counts.tolist(), strict=True))


def judge(split: Split, index: int, output: str) -> Prediction:
    """What the split's scorer says of an output for its example `index`."""
    extracted = split.scorer.extract(output)
    label = split.examples[index].answer
    correct = extracted is not None and split.scorer.matches(extracted, label)
    return Prediction(index, output, extracted, correct)
