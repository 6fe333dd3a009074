"""The adaptive limit on a clock of the test: what makes it grow and shrink."""

from __future__ import annotations

import pytest

from lbd.limit.gradient import Gradient

ROUND = 0.1  # seconds


class Driven:
    """A limit that is fed rounds of twenty samples."""

    def __init__(self, initial: int = 50, least: int = 10, most: int = 200) -> None:
        self.limit = Gradient(initial=initial, least=least, most=most, tolerance=1.5, round_ms=100)
        self.now = 1.0

    def rounds(self, count: int, seconds: float, active: int | None = None, failed: int = 0) -> int:
        """So many of the twenty fail. active: exchanges under way, by default as many as are allowed."""
        for _ in range(count):
            for turn in range(20):
                under_way = self.limit.limit if active is None else active
                self.limit.sample(seconds, under_way, self.now, failed=turn < failed)
            self.now += ROUND * 1.01
        return self.limit.limit


def test_grows_to_the_most_while_answers_are_fast() -> None:
    assert Driven().rounds(300, 0.01) == 200


def test_does_not_grow_while_it_is_not_used() -> None:
    assert Driven().rounds(100, 0.01, active=5) == 50


def test_shrinks_when_answers_get_slower_and_grows_when_they_are_fast_again() -> None:
    driven = Driven()
    before = driven.rounds(50, 0.01)
    slow = driven.rounds(20, 0.1)
    assert slow < before / 2
    assert driven.rounds(100, 0.01) > slow * 2


def test_never_below_the_least() -> None:
    driven = Driven()
    driven.rounds(20, 0.01)
    assert driven.rounds(50, 1.0) >= 10
    assert driven.rounds(100, 0.0, failed=20) == 10


@pytest.mark.parametrize(("failed", "shrinks"), [(1, False), (5, True)])
def test_failures_shrink_it_when_they_are_more_than_a_tenth(failed: int, shrinks: bool) -> None:
    driven = Driven()
    before = driven.rounds(20, 0.01)
    assert (driven.rounds(5, 0.01, failed=failed) < before) == shrinks


def test_a_slight_rise_is_no_queue() -> None:
    driven = Driven()
    before = driven.rounds(20, 0.01)
    assert driven.rounds(5, 0.012) >= before


def test_a_lasting_rise_becomes_the_usual() -> None:
    driven = Driven()
    driven.rounds(50, 0.01)
    assert driven.rounds(20, 0.1) < driven.rounds(600, 0.1)


@pytest.mark.parametrize("wrong", [{"least": 60}, {"most": 40}])
def test_order_of_its_bounds(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        Driven(**wrong)
