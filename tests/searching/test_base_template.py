"""A task of conversations takes the chat template of its base."""

import json
import shutil
from pathlib import Path

import pytest

from perft.errors import BaseModelError, ConfigError
from perft.models.source import base_directory
from perft.searching.base import with_base_template
from perft.tasks import OwnTask, TaskSource, load_task
from tasks.byte_tokenizer import byte_tokenizer
from tasks.chat_templates import CHATML, MISTRAL


def source_of(own: OwnTask) -> TaskSource:
    return TaskSource(name=own.name, own=own.to_json())


@pytest.fixture
def own(tmp_path: Path) -> OwnTask:
    asked, said = '{"role": "user", "content": "%d?"}', '{"role": "assistant", "content": "1"}'
    row = f'{{"messages": [{asked}, {said}]}}'
    file = tmp_path / "chats.jsonl"
    file.write_text("\n".join(row % i for i in range(6)))
    return OwnTask(name="chats", train=file, messages="messages", scorer="exact")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base's folder, of which only the tokenizer is read."""
    tokenizer = byte_tokenizer(bos=True)
    tokenizer.chat_template = MISTRAL
    tokenizer.save_pretrained(tmp_path / "base")
    shutil.copy(base_directory(None) / "config.json", tmp_path / "base")
    return tmp_path / "base"


def test_template_and_special_tokens_are_the_bases(own: OwnTask, base: Path) -> None:
    example = load_task(with_base_template(source_of(own), str(base))).train.examples[0]
    assert example.prompt.startswith("<s>[INST] ")
    assert example.completion == " 1</s>"


def test_a_template_of_the_task_comes_first(own: OwnTask, base: Path, tmp_path: Path) -> None:
    (tmp_path / "chatml.jinja").write_text(CHATML)
    changed = OwnTask(**{**vars(own), "chat_template": tmp_path / "chatml.jinja"})
    found = with_base_template(source_of(changed), str(base)).own
    assert found is not None
    assert (found["chat_template"], found["special_tokens"]["bos_token"]) == (CHATML, "<s>")


def test_a_base_without_a_template_is_refused(own: OwnTask) -> None:
    with pytest.raises(ConfigError, match=r"neither it nor the base has a chat template"):
        load_task(with_base_template(source_of(own), None))


def test_several_templates_and_no_default_are_refused(own: OwnTask, base: Path) -> None:
    (base / "chat_template.jinja").unlink()
    file = base / "tokenizer_config.json"
    named = [{"name": "a", "template": CHATML}, {"name": "b", "template": MISTRAL}]
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": named}))
    with pytest.raises(BaseModelError, match=r"is ambiguous: .*give the task its chat_template"):
        with_base_template(source_of(own), str(base))


def test_other_tasks_are_as_they_were(base: Path) -> None:
    source = TaskSource(name="arithmetic")
    assert with_base_template(source, str(base)) is source
