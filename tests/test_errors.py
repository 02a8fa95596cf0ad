"""Errors cross process boundaries unchanged and are Python's own kinds too."""

import inspect
import pickle

import pytest

from perft import errors
from perft.errors import PerftError, unknown

EVERY = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PerftError)
]
STANDARD = {
    "ConfigError": ValueError,
    "DataError": ValueError,
    "BaseModelError": ValueError,
    "AdapterError": ValueError,
    "StorageError": OSError,
    "DamagedError": OSError,
    "LibraryError": ImportError,
    "InterruptedSearchError": RuntimeError,
    "SearchError": RuntimeError,
    "CallbackError": RuntimeError,
}


@pytest.mark.parametrize("kind", EVERY)
def test_error_survives_pickling(kind: type[PerftError]):
    error = pickle.loads(pickle.dumps(kind("found 3, wanted 4: do this")))
    assert type(error) is kind
    assert str(error) == "found 3, wanted 4: do this"


@pytest.mark.parametrize("kind", [kind for kind in EVERY if kind is not PerftError])
def test_error_is_a_standard_one_too(kind: type[PerftError]):
    assert issubclass(kind, STANDARD[kind.__name__])


def test_unknown_name_comes_with_the_nearest_ones_and_all_in_order():
    assert unknown("variant", "perft_r", ["perft-r", "lora", "perft-e"]) == (
        "unknown variant 'perft_r'; did you mean 'perft-r' or 'perft-e'? "
        "(known: lora, perft-e, perft-r)"
    )


def test_unknown_name_without_a_near_one_comes_with_all():
    assert unknown("task", "zzz", iter(["b", "a"])) == "unknown task 'zzz' (known: a, b)"
