"""The queue in front of MLflow: nobody waits for it, and nothing in it is lost or held up."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from perft.errors import StorageError
from perft.tracking import sender
from perft.tracking.sender import Sender


class Place:
    """Runs that are away, hang or refuse one thing when told to."""

    def __init__(self) -> None:
        self.up = threading.Event()
        self.up.set()
        self.hangs = False
        self.refused: Any = None
        self.taken: list[str] = []
        self.connections = 0

    @property
    def ids(self) -> dict[int, str]:
        return dict(enumerate(self.taken))

    def connect(self) -> "Place":
        self.connections += 1
        self._require()
        return self

    def takes(self, what: str) -> Callable[[Any], None]:
        def send(runs: Place) -> None:
            runs._require()
            if what == runs.refused:
                raise StorageError(f"cannot take {what}")
            runs.taken.append(what)

        return send

    def _require(self) -> None:
        if self.hangs:
            self.up.wait()
        if not self.up.is_set():
            raise StorageError("away") from ConnectionError("http://me:secret@host is away")


class Told(list[str]):
    """What the user was told; can be waited for."""

    def until(self, count: int) -> None:
        end = time.monotonic() + 30
        while len(self) < count and time.monotonic() < end:
            time.sleep(0.01)
        assert len(self) == count


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_PAUSES", (0.01,))
    monkeypatch.setattr(sender, "PATIENCE_SECONDS", 0.2)


def open_sender(place: Place, told: Told) -> Sender:
    opened = place.connect() if place.up.is_set() else None
    found: Sender = Sender(
        place.connect,  # type: ignore[arg-type]
        opened,  # type: ignore[arg-type]
        lambda: told.append(f"away: {found.why}"),
        lambda: told.append("back"),
    )
    return found


def test_what_is_put_is_sent_in_order(place: Place, told: Told):
    queue = open_sender(place, told)
    for number in range(5):
        queue.put(number, place.takes(str(number)))
    assert queue.wait(10)
    assert place.taken == ["0", "1", "2", "3", "4"]
    assert queue.run_ids[3] == "3"
    assert told == []
    assert place.connections == 1
    queue.close()


@pytest.mark.parametrize("hangs", [False, True])
def test_while_a_place_is_away_nobody_waits_and_the_user_is_told_once(
    place: Place, told: Told, hangs: bool
):
    queue = open_sender(place, told)
    place.up.clear()
    place.hangs = hangs
    queue.put(0, place.takes("first"))
    told.until(1)
    assert told == ["away: no answer yet" if hangs else "away: http://***@host is away"]
    for number in range(1, 20):
        queue.put(number, place.takes(str(number)))
    assert queue.is_away
    assert not queue.wait(0.05)
    assert place.taken == []
    place.up.set()
    assert queue.wait(30)
    told.until(2)
    assert told[1] == "back"
    assert sorted(place.taken) == sorted(["first", *map(str, range(1, 20))])
    queue.close()


def test_the_last_word_about_a_thing_counts(place: Place, told: Told):
    queue = open_sender(place, told)
    place.up.clear()
    for number in range(10):
        queue.put(7, place.takes(str(number)))
    place.up.set()
    assert queue.wait(30)
    assert place.taken[-1] == "9"
    assert len(place.taken) <= 2  # one may have been on its way
    queue.close()


def test_what_is_refused_keeps_nothing_else_waiting(place: Place, told: Told):
    queue = open_sender(place, told)
    place.refused = "bad"
    queue.put(0, place.takes("bad"))
    for number in (1, 2):
        queue.put(number, place.takes(str(number)))
    told.until(1)
    assert told == ["away: cannot take bad"]
    assert place.taken == ["1", "2"]
    assert not queue.wait(0.05)
    queue.put(3, place.takes("3"))
    while "3" not in place.taken:
        time.sleep(0.01)
    assert told == ["away: cannot take bad"], "the user is told again and again"
    queue.close()


def test_a_place_that_is_away_at_the_start_is_not_told_of_twice(place: Place, told: Told):
    place.up.clear()
    queue = open_sender(place, told)
    queue.put(0, place.takes("0"))
    assert not queue.wait(0.4)
    assert told == []
    place.up.set()
    assert queue.wait(30)
    told.until(1)
    assert told == ["back"]
    queue.close()


def test_a_first_try_may_take_longer(place: Place, told: Told):
    """It may be a large file on its way."""
    queue = open_sender(place, told)
    queue.put(0, lambda runs: time.sleep(0.15))
    assert queue.wait(0.1)
    queue.close()


def test_a_closed_queue_sends_and_waits_no_more(place: Place, told: Told):
    queue = open_sender(place, told)
    place.up.clear()
    queue.put(0, place.takes("0"))
    queue.close()
    assert not queue.wait(30)
