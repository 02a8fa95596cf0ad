"""The axes of parallel coordinates."""

import pytest

from perft.selection.plots.dimensions import MISSING, dimension


def test_numbers_lie_on_a_scale_which_is_logarithmic_if_it_is_wide() -> None:
    assert dimension("dropout", [0.0, 0.1, 0.05]).places == pytest.approx([0, 1, 0.5])
    wide = dimension("lr", [1e-4, 1e-3, 1e-2])
    assert wide.places == pytest.approx([0, 0.5, 1])
    assert [label for _, label in wide.ticks] == ["0.0001", "0.001", "0.01"]
    assert dimension("activated", [1e3, 4e6]).ticks[-1] == (1.0, "4.0 M")


def test_choices_are_evenly_spaced_and_numbers_among_them_in_order() -> None:
    assert dimension("rank", [16, 2, 8]).places == pytest.approx([5 / 6, 1 / 6, 3 / 6])
    assert dimension("variant", ["s", "r", "s"]).places == pytest.approx([0.75, 0.25, 0.75])
    mixed = dimension("layers", [True, "all", 10, 9])
    assert [label for _, label in mixed.ticks] == ["True", "9", "10", "all"]


def test_a_trial_without_the_parameter_lies_apart() -> None:
    found = dimension("top_k", [1, None, 2])
    assert found.places[1] == MISSING
    assert (MISSING, "none") in found.ticks
    assert dimension("x", [0.5, 0.5]).places == (0.5, 0.5)


def test_a_label_is_one_short_line() -> None:
    ((_, label),) = dimension("form", ["a\nb" + "c" * 99]).ticks
    assert len(label) == 16
    assert label.isprintable()
