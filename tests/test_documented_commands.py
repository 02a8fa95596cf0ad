"""Every line of a document that calls a command of perft parses: its options and choices exist."""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from perft.__main__ import commands
from perft.cli import program_of
from test_documents import CODE, DOCUMENTS

CALL = re.compile(r"(?:^|(?<=-- )|(?<=\$ ))(?:perft +|python jobs/)([a-z]+(?:\.py)?(?: .*)?)$")
CONTINUED = re.compile(r" *\\\n *")


def lines_of(document: Path) -> Iterator[str]:
    """The lines of code blocks; a line that ends in a backslash goes on in the next one."""
    for block in CODE.findall(CONTINUED.sub(" ", document.read_text())):
        if block.startswith("`") and not block.startswith("```"):
            continue  # a phrase in a sentence, often shortened
        yield from block.splitlines()


def calls() -> Iterator[tuple[str, str]]:
    """Documents, and the calls in them from the command's name on."""
    for document in DOCUMENTS:
        for line in lines_of(document):
            if found := CALL.search(line.partition("  #")[0].partition(" | ")[0].strip()):
                yield document.name, found[1]


@pytest.mark.parametrize(("document", "line"), list(calls()))
def test_a_documented_command_parses(document: str, line: str) -> None:
    name, *args = shlex.split(line)
    name = name.removesuffix(".py")
    assert name in commands(), f"{document}: {line}"
    program = program_of(importlib.import_module(f"perft.commands.{name}").main)
    program.make_context(name, args)  # raises where it does not parse


def test_there_are_calls_to_parse() -> None:
    assert len(list(calls())) > 25
    assert {"README.md", "tutorial.md", "searching.md"} <= {document for document, _ in calls()}
