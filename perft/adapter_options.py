"""Command-line options for adapters: one for each setting of any variant.

A setting is a field of a variant's configuration, annotated with an `Option`; so a new variant's
settings become options automatically.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from perft.adapters.config import AdapterConfig, Option
from perft.adapters.forms import FORMS
from perft.adapters.table import TABLE, VARIANTS
from perft.cli import option_name
from perft.config import adapter_from_flat, fields_of
from perft.errors import ConfigError, listed

Settings = dict[str, Any]
"""The adapter options that the user gave, by parameter."""


def with_adapter_options(
    *, required: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replaces a command's parameter `settings` by the options of an adapter.

    The command gets as `settings` the options that the user gave, and those that every variant has
    with their defaults; for `perft.cli.run` it is a function with a parameter for each option.

    Args:
        required: whether an adapter must be given; otherwise only what the user gave is passed on.
    """
    return functools.partial(_with_options, list(_parameters(required=required)))


def _with_options(
    options: list[inspect.Parameter], command: Callable[..., None]
) -> Callable[..., None]:
    names = [parameter.name for parameter in options]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        found = {name: given.pop(name) for name in names}
        settings = {name: value for name, value in found.items() if value is not None}
        command(**given, settings=settings)

    others = inspect.signature(command).parameters.values()
    at = [parameter.name for parameter in others].index("settings")
    every = [*others]
    every[at : at + 1] = options
    run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
    return run


def adapter_of(settings: Settings) -> AdapterConfig:
    """Builds an adapter's configuration from options.

    Raises:
        ConfigError: if its variant or form does not have an option, or a value is invalid.
    """
    variant = settings["variant"]
    known = fields_of(variant) | {"variant"}
    for name in settings:
        if name not in known:
            raise ConfigError(f"{variant} has no {option_name(name)}; leave it out")
    if "form" in known:
        _require_of_form(settings)
    return adapter_from_flat(settings)


def _require_of_form(settings: Settings) -> None:
    form = settings.get("form", "lora")
    for name in {name for known in FORMS.values() for name in known.settings} & settings.keys():
        having = [other for other in FORMS.values() if name in other.settings]
        if form in FORMS and FORMS[form] not in having:
            raise ConfigError(
                f'form "{form}" has no {name}, found {option_name(name)} {settings[name]}; leave '
                f"it out, or add --form {having[0].name}"
            )


@dataclass(frozen=True)
class _Setting:
    """A field of some variants' configurations.

    Attributes:
        field: of the first of these variants.
        kind: its type.
        option: its option.
        only: the variants that define it themselves; empty if they inherit it.
        is_common: whether every variant has it.
    """

    field: Field[Any]
    kind: Any
    option: Option
    only: tuple[str, ...]
    is_common: bool


def _parameters(*, required: bool) -> Iterator[inspect.Parameter]:
    variant = typer.Option(help=f"{listed(VARIANTS)}.", show_default=False)
    if required:
        yield _parameter("variant", Annotated[str, variant])
    else:
        yield _parameter("variant", Annotated[str | None, variant], default=None)
    for setting in _settings():
        yield _as_parameter(setting, required=required)


def _settings() -> Iterator[_Setting]:
    found: set[str] = set()
    for variant in TABLE.values():
        hints = get_type_hints(variant.config, include_extras=True)
        for one in fields(variant.config):
            if one.name not in found:
                found.add(one.name)
                kind, option = get_args(hints[one.name])
                is_common = all(one.name in fields_of(name) for name in TABLE)
                yield _Setting(one, kind, option, tuple(_owners(one.name)), is_common)


def _owners(name: str) -> Iterator[str]:
    for variant in TABLE.values():
        if name in inspect.get_annotations(variant.config):
            yield variant.name


def _as_parameter(setting: _Setting, *, required: bool) -> inspect.Parameter:
    option, default = setting.option, setting.field.default
    only = f" ({', '.join(setting.only)})" if setting.only else ""
    limits = {"min": option.at_least, "max": option.at_most}
    asked: dict[str, Any] = {name: limit for name, limit in limits.items() if limit is not None}
    kind = str if get_origin(setting.kind) is Literal else setting.kind
    if not required:
        asked["show_default"] = False
        kind, default = kind | None, None
    elif default is MISSING and setting.is_common:
        default = inspect.Parameter.empty
    elif default is None or not setting.is_common:  # the variant has the default
        asked["show_default"] = option.default or (default is not MISSING and str(default))
        kind, default = kind | None, None
    made = typer.Option(help=f"{option.help}{only}.", **asked)
    return _parameter(setting.field.name, Annotated[kind, made], default=default)


def _parameter(name: str, kind: Any, **default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, **default)
