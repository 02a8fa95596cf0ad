"""Makes the page of settings: a table for each class of configurations, from its fields."""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from typing import get_type_hints

from griffe import Docstring, DocstringSectionKind

import perft
from perft.adapters.config import AdapterConfig, Option
from perft.adapters.experts import ExpertsConfig
from perft.cli import option_name, program_of
from perft.commands import train
from perft.config import TrainingConfig

OPENING = """\
# Settings

A trial is `perft.TrialConfig(adapter, training)`: the configuration of a variant, such as
`perft.RoutedConfig(rank=8, num_experts=4, top_k=2)`, and a `perft.TrainingConfig(lr=5e-3)`.
A search space chooses both; the options are those of [`perft train`](commands.md#perft-train).
A setting without a default must be given. Bad values are refused when the configuration is made,
before anything starts.
"""


def settings_page() -> str:
    """The settings of training, of every variant, of PEFT experts, and of each variant."""
    parts = [
        OPENING,
        "## Training",
        _table(TrainingConfig),
        "## Every variant",
        "Of PERFT and LoRA variants alike, but for what a variant's paragraph below excludes.",
        _table(AdapterConfig),
        "## PEFT experts",
        "Of PERFT-R, -E, -D, -S and -G, beside those of every variant.",
        _table(ExpertsConfig),
    ]
    return "\n\n".join([*parts, *map(_of_variant, _variants())]) + "\n"


def _variants() -> list[type[AdapterConfig]]:
    """The configurations of all variants, PEFT experts first."""
    every = [getattr(perft, name) for name in perft.__all__ if name.endswith("Config")]
    variants = [each for each in every if hasattr(each, "variant")]
    return sorted(variants, key=lambda each: (not issubclass(each, ExpertsConfig), each.variant))


def _of_variant(config: type[AdapterConfig]) -> str:
    """A variant's paragraph, and the table of what it alone has."""
    shared = "PEFT experts" if issubclass(config, ExpertsConfig) else "every variant"
    anchor = shared.lower().replace(" ", "-")
    has_own = any(_own(config))
    parts = [
        f"## {config.variant}",
        f"`perft.{config.__name__}`, `--variant {config.variant}`. {_summary(config)}",
        f"It has the settings of [{shared}](#{anchor})"
        + ("" if config.drops else ", but no `dropout`")
        + (", and:" if has_own else "."),
    ]
    return "\n\n".join([*parts, *([_table(config)] if has_own else [])])


def _table(config: type) -> str:
    """A row for every field that the class itself declares."""
    meanings, hints = _meanings(config), get_type_hints(config, include_extras=True)
    options = {parameter.name for parameter in program_of(train.main).params}
    rows = ["| setting, option | default | values | meaning |", "|---|---|---|---|"]
    for field in _own(config):
        option = f"<br>`{option_name(field.name)}`" if field.name in options else ""
        hint = hints[field.name]
        meaning = meanings.get(field.name) or ", ".join(each.help for each in _options(hint))
        cells = (f"`{field.name}`{option}", _default(field, hint), _values(hint), meaning)
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows)


def _own(config: type) -> Iterator["dataclasses.Field[object]"]:
    """The fields that the class declares, not its bases."""
    return (field for field in dataclasses.fields(config) if field.name in config.__annotations__)


def _meanings(config: type) -> Mapping[str, str]:
    """What the class's docstring says of its fields."""
    return {
        attribute.name: " ".join(attribute.description.split())
        for section in Docstring(inspect.cleandoc(config.__doc__ or "")).parse("google")
        if section.kind is DocstringSectionKind.attributes
        for attribute in section.value
    }


def _summary(config: type) -> str:
    """The docstring up to its sections."""
    return inspect.cleandoc(config.__doc__ or "").partition("\n\nAttributes:")[0]


def _default(field: "dataclasses.Field[object]", hint: object) -> str:
    """The default, in the words of its option if it has some."""
    if field.default is dataclasses.MISSING:
        return ""
    words = next((option.default for option in _options(hint)), None)
    return f"`{words if field.default is None and words else field.default}`"


def _values(hint: object) -> str:
    """The type, and the bounds that its option declares."""
    plain = getattr(hint, "__origin__", hint) if _options(hint) else hint
    choices = getattr(plain, "__args__", ())
    name = getattr(plain, "__name__", "")
    if name == "Literal":
        return ", ".join(f"`{choice}`" for choice in choices)
    kind = name if isinstance(plain, type) and not choices else str(plain)
    bounds = [
        f"{words} {bound:,}".removesuffix(".0")
        for option in _options(hint)
        for words, bound in (("from", option.at_least), ("to", option.at_most))
        if bound is not None
    ]
    return " ".join([kind.removesuffix(" | None"), *bounds])


def _options(hint: object) -> list[Option]:
    """The options that a field is annotated with: one, or none."""
    return [each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Option)]
