"""The pages of the site that are made from the code: whole, and without anything from elsewhere."""

import dataclasses
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from mkdocs.exceptions import PluginError

import perft
from perft.__main__ import commands
from perft.cli import program_of

SITE = Path(__file__).parents[1] / "docs" / "site"


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(SITE), *sys.path])
        return import_module("hooks")


def test_every_option_and_example_is_on_the_page_of_commands(hooks: ModuleType) -> None:
    page = hooks.commands_page()
    parts = dict(part.split("\n", 1) for part in page.split("\n## perft ")[1:])
    assert list(parts) == commands()
    for name, text in parts.items():
        program = program_of(import_module(f"perft.commands.{name}").main)
        options = [opt for each in program.params for opt in each.opts if opt.startswith("--")]
        assert [option for option in options if f"`{option}" not in text] == [], name
        assert text.count(f"\nperft {name}") >= 1, f"{name} has no examples"


def test_every_setting_of_every_configuration_has_its_meaning(hooks: ModuleType) -> None:
    page = hooks.settings_page()
    configs = [getattr(perft, name) for name in perft.__all__ if name.endswith("Config")]
    assert len(configs) > 10
    for config in configs:
        if config not in (perft.TrialConfig, perft.AdapterConfig, perft.TrainingConfig):
            assert f"`perft.{config.__name__}`, `--variant {config.variant}`" in page
        for field in dataclasses.fields(config):
            if config is not perft.TrialConfig:
                rows = [row for row in page.splitlines() if row.startswith(f"| `{field.name}`")]
                assert rows, field.name
                assert all(row.rstrip(" |").count("|") >= 4 for row in rows), rows
    assert "| `alpha`<br>`--alpha` | `2 * rank` | float from 0 to 1,000,000 |" in page
    assert "| `batch_size` | `16` | int | examples per step" in page


def test_every_public_name_is_on_a_page(hooks: ModuleType) -> None:
    pages = hooks.python_page() + hooks.settings_page()
    hidden = {"AdapterConfig"}  # its settings are those of every variant
    assert [name for name in perft.__all__ if name not in pages and name not in hidden] == []


def test_a_page_that_loads_from_elsewhere_is_refused(hooks: ModuleType) -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="a.md"))
    for tag in (
        '<script src="https://unpkg.com/mermaid"></script>',
        '<img alt="x" src="//example.org/a.png">',
        '<link rel="stylesheet" href="https://fonts.example.org/css">',
    ):
        with pytest.raises(PluginError, match=r"a\.md loads from elsewhere"):
            hooks.on_post_page(f"<p>{tag}</p>", page=page, config=None)
    fine = (
        '<a href="https://arxiv.org">paper</a><script src="assets/a.js"></script>'
        '<link rel="canonical" href="https://example.org"><img src="front.png">'
    )
    assert hooks.on_post_page(fine, page=page, config=None) == fine
