"""`perft tasks` shows what a base will read, without its weights."""

import json
import shutil
from pathlib import Path

from calling import call, write_data

from perft.models.source import BUILTIN
from perft.models.tokenizer import load_tokenizer
from perft.tasks import TaskSource, load_task
from perft.tasks.rendered import rendered
from perft.tasks.tokenize import tokenize

CHATS = """
from dataclasses import replace
from pathlib import Path
from perft import OwnTask
from search_spaces.arithmetic import SPACE as OTHER

HERE = Path(__file__).parent
TASK = OwnTask(name="chats", train=HERE / "chats.jsonl", messages="messages", scorer="exact")
SPACE = replace(OTHER, task=TASK)
"""
TASKS = ("tasks", "--space", "arithmetic")


def test_what_is_shown_is_what_is_trained() -> None:
    done = call(*TASKS, "--json")
    assert (done.status, done.errors) == (0, "")
    shown = json.loads(done.output)
    task = load_task(TaskSource(name="arithmetic"))
    rows = tokenize(task.train.examples[:3], load_tokenizer(BUILTIN, 1 << 20), 256, "answer")
    assert len(shown["examples"]) == 3
    for index, one in enumerate(shown["examples"]):
        ids, prompt = rows.row(index)
        example = task.train.examples[index]
        assert (one["tokens"], one["trained_tokens"]) == (len(ids), len(ids) - prompt)
        assert [(p["text"], p["trained"]) for p in one["pieces"]] == [
            (example.prompt, False), (example.completion, True),
        ]  # fmt: skip
        assert one["label"] == example.answer
        assert "".join(piece.text for piece in rendered(example)) == (
            example.prompt + example.completion
        )
    assert [split["examples"] for split in shown["splits"]] == [4000, 400, 1000]
    assert all(split["longer"] == 0 for split in shown["splits"])


def test_people_see_prompts_labels_and_lengths() -> None:
    done = call(*TASKS, "--examples", "1")
    lines = done.output.splitlines()
    assert lines[0] == "train example 1: 156 characters, 54 tokens, of which 24 are trained"
    assert "\u00ab 27 + 18 = 45. 45 - 3 = 42. The answer is 42.\u00bb" in done.output
    assert "label: 42" in lines
    assert lines[-1] == "task arithmetic: 4,000 train, 400 validation, 1,000 test"


LABELLED = """
from dataclasses import replace
from pathlib import Path
from perft import OwnTask
from search_spaces.arithmetic import SPACE as OTHER

HERE = Path(__file__).parent
TASK = OwnTask(
    name="moods", train=HERE / "moods.jsonl", prompt="{text}", answer="mood",
    choices=("bad", "good", "mixed"), scorer="choice",
)
SPACE = replace(OTHER, task=TASK)
"""


def test_labels_are_counted_also_those_that_never_occur(tmp_path: Path) -> None:
    (tmp_path / "space.py").write_text(LABELLED)
    rows = [{"text": f"text {i}", "mood": "good" if i % 3 else "bad"} for i in range(30)]
    (tmp_path / "moods.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    options = ("tasks", "--space", str(tmp_path / "space.py"), "--validation-size", "6")
    done = call(*options)
    assert (done.status, done.errors) == (0, "")
    assert "labels of train: 'bad' " in done.output
    assert ", 'mixed' 0\n" in done.output
    train, validation = json.loads(call(*options, "--json").output)["splits"]
    assert train["labels"]["bad"] + validation["labels"]["bad"] == 10
    assert sum(train["labels"].values()) == 24
    many, *_ = json.loads(call(*TASKS, "--json").output)["splits"]
    assert many["labels"] == {}


def test_a_base_needs_no_weights_and_own_data_are_shown(tmp_path: Path) -> None:
    base = shutil.copytree(BUILTIN, tmp_path / "base", ignore=lambda *_: ["model.safetensors"])
    data = write_data(tmp_path / "data")
    done = call(*TASKS, "--base-model", str(base), "--data", data, "--validation-size", "4")
    assert (done.status, done.errors) == (0, "")
    assert "Ann has" in done.output
    assert done.output.splitlines()[-1] == "task arithmetic: 16 train, 4 validation, 3 AddSub"
    assert "is not a directory" in call(*TASKS, "--data", str(tmp_path / "none")).refusal


def test_a_conversation_is_shown_as_the_template_writes_it(tmp_path: Path) -> None:
    space = tmp_path / "space.py"
    space.write_text(CHATS)
    asked, said = '{"role": "user", "content": "%d?"}', '{"role": "assistant", "content": "1"}'
    row = f'{{"messages": [{asked}, {said}]}}'
    (tmp_path / "chats.jsonl").write_text("\n".join(row % i for i in range(6)))
    refused = call("tasks", "--space", str(space))
    assert refused.status != 0
    assert "neither it nor the base has a chat template" in " ".join(refused.errors.split())
    base = tmp_path / "base"
    base.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BUILTIN / name, base)
    (base / "chat_template.jinja").write_text(
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    done = call("tasks", "--space", str(space), "--base-model", str(base), "--examples", "1")
    assert "?<assistant>\u00ab1\u00bb" in done.output
