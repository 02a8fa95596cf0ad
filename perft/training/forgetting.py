"""What a trial forgets: its loss on text that it was not trained on, over that of the base."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from perft.tasks.other_text import FORGOT, other_text_name, read_other_text
from perft.tasks.tokenize import TokenizedSplit, tokenize
from perft.training.evaluator import Evaluator, Measured

_LONGEST = 1024  # tokens of a document


@dataclass(frozen=True)
class Forgetting:
    """Measures what trials forget.

    Attributes:
        evaluator: of the pack.
        texts: rows of each text, by its name.
    """

    evaluator: Evaluator
    texts: Mapping[str, TokenizedSplit]
    _base: dict[str, float] = field(default_factory=dict)

    @classmethod
    def on(cls, evaluator: Evaluator, sources: Sequence[str]) -> "Forgetting":
        """Reads and tokenises texts.

        Args:
            evaluator: of the pack.
            sources: as `read_other_text` takes them.

        Raises:
            DataError: if one cannot be read.
        """
        rows = evaluator.rows
        longest = min(_LONGEST, rows.positions)
        texts = {}
        for source in sources:
            examples = read_other_text(source)
            texts[other_text_name(source)] = tokenize(
                examples, rows.tokenizer, longest, "answer" if examples[0].prompt else "all"
            )
        return cls(evaluator, texts)

    def added_to(self, measured: dict[str, Measured]) -> dict[str, Measured]:
        """Results of trials, and what each forgot of every text among its other metrics."""
        if not measured:
            return measured
        others: dict[str, dict[str, float]] = {name: {} for name in measured}
        for text, rows in self.texts.items():
            for name, loss in self.evaluator.losses(list(measured), rows).items():
                others[name][f"{FORGOT}{text}"] = loss - self._alone(text)
        return {
            name: replace(found, others={**found.others, **others[name]})
            for name, found in measured.items()
        }

    def _alone(self, text: str) -> float:
        """The loss of the base alone."""
        if text not in self._base:
            self._base[text] = self.evaluator.base_loss(self.texts[text])
        return self._base[text]
