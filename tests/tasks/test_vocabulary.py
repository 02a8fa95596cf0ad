"""A token that the base has no embedding for is found before anything is trained."""

import pytest

from perft.errors import BaseModelError, DataError
from perft.tasks import Example, Scorer, Split
from perft.tasks.vocabulary import require_embeddings
from tasks.byte_tokenizer import BOS, PLAIN, byte_tokenizer

SCORER = Scorer("exact", 2, extract=str, matches=str.__eq__)
ALL = max(PLAIN.get_vocab().values()) + 1
FIRST, ODD = Example("abc", "d", ""), Example("abc", "d", "", ("d", "e "), "file.json, row 7")


def id_of(character: str) -> int:
    return PLAIN(character, add_special_tokens=False)["input_ids"][0]


def split(*examples: Example) -> list[Split]:
    return [Split("empty", (), SCORER), Split("train", examples, SCORER)]


def test_a_base_that_knows_all_tokens_knows_all_texts():
    require_embeddings(split(FIRST, ODD), PLAIN, ALL)


def test_texts_of_known_tokens_pass_where_the_tokenizer_has_others():
    require_embeddings(split(FIRST), PLAIN, ALL - 1)
    require_embeddings(split(FIRST, ODD), PLAIN, id_of(" ") + 1)


def test_the_first_text_with_another_is_named_with_part_and_token():
    known = id_of(" ")
    message = rf"^file.json, row 7 has the token 'Ġ' of id {known} in its choice 'e ', and the base"
    with pytest.raises(DataError, match=message):
        require_embeddings(split(FIRST, ODD), PLAIN, known)


def test_a_text_that_was_made_is_named_by_its_number():
    odd = Example("ab " + "c" * 100, "d", "")
    with pytest.raises(
        DataError, match=r"^example 2 of the split 'train' .* prompt 'ab c{57}\.\.\.'"
    ):
        require_embeddings(split(FIRST, odd), PLAIN, id_of(" "))


def test_what_is_put_around_every_text_must_be_known():
    for tokenizer, token in ((BOS, "<s>"), (PLAIN, "</s>")):
        with pytest.raises(BaseModelError, match=f"puts the token '{token}' of id . around every"):
            require_embeddings([], tokenizer, 0)


def test_a_tokenizer_without_an_end_is_refused():
    with pytest.raises(BaseModelError, match="no end-of-sequence token"):
        require_embeddings([], byte_tokenizer(bos=False, eos_token=None), ALL)
