"""The score of the base without any adapter, with which every adapter of a search is compared."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from perft.checks import require_name, require_number
from perft.config.training import ObjectiveName
from perft.config.typed import read_fields
from perft.errors import ConfigError
from perft.files import Json
from perft.trial import AnswerCount, SplitScores

CHANCE = 0.5
"""Accuracy of the base on pairs of answers, by definition."""

_UNSCORED = AnswerCount(0, 0)


@dataclass(frozen=True, kw_only=True)
class BaseScore:
    """Loss and accuracy of the base without an adapter, on all validation and test examples.

    On pairs of answers, an adapter prefers the one that it makes likelier than the base alone does.
    Compared with itself the base prefers neither: every pair is a tie, which counts half. So its
    accuracy there is 1/2 by definition, and its DPO loss is ln 2.

    Attributes:
        objective: of the loss.
        val_loss: mean loss of the objective on the validation split: nats per answer token, or per
            pair of answers.
        validation: correct and scored validation examples; (0, 0) if none was scored.
        tests: the same of each test split, by name.
        is_tie: whether the task compares pairs of answers, of which nothing is scored.
    """

    objective: ObjectiveName
    val_loss: float
    validation: AnswerCount = _UNSCORED
    tests: SplitScores = field(default_factory=dict)
    is_tie: bool = False

    def __post_init__(self) -> None:
        require_number("val_loss", self.val_loss)
        for name, count in {"validation": self.validation, **self.tests}.items():
            require_name("the name of a split", name)
            if not 0 <= count.correct <= count.scored:
                raise ConfigError(
                    f"{name} must be the examples that were right and those that were scored, "
                    f"found {list(count)}"
                )

    @property
    def accuracy(self) -> float | None:
        """Share of right answers on the validation split, in [0, 1]; None for a loss alone."""
        if self.is_tie:
            return CHANCE
        correct, scored = self.validation
        return correct / scored if scored else None

    @property
    def has_predictions(self) -> bool:
        """Whether answers were generated, which the search's folder keeps."""
        return self.validation.scored > 0

    def to_json(self) -> dict[str, Json]:
        """The score as a dictionary of JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> "BaseScore":
        """Rebuilds what `to_json` wrote.

        Raises:
            ConfigError: for a missing, unknown or wrong field; names it.
        """
        return read_fields(cls, value)
