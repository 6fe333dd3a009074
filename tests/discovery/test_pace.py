"""When a name server is asked again: TTLs within bounds, growing waits after failures."""

from __future__ import annotations

import random

import pytest

from lbd.config.discovery import Resolver
from lbd.discovery.pace import FIRST_BACKOFF, JITTER, LONGEST_BACKOFF, Pace

SETTING = Resolver(min_ttl="5s", max_ttl="60s", negative_ttl="2s")


class Still(random.Random):
    """No chance at all: always the lower, or the upper end."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def random(self) -> float:
        return self.value


@pytest.mark.parametrize(
    ("ttl", "wait"), [(0, 5), (-1, 5), (5, 5), (30, 30), (60, 60), (86400, 60), (2**31 - 1, 60)]
)
def test_ttl_within_bounds(ttl: float, wait: float) -> None:
    assert Pace(SETTING, Still(0.0)).answered(ttl) == wait
    assert wait < Pace(SETTING, Still(0.99)).answered(ttl) <= wait * (1 + JITTER)


def test_empty_answer() -> None:
    assert Pace(SETTING, Still(0.0)).empty() == 2


def test_failures_wait_longer_and_longer() -> None:
    pace = Pace(SETTING, Still(1.0))
    waits = [pace.failed() for _ in range(8)]
    assert waits == [FIRST_BACKOFF, 2, 4, 8, 16, 32, LONGEST_BACKOFF, LONGEST_BACKOFF]
    assert all(pace.failed() == LONGEST_BACKOFF for _ in range(2000))  # no overflow


def test_failures_are_spread() -> None:
    assert Pace(SETTING, Still(0.0)).failed() == FIRST_BACKOFF / 2
    many = {Pace(SETTING, random.Random(seed)).failed() for seed in range(100)}
    assert len(many) == 100 and min(many) < 0.6 and max(many) > 0.9


@pytest.mark.parametrize("end", ["answered", "empty"])
def test_an_answer_ends_the_back_off(end: str) -> None:
    pace = Pace(SETTING, Still(1.0))
    pace.failed()
    pace.failed()
    if end == "answered":
        pace.answered(10)
    else:
        pace.empty()
    assert pace.failed() == FIRST_BACKOFF


def test_negative_ttl_may_be_shorter_or_longer_than_the_back_off() -> None:
    assert Pace(Resolver(negative_ttl="100ms"), Still(1.0)).failed() == 0.1
    slow = Pace(Resolver(negative_ttl="10m"), Still(0.0))
    assert slow.failed() == FIRST_BACKOFF / 2 and slow.empty() == 600
