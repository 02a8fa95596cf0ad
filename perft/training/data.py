"""A task's token rows for one base, tokenised once and shared by all trials and workers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from perft.config import TrainingConfig
from perft.evaluation.score import new_tokens, prompt_rows
from perft.tasks import Split, Task
from perft.tasks.token_files import cached_rows, fingerprint_of
from perft.tasks.tokenize import TokenizedSplit, tokenize, tokenize_pairs
from perft.training.objective import objective_of


@dataclass
class TokenizedTask:
    """Token rows of a task, made on first use.

    Attributes:
        task: the task.
        tokenizer: the base's.
        positions: longest sequence the base takes, in tokens.
    """

    task: Task
    tokenizer: PreTrainedTokenizerBase
    positions: int
    _rows: dict[tuple[str, int, str], TokenizedSplit] = field(default_factory=dict)
    _prompts: dict[str, TokenizedSplit] = field(default_factory=dict)

    def read_by(self, training: TrainingConfig) -> TokenizedSplit:
        """The training rows that a trial's objective reads."""
        if objective_of(training).reads_pairs:
            return self.pairs(self.task.train, training.max_length)
        return self.train(training.max_length, training.loss_on)

    def train(self, max_length: int, loss_on: str) -> TokenizedSplit:
        """Training rows cut to `max_length` tokens, with loss on the "answer" or on "all"."""
        return self._answers(self.task.train, max_length, loss_on)

    def validation(self, max_length: int) -> TokenizedSplit:
        """Validation rows, with loss on the answer whatever training does."""
        return self._answers(self.task.validation, max_length, "answer")

    def pairs(self, split: Split, max_length: int) -> TokenizedSplit:
        """A split's pairs: each the row of the chosen answer, then that of the rejected one."""
        return self._tokenized(
            split,
            max_length,
            "pairs",
            lambda length: tokenize_pairs(split.examples, self.tokenizer, length),
        )

    def prompts(self, split: Split) -> TokenizedSplit:
        """A split's prompts, for generation."""
        if split.name not in self._prompts:
            self._prompts[split.name] = cached_rows(
                split.examples,
                self._tokenizer_fingerprint,
                lambda: prompt_rows(split, self.tokenizer, self.positions),
                kind="prompts",
                positions=self.positions,
                new_tokens=new_tokens(split, self.tokenizer),
            )
        return self._prompts[split.name]

    def _answers(self, split: Split, max_length: int, loss_on: str) -> TokenizedSplit:
        return self._tokenized(
            split,
            max_length,
            loss_on,
            lambda length: tokenize(split.examples, self.tokenizer, length, loss_on),  # type: ignore[arg-type]
        )

    def _tokenized(
        self, split: Split, max_length: int, kind: str, make: Callable[[int], TokenizedSplit]
    ) -> TokenizedSplit:
        length = min(max_length, self.positions)
        key = (split.name, length, kind)
        if key not in self._rows:
            self._rows[key] = cached_rows(
                split.examples,
                self._tokenizer_fingerprint,
                lambda: make(length),
                kind=kind,
                max_length=length,
            )
        return self._rows[key]

    @cached_property
    def _tokenizer_fingerprint(self) -> str:
        return fingerprint_of(self.tokenizer)
