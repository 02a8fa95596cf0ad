"""Makes the examples of a task of conversations: one for every turn of the assistant.

A conversation of three answers trains three rows, each with the turns before it as prompt, so every
answer is trained exactly as it is generated. Validation and tests have the last turn alone.
"""

from collections.abc import Sequence
from dataclasses import replace

from perft.errors import DataError
from perft.tasks.conversations import ASSISTANT, Message, messages_of
from perft.tasks.extraction import is_number, last_number
from perft.tasks.own import OwnTask
from perft.tasks.rows import DataRow, kind_of
from perft.tasks.splits import normalized
from perft.tasks.task import Example

PROMPT = "prompt"
"""The column of the messages before `chosen` and `rejected`, as TRL names it."""


class ChatExampleBuilder:
    """Turns rows into examples of their last turns, and those into examples of the earlier ones."""

    def __init__(self, own: OwnTask) -> None:
        self._own = own
        self._template = own.template_of_chats
        self._rows: dict[str, tuple[tuple[Message, ...], Sequence[object]]] = {}

    def __call__(self, row: DataRow) -> Example:
        """The example of the row's last turn.

        Raises:
            DataError: names the row.
        """
        own = self._own
        messages = messages_of(row, own.messages, own.system, PROMPT)
        tools = _tools(row)
        self._rows[row.where] = messages, tools
        prompt, completion = self._template.turn(messages, row.where, tools)
        answer = self._label(row, messages)
        found = Example(prompt, completion, answer, where=row.where, is_rendered=True)
        return replace(found, rejected=self._rejected(row, found, tools)) if own.rejected else found

    def earlier_turns(
        self, kept: Sequence[Example], held: Sequence[Example]
    ) -> tuple[Example, ...]:
        """The training rows of conversations: every turn of the assistant, in order.

        Args:
            kept: the examples of last turns that train.
            held: those of validation; an earlier turn with the prompt of one is left out.

        Raises:
            DataError: names the row.
        """
        if self._own.rejected:  # pairs differ in their last turns alone
            return tuple(kept)
        asked = {normalized(example.prompt) for example in held}
        found: list[Example] = []
        for example in kept:
            messages, tools = self._rows[example.where]
            for end, message in enumerate(messages[:-1], start=1):
                if message["role"] == ASSISTANT:
                    turn = self._template.turn(messages[:end], example.where, tools)
                    if normalized(turn[0]) not in asked:
                        said = str(message["content"]).strip()
                        found.append(
                            replace(example, prompt=turn[0], completion=turn[1], answer=said)
                        )
            found.append(example)
        return tuple(found)

    def _label(self, row: DataRow, messages: Sequence[Message]) -> str:
        """The column of the label; without one the last answer, or the number that ends it."""
        own = self._own
        said = answer_of(str(messages[-1]["content"])) or ""
        if own.answer:
            answer = row.label(own.answer)
        else:
            answer = (last_number(said) if own.scorer == "numeric" else said) or ""
        if own.scorer == "numeric" and not is_number(answer):
            raise DataError(f"{row.where} has the answer {answer or said!r}; wanted a number")
        return answer

    def _rejected(self, row: DataRow, chosen: Example, tools: Sequence[object]) -> str:
        own = self._own
        messages = messages_of(row, own.rejected, own.system, PROMPT)
        prompt, completion = self._template.turn(messages, row.where, tools)
        if prompt != chosen.prompt:
            raise DataError(
                f"{row.where} has other turns before the last one in {own.rejected} than in "
                f"{own.messages}; wanted the same prompt and two answers"
            )
        if completion == chosen.completion:
            raise DataError(
                f"{row.where} has the same answer in {own.messages} and in {own.rejected}; wanted "
                "two different answers"
            )
        return completion


def answer_of(text: str) -> str | None:
    """What an assistant says after its thinking; None where it says nothing."""
    return text.rpartition("</think>")[2].strip() or None


def _tools(row: DataRow) -> Sequence[object]:
    tools = row.values.get("tools")
    if tools is None or tools == []:
        return ()
    if not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        raise DataError(f"{row.where} has {kind_of(tools)} as tools; wanted a list of JSON schemas")
    return tools
