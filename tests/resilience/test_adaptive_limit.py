"""The limit that finds itself: what it learns at the start."""

from __future__ import annotations

from random import Random

from lbd.limit.gradient import Gradient


def test_quick_answers_come_first_and_do_not_stand_for_what_is_usual() -> None:
    """Of exchanges that begin together those end first that are short. A limit that took the first ten
    for the usual latency shrank to a fifth under a load that caused no queue at all."""
    limit = Gradient(initial=100, least=10, most=10_000, tolerance=1.5, round_ms=500)
    random = Random(7)
    lengths = (random.expovariate(20) for _ in range(60_000))
    ends = sorted((1 + turn * 0.001 + length, length) for turn, length in enumerate(lengths))
    lowest = limit.limit
    for now, length in ends:
        limit.sample(length, 60, now)
        lowest = min(lowest, limit.limit)
    assert lowest >= 95


def test_it_shrinks_when_a_queue_grows() -> None:
    limit = Gradient(initial=100, least=10, most=10_000, tolerance=1.5, round_ms=500)
    for turn in range(20_000):
        limit.sample(0.05, 90, 1 + turn * 0.001)
    usual = limit.limit
    assert usual >= 100
    for turn in range(2_000):
        limit.sample(0.25, 90, 21 + turn * 0.001)
    assert limit.limit < 0.9 * usual
