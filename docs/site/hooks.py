"""Makes the pages of the site that are not files in docs/: from the code, and from the top folder.

MkDocs calls the functions whose names begin with `on_`. A page made from the code is never stale:
commands come from their options, the files of a search from `perft.search_folder`.
"""

import importlib
import inspect
import re
import textwrap
from pathlib import Path
from types import ModuleType

import click
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from settings_page import settings_page

import perft
import perft.search_folder
import perft.studies
from perft.__main__ import commands
from perft.cli import program_of

TOP = Path(__file__).parents[2]
FROM_TOP = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Documents of the top folder, and the pages that they are."""

NOTEBOOK = "notebook.ipynb"
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")

_LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video)\b[^>]*\bsrc=["']?(?:https?:)?//[^>]*>"""
    r"""|<link\b(?![^>]*\brel=["']?canonical)[^>]*\bhref=["']?(?:https?:)?//[^>]*>"""
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made."""
    made = {page: (TOP / name).read_text("utf-8") for name, page in FROM_TOP.items()}
    made["commands.md"] = commands_page()
    made["search-folder.md"] = search_folder_page()
    made["python.md"] = python_page()
    made["settings.md"] = settings_page()
    made["notebook.md"] = notebook_page(TOP / "docs" / NOTEBOOK)
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points links to where their targets are on the site."""
    is_of_top = page.file.src_uri in FROM_TOP.values()
    folder = TOP if is_of_top else TOP / "docs"
    return _LINK.sub(lambda link: _moved(link, folder), markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuses a page that loads something from elsewhere: the site works offline."""
    if found := _LOADED.search(output):
        raise PluginError(f"{page.file.src_uri} loads from elsewhere: {found[0]}")
    return output


def _moved(link: re.Match[str], folder: Path) -> str:
    """A link to a document as one to its page; of a link to code, the text and the file's name."""
    text, target, anchor = link[1], link[2], link[3] or ""
    path = (folder / target).resolve()
    name = path.relative_to(TOP).as_posix() if path.is_relative_to(TOP) else ""
    if name == f"docs/{NOTEBOOK}":
        return f"[{text}](notebook.md)"
    if page := FROM_TOP.get(name) or (name.startswith("docs/") and name.removeprefix("docs/")):
        return f"[{text}]({page}{anchor})"
    return f"{text} (`{name}`)" if path.exists() else link[0]


def commands_page() -> str:
    """Every command with what it does, its arguments and options."""
    parts = [
        "# Commands",
        "`perft COMMAND` where perft is installed, `python jobs/COMMAND.py` in a clone. Every "
        "command has `--help`.",
    ]
    for name in commands():
        program = program_of(importlib.import_module(f"perft.commands.{name}").main)
        parts += [f"## perft {name}", inspect.cleandoc(program.help or "")]
        _, _, examples = (program.epilog or "").partition("Examples:\n")
        if examples:
            parts.append(f"```bash\n{textwrap.dedent(examples)}\n```")
        parts.append(_options(program))
    return "\n\n".join(parts) + "\n"


def _options(program: click.Command) -> str:
    """A table of a command's arguments and options."""
    context = click.Context(program)
    rows = ["| option | what it does |", "|---|---|"]
    for each in program.params:
        record = each.get_help_record(context)
        if record is None:
            continue
        name, text = (" ".join(part.split()).replace("|", "\\|") for part in record)
        rows.append(f"| `{name}` | {text.replace('<', '&lt;')} |")
    return "\n".join(rows)


def python_page() -> str:
    """The public names of perft, but for configurations, by mkdocstrings."""
    names = [name for name in perft.__all__ if not name.endswith("Config")]
    opening = (
        "# From Python\n\nEverything here is importable from `perft`. [Its use](library.md), and "
        "[the configurations](settings.md), have pages of their own."
    )
    studies = [name for name in perft.studies.__all__ if name[0].isupper() and name[1].islower()]
    parts = [
        opening,
        *(_described(perft, name) for name in names),
        "## Studies\n\nThese are importable from `perft.studies` ([their use](studies.md)).",
        *(_described(perft.studies, name) for name in studies),
    ]
    return "\n\n".join(parts) + "\n"


def _described(module: ModuleType, name: str) -> str:
    return f"::: {getattr(module, name).__module__}.{name}"


def search_folder_page() -> str:
    """The layout of a search's folder, as the module that names its files tells it."""
    text = inspect.getdoc(perft.search_folder) or ""
    opening, _, layout = text.partition("\n\n")
    layout, _, rest = layout.partition("\n\n")
    title = "# The files of a search"
    return f"{title}\n\n{opening}\n\n```text\n{inspect.cleandoc(layout)}\n```\n\n{rest}\n"


def notebook_page(notebook: Path) -> str:
    """A notebook's cells as one page."""
    parts = []
    for cell in nbformat.read(notebook, as_version=4).cells:
        is_code = cell.cell_type == "code"
        parts.append(f"```python\n{cell.source}\n```" if is_code else cell.source)
    return "\n\n".join(parts) + "\n"
