"""Renders conversations by a base's chat template, as pairs of prompt and completion.

A prompt ends with the template's generation prompt, so that training and generation see the same
text; the completion is what the template writes after it for the assistant's turn. Every turn is
rendered as the last one of its conversation, which is how it was generated: a template that drops
earlier thinking, for one, still trains on all of it.

Invariant: the same template and messages give the same text in every process and on every day.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from perft.errors import DataError, first_line
from perft.tasks.conversations import Message, extras_of
from perft.tasks.rows import MAX_CHARACTERS

_THOUGHT = re.compile(r"\s*<think>(?P<thought>.*?)</think>(?P<said>.*)", re.DOTALL)
# Some templates write today's date: then no two days would have the same data.
_DATE = (
    '{% macro strftime_now(format) %}{{ {"%d %b %Y": "26 Jul 2024", "%d %B %Y": "26 July 2024"}'
    '.get(format, "2024-07-26") }}{% endmacro %}'
)


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template.

    Attributes:
        text: Jinja, as `chat_template` of a Hugging Face tokenizer.
        special_tokens: the texts of the tokens that it names, as {"bos_token": "<s>"}.
    """

    text: str
    special_tokens: Mapping[str, str] = field(default_factory=dict)

    def render(
        self, messages: Sequence[Message], tools: Sequence[object] = (), *, generate: bool = False
    ) -> str:
        """The text of messages, with the generation prompt after it if `generate`.

        Raises:
            Exception: of any type, from the template.
        """
        # Late: a task without conversations does not need transformers.
        from perft.compat.chat_templates import render_jinja_template  # noqa: PLC0415

        (text,), _ = render_jinja_template(
            [[dict(message) for message in messages]],
            tools=[*tools] or None,
            chat_template=(_DATE if "strftime_now" in self.text else "") + self.text,
            add_generation_prompt=generate,
            **self.special_tokens,
        )
        return str(text)

    def turn(
        self, messages: Sequence[Message], where: str, tools: Sequence[object] = ()
    ) -> tuple[str, str]:
        """Prompt and completion of the last message, the assistant's.

        The completion ends with the end-of-sequence token if the template writes it after the
        turn; else what it writes is without blanks at its end, and tokenisation adds the token.

        Args:
            messages: the conversation up to and with the turn.
            where: the row, for errors.
            tools: that the assistant may call, as JSON schemas.

        Raises:
            DataError: if the template refuses the messages, rewrites the prompt once the answer is
                there, or leaves out the answer or a field.
        """
        *earlier, turn = messages
        prompt = self._rendered(earlier, where, tools, generate=True)
        whole = self._rendered(messages, where, tools)
        if not whole.startswith(prompt):
            raise DataError(
                f"{where}: the chat template does not continue its generation prompt with the "
                f"answer: it ends the prompt with {prompt[-40:]!r} and writes "
                f"{whole[max(0, len(prompt) - 40) :][:80]!r} with the answer; give the task "
                "another chat_template"
            )
        completion = whole.removeprefix(prompt)
        said = self._require_said(completion, turn, where)
        for name in dict.fromkeys(each for message in messages for each in extras_of(message)):
            self._require_taken(name, messages, where, tools)
        if tools and whole == self._rendered(messages, where, ()):
            raise DataError(f"{where} has tools, which the chat template leaves out; remove them")
        return prompt, self._ended(completion, said)

    def _rendered(
        self,
        messages: Sequence[Message],
        where: str,
        tools: Sequence[object],
        *,
        generate: bool = False,
    ) -> str:
        try:
            text = self.render(messages, tools, generate=generate)
        except Exception as error:  # of any type: a template is code of its author
            roles = ", ".join(str(message["role"]) for message in messages)
            raise DataError(
                f"{where}: the chat template refuses the messages ({roles}): {first_line(error)}"
            ) from error
        if len(text) > MAX_CHARACTERS:
            raise DataError(
                f"{where} has {len(text):,} characters in its chat template; wanted at most "
                f"{MAX_CHARACTERS:,}"
            )
        return text

    def _require_said(self, completion: str, turn: Message, where: str) -> str:
        """What the assistant says in the turn, without its thought, as the completion has it."""
        content = str(turn["content"])
        thinking = _THOUGHT.fullmatch(content)
        parts = [thinking["thought"], thinking["said"]] if thinking else [content]
        for part in parts:
            if part.strip() not in completion:
                raise DataError(
                    f"{where}: the chat template leaves out or changes a part of the answer, "
                    f"{part.strip()[:60]!r}; remove it from the row, or give the task another "
                    "chat_template"
                )
        return parts[-1].strip()

    def _require_taken(
        self, name: str, messages: Sequence[Message], where: str, tools: Sequence[object]
    ) -> None:
        """Refuses a field that the template leaves out, wherever in the conversation it is."""
        for end, message in enumerate(messages, start=1):
            if name not in message:
                continue
            without = {key: value for key, value in message.items() if key != name}
            with_it = self._rendered(messages[:end], where, tools)
            if with_it == self._rendered([*messages[: end - 1], without], where, tools):
                raise DataError(
                    f"{where} has the field {name} in a message of {message['role']}, which the "
                    "chat template leaves out; remove it, or give the task another chat_template"
                )

    def _ended(self, completion: str, said: str) -> str:
        """The completion up to end of sequence, if the template writes it, or its last text."""
        end = completion.rindex(said) + len(said)
        eos = self.special_tokens.get("eos_token", "")
        at = completion.find(eos, end) if eos else -1
        return completion[: at + len(eos)] if at >= 0 else completion.rstrip()
