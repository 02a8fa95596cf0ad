"""Checks values from JSON or another process against type annotations.

A dataclass has the types of its fields in its annotations, and checks their ranges in its
constructor. Both are checked here, so that a wrong value is named where it is read, not where it is
used.
"""

import dataclasses
import functools
import types
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from perft.checks import is_whole, shown
from perft.errors import ConfigError, unknown

_LONGEST = 80  # characters of a key that an error shows in full

T = TypeVar("T")


def typed(kind: object, value: object, name: str) -> Any:
    """Checks a value and converts it to an annotated type.

    Args:
        kind: an annotation of `bool`, `int`, `float` (infinite or not), `str`, `None`, `object`, a
            `Literal`, a union, `tuple[X, ...]`, `Mapping[str, X]` or `Mapping[int, X]`, a named
            tuple, or a dataclass of such fields.
        value: a JSON value, or an object unpickled from another process, whose constructor did not
            run in this one.
        name: its name in errors; empty for a file's whole content.

    Returns:
        The value; arrays as tuples, objects as their dataclass.

    Raises:
        ConfigError: if it has another type; names the field, such as "reports[0].step".
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(args, value, name)
    if origin is tuple:
        return tuple(typed(args[0], x, f"{name}[{i}]") for i, x in enumerate(_list(value, name)))
    if origin is Mapping:
        return {
            typed(args[0], key, f"a key of {name}"): typed(args[1], each, _in(name, key))
            for key, each in _object(value, name).items()
        }
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if isinstance(value, kind):
            return read_fields(type(value), vars(value), name)
        return read_fields(kind, value, name)
    return _simple(kind, value, name)


def _simple(kind: object, value: object, name: str) -> object:
    """Checks a scalar, a literal or a named tuple."""
    if isinstance(kind, type) and issubclass(kind, tuple):
        return _named_tuple(kind, value, name)
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        is_one = isinstance(value, str) and value in choices
        _require(is_one, name, f"one of {', '.join(choices)}", value)
    elif kind not in (Any, object):
        fits, wanted = _SIMPLE[kind]
        _require(fits(value), name, wanted, value)
    return value


def read_fields(kind: type[T], value: object, name: str = "") -> T:
    """Builds a dataclass from a JSON object with its fields.

    Args:
        kind: the dataclass.
        value: the object; fields with a default may be missing.
        name: its name in errors; empty for a file's whole content.

    Raises:
        ConfigError: for an unknown, missing or wrong field; names it.
    """
    given = _object(value, name)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in given:
        if key not in fields:
            raise ConfigError(f"{name or 'the content'}: {unknown('field', str(key), fields)}")
    hints = _hints(kind)  # type: ignore[arg-type]  # a class can be hashed
    found = {key: typed(hints[key], each, _in(name, key)) for key, each in given.items()}
    for key, field in fields.items():
        if key not in found and not _has_default(field):
            raise ConfigError(f"{_in(name, key)} is missing")
    try:
        return kind(**found)
    except ConfigError as error:
        raise ConfigError(f"{name}.{error}" if name else str(error)) from error


@functools.cache
def _hints(kind: Hashable) -> Mapping[str, object]:
    """The types of a class's fields."""
    return get_type_hints(kind)


def _named_tuple(kind: type, value: object, name: str) -> Any:
    hints, given = _hints(kind), _list(value, name)
    _require(len(given) == len(hints), name, f"a list of {', '.join(hints)}", value)
    found = zip(hints.items(), given, strict=True)
    return kind(*(typed(hint, each, _in(name, field)) for (field, hint), each in found))


def _list(value: object, name: str) -> Sequence[object]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value
    raise _wrong(name, "a list", value)


def _object(value: object, name: str) -> Mapping[Any, object]:
    if isinstance(value, Mapping):
        return value
    raise _wrong(name, "an object", value)


def _in(name: str, key: object) -> str:
    """The name of a field of `name`, for errors."""
    text = str(key)
    if not (text.isidentifier() and len(text) <= _LONGEST):
        text = shown(key)
    return f"{name}.{text}" if name else text


def _one_of(kinds: tuple[object, ...], value: object, name: str) -> Any:
    """The value as the first type that it fits; else raises the first type's error."""
    if value is None and types.NoneType in kinds:
        return None
    if type(value) in kinds and dataclasses.is_dataclass(value):
        return typed(type(value), value, name)
    first: ConfigError | None = None
    for kind in kinds:
        try:
            return typed(kind, value, name)
        except ConfigError as error:
            first = first or error
    assert first is not None
    raise first


def _has_default(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def _require(fits: bool, name: str, wanted: str, value: object) -> None:
    if not fits:
        raise _wrong(name, wanted, value)


def _wrong(name: str, wanted: str, value: object) -> ConfigError:
    return ConfigError(f"{name or 'the content'} must be {wanted}, found {shown(value)}")


_SIMPLE: Mapping[object, tuple[Callable[[object], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (is_whole, "a whole number"),
    float: (
        lambda value: isinstance(value, float) or (is_whole(value) and abs(value) < 2**1000),
        "a number",
    ),
    str: (lambda value: isinstance(value, str), "text"),
    types.NoneType: (lambda value: value is None, "null"),
}
