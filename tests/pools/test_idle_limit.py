"""What a pool concludes from closes, announcements and witnesses. Ages and times in milliseconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbd.engine.idle_limit import IdleLimit, parse_announcement

APART = 10_000  # more than a burst


def closed(*ages: int, served: bool = True, configured: int = 50_000) -> IdleLimit:
    """After closes that have nothing to do with each other."""
    limit = IdleLimit(configured)
    for i, age in enumerate(ages):
        limit.ended(age, served, (i + 1) * APART)
    return limit


def test_nothing_known() -> None:
    assert (IdleLimit(50_000).ms, IdleLimit(50_000).known) == (50_000, 0)
    assert IdleLimit().ms > 1 << 60, "no timeout configured, none learned"


@pytest.mark.parametrize(
    ("age", "ms"), [(60_000, 50_000), (20_000, 17_500), (5000, 4000), (1000, 500), (400, 200), (200, 100)]
)
def test_margin(age: int, ms: int) -> None:
    """90 % less half a second, at least half, at most what is configured."""
    assert closed(age).ms == ms


def test_the_shortest_wins() -> None:
    assert closed(9000, 5000, 5100).known in range(5000, 5100)


def test_a_later_close_raises_it_slowly() -> None:
    assert closed(5000, 9000).known == 6000
    assert closed(5000, *[9000] * 20).known > 8900


def test_a_close_right_after_the_response_is_no_timeout() -> None:
    assert closed(10).known == 0


def test_a_restart_teaches_nothing() -> None:
    limit = closed(20_000)
    for age in (7000, 3000, 150, 900):
        limit.ended(age, True, 50_000)
    assert limit.known == 20_000


def test_the_burst_of_a_restart_may_be_long() -> None:
    limit = closed(20_000)
    for i, age in enumerate((7000, 3000, 900, 4000, 2000)):
        limit.ended(age, True, 50_000 + 200 * i)
    assert limit.known == 20_000
    limit.ended(6000, True, 80_000)
    assert limit.known == 6000, "it is over"


def test_connections_of_one_age_that_close_together_are_idle_ones() -> None:
    limit = IdleLimit(50_000)
    for age in (5000, 5010, 4990):
        limit.ended(age, True, 10_000)
    assert limit.known in range(4990, 5001)


def test_coarse_timeouts_are_no_restart() -> None:
    """Endpoints that look at their connections every five seconds close several of similar age at once."""
    limit = IdleLimit()
    for age in (64_000, 62_000, 60_500):
        limit.ended(age, True, 100_000)
    assert limit.known == 60_500


def test_announcement_lowers_at_once_and_never_raises() -> None:
    limit = IdleLimit(50_000)
    limit.announced(5000)
    assert limit.ms == 4000
    limit.announced(60_000)
    assert limit.ms == 4000
    limit.announced(1)
    assert limit.ms == 1


def test_witness_refutes() -> None:
    limit = closed(3000)
    limit.outlived(2999)
    assert limit.known == 3000
    limit.outlived(6000)
    assert (limit.known, limit.ms) == (6000, 4900)
    limit.outlived(50_000)
    assert (limit.known, limit.ms) == (0, 50_000)


def test_unserved_connections_may_have_another_timeout() -> None:
    """Such as client_header_timeout and keepalive_timeout of nginx: the one says nothing about the other."""
    limit = closed(60_000, served=False, configured=0)
    assert limit.unserved and not limit.can_refute(True)
    limit.ended(75_000, True, 10 * APART)
    assert limit.known == 60_000
    limit.ended(5000, True, 20 * APART)
    assert limit.known == 5000 and not limit.unserved


MS = st.integers(1, 1 << 40)


@given(st.lists(st.tuples(MS, st.booleans(), MS)), st.just(0) | MS)
def test_bounds(events: list[tuple[int, bool, int]], configured: int) -> None:
    limit = IdleLimit(configured)
    now = 0
    for age, served, later in events:
        now += later
        limit.ended(age, served, now)
        assert limit.ms >= 1 and (configured == 0 or limit.ms <= configured)
        assert limit.known == 0 or limit.ms <= limit.known


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"timeout=5", 5000),
        (b"timeout=5, max=100", 5000),
        (b"max=100, timeout=20", 20_000),
        (b"max=100,Timeout = 20", 20_000),
        (b'timeout="7"', 7000),
        (b"timeout=0", 1),
        (b"timeout=999999999", 1 << 30),
        (b"timeout=99999999999999999999999", 1 << 30),
        (b"", None),
        (b"timeout", None),
        (b"timeout=", None),
        (b"timeout=x", None),
        (b"timeout=-1", None),
        (b"xtimeout=5", None),
        (b"timeouts=5", None),
        (b"max=5", None),
        (b"=======5", None),
        (b"=======", None),
    ],
)
def test_announcement(value: bytes, expected: int | None) -> None:
    assert parse_announcement(value) == expected


@given(st.binary(max_size=40))
def test_any_announcement(value: bytes) -> None:
    parsed = parse_announcement(value)
    assert parsed is None or 1 <= parsed <= 1 << 30
