"""A search's own Ray: two of them do not meet, listen to nobody else and leave nothing behind."""

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

import pytest
from searches import SEARCH, SPACE, Job

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]

SIZE = ("--num-trials", "2", "--max-steps", "8", "--validation-size", "20", "--groups", "1")


def is_loopback(text: str) -> bool:
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback


def test_two_searches_at_once_both_finish(start: Callable[..., Job]) -> None:
    first, second = (start(*SEARCH, *SPACE, *SIZE) for _ in range(2))
    first.until(lambda: first.workers)
    assert first.listening
    assert all(map(is_loopback, first.listening)), first.listening
    for job in (first, second):
        assert job.end() == 0, job.errors
        assert "starting a Ray of the search's own on this machine\n" in job.output
        assert "2 trials: " in job.output
    assert list(first.user.iterdir()) == [], "something was left in the user's home"
    assert (first.home / "ray" / "auth_token").stat().st_mode & 0o777 == 0o600
    assert first.family.disappears()
