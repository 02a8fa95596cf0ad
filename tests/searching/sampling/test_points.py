"""Points of a space: what it draws at given parameters."""

import pytest

from perft.errors import ConfigError
from perft.searching.sampling.points import draft_at, drafts_at
from perft.searching.space import Draw
from searching.spaces import SMALL

DRAW = Draw(SMALL, True, 3, 40)
POINT = {"lr": 0.01, "variant": "perft-r", "rank": 4, "experts": 2}


def test_a_draft_has_the_configuration_and_the_parameters() -> None:
    draft = draft_at(DRAW, POINT)
    assert draft.params == POINT
    assert draft.distributions.keys() == POINT.keys()
    assert draft.config.adapter.to_flat()["num_experts"] == 2
    assert (draft.config.training.lr, draft.config.training.seed) == (0.01, 3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lr": 1.0}, "points.1. .*1.0.*'lr'"),
        ({"rank": 3}, "points.1. .*3.*'rank'"),
        ({"rnak": 2}, "points.1. .*unknown parameter 'rnak'; did you mean 'rank'"),
        ({"variant": "perft-s"}, "points.1. .*unknown parameter 'experts'"),
    ],
)
def test_a_point_that_is_not_of_the_space_is_named(change: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        drafts_at(DRAW, [POINT, {**POINT, **change}])  # type: ignore[dict-item]


def test_a_parameter_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"points.0. .*'rank'"):
        drafts_at(DRAW, [{"lr": 0.01, "variant": "perft-s"}])
