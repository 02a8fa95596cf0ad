"""How steps are captured, in tests of generation."""

import pytest
from rows_to_write import Use

from perft.models.capture import Capture


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Chooses how steps are captured here; None is the way of CPUs."""

    def choose(capture: Capture | None) -> None:
        monkeypatch.setattr("perft.models.capture.capture_for", lambda _device: capture)

    return choose
