"""Conversations: rendered by a chat template, trained at every answer, generated as trained."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from perft.errors import ConfigError, DataError
from perft.tasks import OwnTask, Task, TaskSource, load_task
from perft.tasks.tokenize import tokenize, tokenize_pairs, tokenize_prompts
from tasks.byte_tokenizer import BOS, PLAIN
from tasks.chat_templates import CHATML, DEEPSEEK, HARMONY, MISTRAL, STYLES, THINKS_ALOUD

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def chat(*texts: str, system: str = "") -> list[dict[str, Any]]:
    """User and assistant in turns."""
    roles = ("user", "assistant")
    turns = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return [{"role": "system", "content": system}, *turns] if system else turns


CHATS = [
    {"messages": chat(f"Is {i} even?", "Let me see.", "And?", f"It is {i}.")} for i in range(10)
]


def task_of(
    folder: Path, rows: list[dict[str, Any]], template: str = CHATML, **own: Any
) -> OwnTask:
    file = folder / "chats.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    settings = {"scorer": "exact", "special_tokens": TOKENS, "chat_template": template} | own
    return OwnTask(name="chats", train=file, test=file, messages="messages", **settings)


def load(own: OwnTask) -> Task:
    """Loads the task as another process would."""
    flat = json.loads(json.dumps(own.to_json()))
    return load_task(TaskSource(name=own.name, validation_size=2, own=flat, trust_code=True))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("tokenizer", [PLAIN, BOS], ids=["plain", "bos"])
def test_generation_opens_with_the_ids_that_the_tokenizer_gives(
    tmp_path: Path, style: str, tokenizer: Any
) -> None:
    """As `apply_chat_template` makes them, and as the training row begins."""
    template = STYLES[style].replace("strftime_now('%Y-%m-%d')", "'2024-07-26'")
    (test,) = load(task_of(tmp_path, CHATS, STYLES[style])).tests
    prompts = tokenize_prompts(test.examples, tokenizer, 4096)
    rows = tokenize(test.examples, tokenizer, 4096, "answer")
    for i, row in enumerate(CHATS):
        opening, ids = (
            tokenizer.apply_chat_template(
                messages, chat_template=template, add_generation_prompt=generate, return_dict=False
            )
            for messages, generate in ((row["messages"][:-1], True), (row["messages"], False))
        )
        assert prompts.row(i)[0].tolist() == opening
        trained, without_loss = rows.row(i)
        assert trained[:without_loss].tolist() == opening
        eos = tokenizer.eos_token_id
        assert trained[-1] == eos
        # Blanks after the turn are not trained; end of sequence is there once.
        assert (
            tokenizer.decode(trained[:-1]).rstrip()
            == tokenizer.decode(ids[:-1] if ids[-1] == eos else ids).rstrip()
        )
        assert trained[:-1].tolist().count(eos) == opening.count(eos)


@pytest.mark.parametrize("style", STYLES)
def test_every_answer_is_trained_as_the_last_one_is(tmp_path: Path, style: str) -> None:
    task = load(task_of(tmp_path, CHATS, STYLES[style]))
    assert (len(task.train.examples), len(task.validation.examples)) == (16, 2)
    first, second = task.train.examples[:2]
    assert "Let me see." in first.completion
    assert first.prompt == second.prompt[: len(first.prompt)]
    assert "It is" in second.completion
    assert second.prompt.index("Let me see.") > 0
    shorter = [{"messages": row["messages"][:2]} for row in CHATS]
    alone = load(task_of(tmp_path, shorter, STYLES[style])).tests[0].examples
    assert (first.prompt, first.completion) in [(e.prompt, e.completion) for e in alone]


def test_thoughts_that_a_template_drops_later_are_trained_where_they_were(tmp_path: Path) -> None:
    said = "<think>one</think>1"
    task = load(
        task_of(tmp_path, [{"messages": chat("a", said, f"b{i}", "2")} for i in range(5)], DEEPSEEK)
    )
    assert {each.completion for each in task.train.examples} == {f"{said}</s>", "2</s>"}
    assert all("one" not in example.prompt for example in task.train.examples)


def test_no_earlier_turn_of_training_asks_what_validation_does(tmp_path: Path) -> None:
    short = [{"messages": chat(f"{i}?", "yes")} for i in range(10)]
    longer = [{"messages": chat(f"{i}?", "yes", "sure?", "yes")} for i in range(10)]
    task = load(task_of(tmp_path, short + longer))
    held = {example.prompt for example in task.validation.examples}
    assert held.isdisjoint(example.prompt for example in task.train.examples)


def test_kinds_of_files_and_forms_are_the_same(tmp_path: Path) -> None:
    own = task_of(tmp_path, CHATS)
    table = tmp_path / "chats.parquet"
    parquet.write_table(pa.Table.from_pylist(CHATS), table)
    names = {"user": "human", "assistant": "gpt"}
    older = [
        {"messages": [{"from": names[m["role"]], "value": m["content"]} for m in row["messages"]]}
        for row in CHATS
    ]
    (tmp_path / "older").mkdir()
    expected = load(own).fingerprint
    assert load(replace(own, train=table, test=table)).fingerprint == expected
    assert load(task_of(tmp_path / "older", older)).fingerprint == expected


def test_a_system_prompt_of_the_task_is_that_of_rows_without_one(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    mixed = [{"messages": chat(f"{i}?", "yes", system="Be kind." if i else "")} for i in range(6)]
    every = [{"messages": chat(f"{i}?", "yes", system="Be kind.")} for i in range(6)]
    given = load(task_of(tmp_path, mixed, system="Be kind."))
    assert given.fingerprint == load(task_of(tmp_path / "rows", every)).fingerprint


def test_scores_compare_what_is_said_after_the_thinking(tmp_path: Path) -> None:
    exact = load(task_of(tmp_path, CHATS)).tests[0]
    assert exact.examples[3].answer == "It is 3."
    assert exact.scorer.is_correct("<think>\nhm\n</think>\n\nIt is 3.", "It is 3.")
    assert not exact.scorer.is_correct("<think>It is 3.", "It is 4.")
    numeric = load(task_of(tmp_path, CHATS, scorer="numeric")).tests[0]
    assert numeric.examples[3].answer == "3."
    assert numeric.scorer.is_correct("3", "3.")
    labelled = [row | {"sum": i} for i, row in enumerate(CHATS)]
    assert load(task_of(tmp_path, labelled, answer="sum")).tests[0].examples[3].answer == "3"


@pytest.mark.parametrize("explicit", [True, False], ids=["prompt", "whole"])
def test_pairs_have_one_prompt_and_two_answers(tmp_path: Path, explicit: bool) -> None:
    turns = [chat(f"{i}?", "yes") for i in range(6)]
    rows = [
        {"prompt": [ask], "messages": [good], "rejected": [good | {"content": "no"}]}
        if explicit
        else {"messages": [ask, good], "rejected": [ask, good | {"content": "no"}]}
        for ask, good in turns
    ]
    task = load(task_of(tmp_path, rows, MISTRAL, rejected="rejected", scorer="preference"))
    example = task.tests[0].examples[0]
    assert (example.prompt, *example.pair) == ("<s>[INST] 0? [/INST]", " yes</s>", " no</s>")
    pairs = tokenize_pairs(task.tests[0].examples, PLAIN, 512)
    ids, prompt = pairs.row(1)
    assert PLAIN.decode(ids[prompt:]) == " no</s>"


def test_tools_and_fields_are_kept_where_the_template_takes_them(tmp_path: Path) -> None:
    rows = [{"messages": chat(f"{i}?", "yes")} for i in range(6)]
    for row in rows:
        row["messages"][1]["thinking"] = "easy"
    example = load(task_of(tmp_path, rows, HARMONY)).tests[0].examples[0]
    assert example.completion.startswith("<|channel|>analysis<|message|>easy<|end|>")
    assert "2024-07-26" in example.prompt
    with pytest.raises(DataError, match=r"row 1 has the field thinking .* leaves out"):
        load(task_of(tmp_path, rows))
    tools = [{"messages": chat(f"{i}?", "yes"), "tools": [{"name": "add"}]} for i in range(6)]
    with pytest.raises(DataError, match=r"row 1 has tools, which the chat template leaves out"):
        load(task_of(tmp_path, tools))
    takes = "{% if tools %}{{ tools | tojson }}{% endif %}" + CHATML
    assert '{"name": "add"}' in load(task_of(tmp_path, tools, takes)).tests[0].examples[0].prompt


ODD = {
    "none as messages; wanted a list": {"other": 1},
    "an empty array as messages": {"messages": []},
    "text as messages": {"messages": "hello"},
    r"text as messages\[0\]": {"messages": ["hello"]},
    r"the role 'bot' in messages\[1\]; wanted one of system": {
        "messages": [*chat("a"), {"role": "bot", "content": "b"}]
    },
    "the role None": {"messages": [{"content": "b"}]},
    "a list of parts .* multi-modal": {
        "messages": [{"role": "user", "content": [{"type": "image"}]}]
    },
    r"a number as messages\[0\]\.content; wanted text": {
        "messages": [{"role": "user", "content": 3}]
    },
    r"an empty content in messages\[1\]": {"messages": chat("a", " ")},
    r"has null as messages\[1\]\.content": {
        "messages": [*chat("a"), {"role": "assistant", "content": None}]
    },
    r"the role user after user in messages \(user, user\), turn 2": {
        "messages": [*chat("a"), *chat("b")]
    },
    "the role assistant first": {"messages": chat("a", "b")[1:]},
    "the role system after user": {
        "messages": [*chat("a"), {"role": "system", "content": "s"}, *chat("b", "c")]
    },
    "ends messages with the role user": {"messages": chat("a", "b", "c")},
}


@pytest.mark.parametrize("message", ODD)
def test_odd_rows_are_refused_by_name(tmp_path: Path, message: str) -> None:
    with pytest.raises(DataError, match=rf"chats\.jsonl, row 11 .*{message}"):
        load(task_of(tmp_path, [*CHATS, ODD[message]]))


def test_what_a_template_refuses_or_rewrites_is_refused_by_name(tmp_path: Path) -> None:
    rows = [{"messages": chat("a", "b", system="Be kind.")}]
    with pytest.raises(DataError, match=r"row 1: .*\(system, user\): only user and assistant"):
        load(task_of(tmp_path, rows, MISTRAL))
    with pytest.raises(DataError, match=r"does not continue its generation prompt"):
        load(task_of(tmp_path, CHATS, THINKS_ALOUD))
    with pytest.raises(DataError, match=r"leaves out or changes .* 'Let me see|'It is 0"):
        load(task_of(tmp_path, CHATS, CHATML.replace("m.content", "m.content | upper")))


def test_a_declaration_is_checked(tmp_path: Path) -> None:
    own = task_of(tmp_path, CHATS)
    with pytest.raises(ConfigError, match=r"prompt and messages exclude each other"):
        replace(own, prompt="{question}")
    with pytest.raises(ConfigError, match=r"are of conversations, found no messages"):
        replace(own, messages="", answer="a", prompt="{a}")
    with pytest.raises(ConfigError, match=r"neither it nor the base has a chat template.*Path"):
        load(replace(own, chat_template=""))
    with pytest.raises(ConfigError, match=r"chat_template '.*none\.jinja' cannot be read"):
        replace(own, chat_template=tmp_path / "none.jinja").to_json()
    file = tmp_path / "chatml.jinja"
    file.write_text(CHATML)
    assert replace(own, chat_template=file).to_json() == own.to_json()


def test_rendering_imports_no_torch(tmp_path: Path) -> None:
    source = TaskSource(name="chats", own=task_of(tmp_path, CHATS).to_json())
    code = (
        "import json, sys\nfrom perft.tasks import TaskSource, load_task\n"
        "load_task(TaskSource(name='chats', own=json.loads(sys.argv[1])))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, json.dumps(source.own)], check=True)
