"""Reads conversations from rows of data, as TRL and the hub's chat datasets have them.

A conversation is a list of messages with `role` and `content`; the older form with `from` and
`value`, as ShareGPT has it, is read as well.

Invariant: a conversation opens with at most one system prompt, then a user's turn; user and
assistant take turns, an assistant may call tools in between; the last turn is the assistant's.
"""

from collections.abc import Mapping

from perft.errors import DataError
from perft.tasks.rows import DataRow, kind_of

Message = Mapping[str, object]
"""One turn: `role`, `content`, and what else a template may take, such as `tool_calls`."""

ASSISTANT = "assistant"
_OPENING = ("system", "developer")
_SHAREGPT = {"human": "user", "gpt": ASSISTANT}
_AFTER = {
    "": (*_OPENING, "user"),
    "system": ("user",),
    "developer": ("user",),
    "user": (ASSISTANT,),
    ASSISTANT: ("user", "tool"),
    "tool": (ASSISTANT, "tool"),
}
"""By role, which may follow."""


def messages_of(row: DataRow, column: str, system: str, before: str = "") -> tuple[Message, ...]:
    """The conversation of a row.

    Args:
        row: its row.
        column: the column of the messages.
        system: a system prompt for conversations that have none; "" for none.
        before: the column of the messages that come first, as the `prompt` of TRL's pairs; used
            where the messages of `column` open with the assistant's.

    Raises:
        DataError: names row and turn, what was found and what was wanted.
    """
    messages = _messages(row, column)
    if before and before in row.values and messages[0]["role"] == ASSISTANT:
        messages = [*_messages(row, before), *messages]
    if system and messages[0]["role"] not in _OPENING:
        messages = [{"role": "system", "content": system}, *messages]
    _require_order(row, column, messages)
    return tuple(messages)


def extras_of(message: Message) -> tuple[str, ...]:
    """What a message has beside role and content."""
    return tuple(name for name in message if name not in ("role", "content"))


def _messages(row: DataRow, column: str) -> list[Message]:
    found = row.values.get(column)
    if not (isinstance(found, list) and found):
        columns = ", ".join(map(str, row.values))
        what = "an empty array" if found == [] else "none" if found is None else kind_of(found)
        raise DataError(
            f"{row.where} has {what} as {column}; wanted a list of messages with role and content "
            f"(its columns: {columns})"
        )
    return [_message(row, f"{column}[{i}]", each) for i, each in enumerate(found)]


def _message(row: DataRow, where: str, found: object) -> Message:
    if not isinstance(found, dict):
        raise DataError(
            f"{row.where} has {kind_of(found)} as {where}; wanted a message with role and content"
        )
    if "from" in found and "role" not in found:
        role = found["from"]
        found = {"role": _SHAREGPT.get(str(role), role), "content": found.get("value")}
    role, content = found.get("role"), found.get("content")
    if not (isinstance(role, str) and role in _AFTER and role):
        known = ", ".join(name for name in _AFTER if name)
        raise DataError(f"{row.where} has the role {role!r} in {where}; wanted one of {known}")
    if isinstance(content, list):
        raise DataError(
            f"{row.where} has a list of parts as content of {where}, as multi-modal data have; "
            "wanted text"
        )
    # Parquet gives every message all fields, null where it has none.
    extras = {str(name): value for name, value in found.items() if value not in (None, [], "")}
    if content is None and extras.get("tool_calls"):
        content = ""
    text = row.part(f"{where}.content", content)
    if not (text or extras.get("tool_calls")):
        raise DataError(f"{row.where} has an empty content in {where}; wanted text")
    return {**extras, "role": role, "content": content}


def _require_order(row: DataRow, column: str, messages: list[Message]) -> None:
    roles = [str(message["role"]) for message in messages]
    for i, (last, role) in enumerate(zip(["", *roles], roles, strict=False)):
        if role not in _AFTER[last]:
            after = f"after {last}" if last else "first"
            raise DataError(
                f"{row.where} has the role {role} {after} in {column} ({', '.join(roles)}), turn "
                f"{i + 1}; wanted {' or '.join(_AFTER[last])}"
            )
    if roles[-1] != ASSISTANT:
        raise DataError(
            f"{row.where} ends {column} with the role {roles[-1]}; wanted the assistant's turn "
            "last, which is what evaluation generates"
        )
