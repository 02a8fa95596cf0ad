"""Scores adapters on a split: greedy generation, extraction, comparison with the label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from perft.errors import ConfigError
from perft.evaluation.decoding import Ids, Opening
from perft.evaluation.generate import Advance, Name, generate, unheard
from perft.injection import AdapterHost
from perft.ranks import Ranks
from perft.tasks import Split
from perft.tasks.tokenize import TokenizedSplit, longest_choice, tokenize_prompts


@dataclass(frozen=True)
class Prediction:
    """One scored example: the generated text, what was extracted, and whether it is right."""

    index: int
    output: str
    extracted: str | None
    correct: bool


def prompt_rows(split: Split, tokenizer: PreTrainedTokenizerBase, positions: int) -> TokenizedSplit:
    """The split's prompts as token rows that leave room for the answer.

    Args:
        split: its scorer says how many tokens an answer may have.
        tokenizer: the base's.
        positions: longest sequence that the base takes, in tokens.

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
    """Most new tokens: the scorer's limit, or those of the longest choice if that is more."""
    return max(split.scorer.max_new_tokens, longest_choice(split.examples, tokenizer))


def predict(
    host: AdapterHost,
    names: Sequence[Name],
    split: Split,
    *,
    prompts: TokenizedSplit,
    tokenizer: PreTrainedTokenizerBase,
    ranks: Ranks,
    known_prefix: Mapping[Name, Mapping[int, Sequence[int]]] | None = None,
    advance: Advance = unheard,
) -> dict[Name, list[Prediction]]:
    """Predictions of this rank's share of the split, for each adapter, by example index.

    Args:
        host: the base with the adapters on it.
        names: the adapters; None is the base alone.
        split: examples and scorer.
        prompts: the split's, from `prompt_rows`.
        tokenizer: the base's.
        ranks: the examples are shared among them.
        known_prefix: by adapter and example, the known first tokens of the answer, as `validate`
            finds them: only these examples of this rank are scored, and only the rest of each
            is generated. None scores all, from their prompts on.
        advance: hears of progress.
    """
    if known_prefix is None:
        mine = range(len(prompts))[ranks.local_slice(len(prompts))]
        known_prefix = {name: dict.fromkeys(mine, ()) for name in names}
    eos, limit = tokenizer.eos_token_id, new_tokens(split, tokenizer)
    assert isinstance(eos, int), "tokenisation refuses a base without one"
    answers = {
        name: {i: list(known[:limit]) for i, known in known_prefix[name].items()} for name in names
    }
    waiting = {
        name: [i for i, ids in known.items() if len(ids) < limit and ids[-1:] != [eos]]
        for name, known in answers.items()
    }
    openings = {
        name: [_opening(prompts.row(i)[0], answers[name][i], limit) for i in indices]
        for name, indices in waiting.items()
    }
    pad: int = tokenizer.pad_token_id
    found = generate(host, openings, pad=pad, eos=eos, ranks=ranks, advance=advance)
    for name, new in found.items():
        for i, ids in zip(waiting[name], new, strict=True):
            answers[name][i] += ids
    return {name: _judged(split, answers[name], tokenizer) for name in names}


def _opening(prompt: Ids, known: Sequence[int], limit: int) -> Opening:
    ids = np.concatenate([prompt, np.array(known, dtype=np.int32)])
    return Opening(ids, limit - len(known))


def _judged(
    split: Split, answers: Mapping[int, Sequence[int]], tokenizer: PreTrainedTokenizerBase
) -> list[Prediction]:
    order = sorted(answers)
    # Decoding no rows gives one empty text; a rank may have none.
    rows = [answers[i] for i in order]
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True) if rows else []
    return [judge(split, i, text) for i, text in zip(order, texts, strict=True)]


def count_correct(
    predictions: Mapping[Name, Sequence[Prediction]], ranks: Ranks
) -> dict[Name, int]:
    """Right answers of each adapter over all ranks."""
    counts = torch.tensor(
        [sum(p.correct for p in rows) for rows in predictions.values()], device=ranks.device
    )
    ranks.all_reduce_([counts])
    return dict(zip(predictions, counts.tolist(), strict=True))


def judge(split: Split, index: int, output: str) -> Prediction:
    """The split's scorer's verdict on an output for its example `index`."""
    extracted = split.scorer.extract(output)
    label = split.examples[index].answer
    correct = extracted is not None and split.scorer.matches(extracted, label)
    return Prediction(index, output, extracted, correct)
