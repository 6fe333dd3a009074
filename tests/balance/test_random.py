"""Random: chi-square against the weights, seeds, independence of consecutive picks."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from balance.picking import endpoints_of, picks
from lbd.balance.random import Random

COUNT = 100_000
WEIGHTS = {
    "equal": [1] * 10,
    "5:1:1": [5, 1, 1],
    "coprime": [7, 5, 3, 2],
    "different": [1000, 100, 10],
    "many": list(range(1, 101)),
}


def drawn(weights: list[int], seed: int | None, count: int = COUNT) -> list[int]:
    return [int(name[1:]) for name in picks(Random(endpoints_of(weights), seed=seed), count)]


def chi_square(observed: Counter[object], expected: dict[object, float]) -> float:
    assert set(observed) <= set(expected)
    return sum((observed[key] - value) ** 2 / value for key, value in expected.items())


def critical(freedom: int) -> float:
    """The chi-square value that chance passes once in about 30 000 (Wilson and Hilferty 1931, z = 4)."""
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + 4 * part**0.5) ** 3)


@pytest.mark.parametrize("seed", [1, 2, 12345])
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_distribution(weights: list[int], seed: int) -> None:
    expected: dict[object, float] = {
        index: COUNT * weight / sum(weights) for index, weight in enumerate(weights)
    }
    assert chi_square(Counter(drawn(weights, seed)), expected) < critical(len(weights) - 1)


@pytest.mark.parametrize("seed", [1, 2, 12345])
def test_consecutive_picks_are_independent(seed: int) -> None:
    weights = [3, 2, 1]
    pairs: Counter[object] = Counter(pairwise(drawn(weights, seed)))
    expected: dict[object, float] = {
        (one, other): (COUNT - 1) * weights[one] * weights[other] / 36
        for one in range(3)
        for other in range(3)
    }
    assert chi_square(pairs, expected) < critical(8)


def test_same_seed_same_picks() -> None:
    assert drawn([3, 2, 1], 7, 200) == drawn([3, 2, 1], 7, 200)


def test_other_seed_other_picks() -> None:
    assert drawn([1] * 10, 7, 50) != drawn([1] * 10, 8, 50)


def test_workers_without_a_seed_do_not_move_in_step() -> None:
    assert drawn([1] * 10, None, 50) != drawn([1] * 10, None, 50)


def test_a_tiny_weight_is_not_forgotten() -> None:
    """1 in 1000: 0 of 100 000 would happen once in 10^43."""
    assert Counter(drawn([999, 1], 3))[1] > 0
