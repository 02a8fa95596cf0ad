"""An adapter of conversations: trained by the base's template, scored again from its folder."""

import json
import shutil
from pathlib import Path

import pytest
from calling import call

from perft.adapter_folder import read_settings
from perft.models.source import BUILTIN

TEMPLATE = (
    "{% for m in messages %}{{ 'Question: ' if m.role == 'user' else ' ' }}{{ m.content }}"
    "{% if m.role == 'user' %}\nAnswer:{% else %}{{ eos_token }}{% endif %}{% endfor %}"
)
SPACE = """
from dataclasses import replace
from pathlib import Path
from perft import OwnTask
from search_spaces.arithmetic import SPACE as OTHER

FILE = Path(__file__).parent / "chats.jsonl"
TASK = OwnTask(name="chats", train=FILE, test=FILE, messages="messages", scorer="exact",
               max_new_tokens=8)
SPACE = replace(OTHER, task=TASK)
"""


@pytest.mark.slow
def test_an_adapter_is_scored_as_it_was_when_trained(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    shutil.copytree(BUILTIN, base)
    (base / "chat_template.jinja").write_text(TEMPLATE)
    (tmp_path / "space.py").write_text(SPACE)
    rows = []
    for i in range(20):
        texts = (f"What is {i}?", f"{i}.", "Is it even?", f"The answer is {5 + i % 2}.")
        roles = ("user", "assistant") * 2
        turns = zip(roles, texts, strict=True)
        rows.append({"messages": [{"role": role, "content": text} for role, text in turns]})
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = call(
        "train", "--space", str(tmp_path / "space.py"), "--base-model", str(base), "--json",
        "--variant", "perft-s", "--rank", "4", "--max-steps", "40", "--lr", "1e-2",
        "--out", str(adapter),
    )  # fmt: skip
    assert done.status == 0, done
    trained = next(e for e in map(json.loads, done.output.splitlines()) if e["event"] == "test")
    record = read_settings(adapter)["perft"]["trained_on"]["own"]
    assert record["chat_template"] == TEMPLATE
    again = call("evaluate", "--adapter", str(adapter), "--base-model", str(base), "--json")
    assert again.status == 0, again
    (test,) = [score for score in json.loads(again.output)["scores"] if score["split"] == "test"]
    assert (test["correct"], test["scored"]) == (trained["correct"], trained["scored"])
    assert test["correct"] > 0
