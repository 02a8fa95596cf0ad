"""Token rows: what is joined, what is cut, and that generation sees what training saw."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors

from perft.errors import BaseModelError, ConfigError
from perft.tasks import Example
from perft.tasks.tokenize import TokenizedSplit, tokenize, tokenize_choices, tokenize_prompts
from tasks.byte_tokenizer import BOS, PLAIN, byte_tokenizer

EXAMPLES = (
    Example("2 + 3 =", " 5", "5"),
    Example("How many apples has Tom ?", "The answer is 7.", "7"),
    Example("caf\u00e9 \U0001f34e", "na\u00efve", "1"),
)


def size(text: str) -> int:
    return len(text.encode())


def texts(rows: TokenizedSplit, tokenizer: Any) -> list[tuple[str, str]]:
    """Each row as text: what carries no loss, and what does."""
    found = []
    for index in range(len(rows)):
        ids, prompt = rows.row(index)
        found.append((tokenizer.decode(ids[:prompt]), tokenizer.decode(ids[prompt:])))
    return found


def test_a_row_is_prompt_completion_and_end() -> None:
    rows = tokenize(EXAMPLES, PLAIN, max_length=100, loss_on="answer")
    assert texts(rows, PLAIN) == [(e.prompt, e.completion + "</s>") for e in EXAMPLES]
    assert (rows.truncated, len(rows)) == (0, 3)


def test_the_arrays_are_compact() -> None:
    rows = tokenize(EXAMPLES, PLAIN, max_length=100, loss_on="answer")
    dtypes = [rows.ids.dtype, rows.starts.dtype, rows.lengths.dtype, rows.prompt_lengths.dtype]
    assert dtypes == [np.int32, np.int64, np.int32, np.int32]
    lengths = [size(e.prompt + e.completion) + 1 for e in EXAMPLES]
    assert rows.lengths.tolist() == lengths
    assert rows.starts.tolist() == [0, *np.cumsum(lengths)[:-1]]
    assert len(rows.ids) == sum(lengths)
    assert np.shares_memory(rows.row(1)[0], rows.ids)


def test_loss_on_all_frees_no_token_from_loss() -> None:
    answer, whole = (tokenize(EXAMPLES, PLAIN, 100, loss_on) for loss_on in ("answer", "all"))
    assert whole.prompt_lengths.tolist() == [0, 0, 0]
    assert np.array_equal(whole.ids, answer.ids)


def test_bos_is_put_first_only_where_the_tokenizer_does() -> None:
    assert PLAIN.bos_token_id == BOS.bos_token_id == 0
    assert texts(tokenize(EXAMPLES[:1], BOS, 100, "answer"), BOS) == [("<s>2 + 3 =", " 5</s>")]
    assert texts(tokenize_prompts(EXAMPLES[:1], BOS, 100), BOS) == [("<s>2 + 3 =", "")]
    assert texts(tokenize_prompts(EXAMPLES[:1], PLAIN, 100), PLAIN) == [("2 + 3 =", "")]


def putting(template: str, *special: str, **names: str | None) -> Any:
    """A tokenizer that puts around a text what the template says, of its ids 0 and 1 and more."""
    tokenizer = byte_tokenizer(bos=False, **names)
    ids = {"<s>": 0, "</s>": 1, "a": 67, "b": 68}
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(token, ids[token]) for token in special]
    )
    return tokenizer


AROUND = [
    ("$A", (), (), (1,)),
    ("<s> $A", ("<s>",), (0,), (1,)),
    ("a $A", ("a",), (67,), (1,)),
    ("<s> a b $A", ("<s>", "a", "b"), (0, 67, 68), (1,)),
    ("<s> $A </s>", ("<s>", "</s>"), (0,), (1,)),
    ("$A </s>", ("</s>",), (), (1,)),
    ("<s> $A b", ("<s>", "b"), (0,), (68, 1)),
    ("$A b </s>", ("b", "</s>"), (), (68, 1)),
    ("a $A a", ("a",), (67,), (67, 1)),
]


@pytest.mark.parametrize("bos", ["<s>", None])
@pytest.mark.parametrize(("template", "special", "before", "end"), AROUND)
def test_what_the_tokenizer_puts_around_a_text_is_kept(template, special, before, end, bos):
    tokenizer = putting(template, *special, bos_token=bos)
    for example in EXAMPLES:
        prompt, completion = (
            PLAIN(text, add_special_tokens=False)["input_ids"]
            for text in (example.prompt, example.completion)
        )
        ids, kept = tokenize([example], tokenizer, 100, "answer").row(0)
        assert ids.tolist() == [*before, *prompt, *completion, *end]
        assert kept == len(before) + len(prompt)
        alone = tokenize_prompts([example], tokenizer, 100).row(0)[0]
        assert alone.tolist() == [*before, *prompt]
        chosen = replace(example, choices=(example.completion, " no"))
        choices = tokenize_choices([chosen], tokenizer, 100)
        assert choices.row(0)[0].tolist() == [*before, *prompt, *completion]
        whole = tokenizer(example.prompt)["input_ids"]
        assert whole[: len(alone)] == alone.tolist()


def test_the_room_of_what_comes_first_counts():
    tokenizer = putting("<s> a b $A", "<s>", "a", "b")
    rows = tokenize(EXAMPLES, tokenizer, 8, "answer")
    assert rows.lengths.max() == 8
    assert all(rows.row(i)[0][:3].tolist() == [0, 67, 68] for i in range(3))
    with pytest.raises(ConfigError, match="max_length must be at least 5 for this base"):
        tokenize(EXAMPLES, tokenizer, 4, "answer")


def test_what_depends_on_the_text_is_refused():
    class Odd:
        eos_token_id = 1

        def __call__(self, text, *, add_special_tokens, verbose):
            each = [[9, len(t), *t.encode()] if add_special_tokens else [*t.encode()] for t in text]
            return {"input_ids": each}

    with pytest.raises(BaseModelError, match="depend on the text"):
        tokenize(EXAMPLES, Odd(), 100, "answer")


def test_a_long_row_loses_the_beginning_of_its_prompt() -> None:
    rows = tokenize(EXAMPLES[:1], BOS, max_length=7, loss_on="answer")
    assert texts(rows, BOS) == [("<s>3 =", " 5</s>")]
    assert rows.truncated == 1


def test_a_long_completion_loses_its_end_and_leaves_a_token_of_the_prompt() -> None:
    rows = tokenize(EXAMPLES[1:2], BOS, max_length=8, loss_on="answer")
    assert texts(rows, BOS) == [("<s>?", "The an")]
    assert rows.truncated == 1


@given(
    prompt=st.text(st.characters(codec="ascii"), max_size=12),
    completion=st.text(st.characters(codec="ascii"), max_size=12),
    max_length=st.integers(2, 30),
)
def test_what_a_cut_keeps(prompt: str, completion: str, max_length: int) -> None:
    rows = tokenize([Example(prompt, completion, "")], PLAIN, max_length, "answer")
    ids, kept = rows.row(0)
    whole = PLAIN(prompt + completion, add_special_tokens=False)["input_ids"] + [1]
    assert len(ids) == min(len(whole), max_length)
    assert rows.truncated == (len(whole) > max_length)
    start = size(prompt) - kept
    assert ids.tolist() == whole[start : start + len(ids)]
    assert kept >= min(1, size(prompt))
    assert kept <= 1 or ids[-1] == 1  # the answer is whole while the prompt has tokens to give


def test_generation_continues_from_the_ids_that_training_saw() -> None:
    rows = tokenize(EXAMPLES, BOS, 100, "answer")
    for index, limit in enumerate(rows.prompt_lengths.tolist()):
        alone = tokenize_prompts(EXAMPLES[index : index + 1], BOS, limit)
        assert alone.row(0)[0].tolist() == rows.row(index)[0][:limit].tolist()
        assert (alone.truncated, alone.row(0)[1]) == (0, limit)


def test_a_long_prompt_keeps_its_end() -> None:
    rows = tokenize_prompts(EXAMPLES[:2], BOS, max_prompt_length=8)
    assert texts(rows, BOS) == [("<s>2 + 3 =", ""), ("<s>s Tom ?", "")]
    assert rows.truncated == 1


def test_many_rows_are_tokenised_as_one_by_one() -> None:
    many = [Example(f"{i} + {i} =", f" {2 * i}", "") for i in range(5000)]
    rows = tokenize(many, PLAIN, 50, "answer")
    assert texts(rows, PLAIN)[4999] == ("4999 + 4999 =", " 9998</s>")
    alone = tokenize(many[2047:2049], PLAIN, 50, "answer")
    assert np.array_equal(rows.ids[rows.starts[2047] : rows.starts[2049]], alone.ids)


def test_no_examples() -> None:
    rows = tokenize([], PLAIN, 10, "answer")
    assert (len(rows), rows.starts.tolist(), len(rows.ids)) == (0, [], 0)


def test_no_room() -> None:
    with pytest.raises(ConfigError, match="max_length must be at least 3 for this base, found 2"):
        tokenize(EXAMPLES, BOS, 2, "answer")
    with pytest.raises(ConfigError, match="max_prompt_length must be at least 2"):
        tokenize_prompts(EXAMPLES, BOS, 1)


def test_a_tokenizer_without_an_end() -> None:
    with pytest.raises(BaseModelError, match="no end-of-sequence token"):
        tokenize(EXAMPLES, byte_tokenizer(bos=False, eos_token=None), 10, "answer")
