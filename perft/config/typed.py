"""Values that were read from JSON, checked against the types that they are annotated with.

A dataclass says by its annotations what its fields are, and by its constructor in which range they
lie. Both are checked here, so that a wrong value is named where it is read, not where it is used.
"""

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from perft.checks import is_whole, shown
from perft.errors import ConfigError, unknown

_LONGEST = 80  # characters of a key that an error shows as it is

T = TypeVar("T")


def typed(kind: Any, value: Any, name: str) -> Any:
    """A JSON value as what it should be.

    Args:
        kind: an annotation of `bool`, `int`, `float` (infinite or not), `str`, `None`, `Any`, a
            `Literal`, a union, `tuple[X, ...]`, `Mapping[str, X]`, or a dataclass of such fields.
        value: the value.
        name: what errors call it; empty for a file's whole content.

    Returns:
        The value; arrays as tuples, objects as their dataclass.

    Raises:
        ConfigError: if it is something else; names the field, such as "reports[0].step".
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(args, value, name)
    if origin is tuple:
        _require(isinstance(value, Sequence) and not isinstance(value, str), name, "a list", value)
        return tuple(typed(args[0], each, f"{name}[{i}]") for i, each in enumerate(value))
    if origin is Mapping:
        _require(isinstance(value, Mapping), name, "an object", value)
        return {key: typed(args[1], each, _in(name, key)) for key, each in value.items()}
    if dataclasses.is_dataclass(kind):
        return read_fields(kind, value, name)  # type: ignore[arg-type]
    if origin is Literal:
        _require(isinstance(value, str) and value in args, name, f"one of {', '.join(args)}", value)
    elif kind is not Any:
        fits, wanted = _SIMPLE[kind]
        _require(fits(value), name, wanted, value)
    return value


def read_fields(kind: type[T], value: Any, name: str = "") -> T:
    """A dataclass from a JSON object with its fields.

    Args:
        kind: the dataclass.
        value: the object; fields that have a default may be missing.
        name: what errors call it; empty for a file's whole content.

    Raises:
        ConfigError: for an unknown, missing or wrong field; names it.
    """
    _require(isinstance(value, Mapping), name, "an object", value)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in value:
        if key not in fields:
            raise ConfigError(f"{name or 'the content'}: {unknown('field', str(key), fields)}")
    hints = get_type_hints(kind)
    found = {key: typed(hints[key], each, _in(name, key)) for key, each in value.items()}
    for key, field in fields.items():
        if key not in found and not _has_default(field):
            raise ConfigError(f"{_in(name, key)} is missing")
    try:
        return kind(**found)
    except ConfigError as error:
        raise ConfigError(f"{name}.{error}" if name else str(error)) from error


def _in(name: str, key: str) -> str:
    """A field of what is called `name`, as errors call it."""
    plain = key if key.isidentifier() and len(key) <= _LONGEST else shown(key)
    return f"{name}.{plain}" if name else plain


def _one_of(kinds: tuple[Any, ...], value: Any, name: str) -> Any:
    """The value as the first of some kinds that it fits; the error is that of the first."""
    if value is None and types.NoneType in kinds:
        return None
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


def _require(fits: bool, name: str, wanted: str, value: Any) -> None:
    if not fits:
        raise ConfigError(f"{name or 'the content'} must be {wanted}, found {shown(value)}")


_SIMPLE: Mapping[Any, tuple[Any, str]] = {
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (is_whole, "a whole number"),
    float: (
        lambda value: isinstance(value, float) or (is_whole(value) and abs(value) < 2**1000),
        "a number",
    ),
    str: (lambda value: isinstance(value, str), "text"),
    types.NoneType: (lambda value: value is None, "null"),
}
