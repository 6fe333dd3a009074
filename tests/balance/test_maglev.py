"""Maglev: what the paper promises, evenness and little disruption, and weights."""

from __future__ import annotations

from collections import Counter

import pytest
from balance.keys import KEYS, moved, owners
from balance.picking import endpoints_of
from lbd.balance.maglev import Maglev
from pydantic import ValidationError

from lbd.balance.options import MaglevOptions

GOLDEN = 0x9E3779B97F4A7C15
MASK = 2**64 - 1


def places(balancer: Maglev, size: int) -> Counter[str]:
    """Name -> places in the table, by picks of many keys."""
    found = [balancer.pick_one(turn * GOLDEN & MASK) for turn in range(1, 40 * size)]
    return Counter(endpoint.name for endpoint in found if endpoint is not None)


def test_shares_are_even() -> None:
    """At most one place of 65537 more or less; the rest is chance of 200 000 keys."""
    balancer = Maglev(endpoints_of([1] * 20))
    got = Counter(balancer.pick_one(turn * GOLDEN & MASK) for turn in range(1, 200_001))
    assert len(got) == 20
    assert max(got.values()) < 10_000 * 1.05 and min(got.values()) > 10_000 * 0.95


@pytest.mark.parametrize("weights", [[3, 1], [5, 3, 2], [100, 1]], ids=str)
def test_places_follow_weights(weights: list[int]) -> None:
    got = places(Maglev(endpoints_of(weights), table_size=1009), 1009)
    total = sum(got.values())
    for index, weight in enumerate(weights):
        share = weight / sum(weights)
        assert got[f"e{index}"] / total == pytest.approx(share, abs=2.5 / 1009 + 0.005)


def test_few_keys_move_beside_those_of_the_endpoint_that_goes() -> None:
    """Eisenbud et al., figure 12: with a large table well under one percent for each that goes."""
    endpoints = endpoints_of([1] * 20)
    before = owners(Maglev(endpoints))
    without = owners(Maglev([*endpoints[:7], *endpoints[8:]]))
    unneeded = [pair for pair in moved(before, without) if pair[0] != "e7"]
    assert len(unneeded) < len(KEYS) * 0.02
    assert "e7" not in without


def test_few_keys_move_when_one_comes() -> None:
    endpoints = endpoints_of([1] * 20)
    changes = moved(owners(Maglev(endpoints[:19])), owners(Maglev(endpoints)))
    unneeded = [pair for pair in changes if pair[1] != "e19"]
    assert len(unneeded) < len(KEYS) * 0.02 < len(changes)


def test_few_keys_move_when_a_weight_changes() -> None:
    before = owners(Maglev(endpoints_of([4] * 10)))
    after = owners(Maglev(endpoints_of([2] + [4] * 9)))
    assert 0.04 < len(moved(before, after)) / len(KEYS) < 0.12


def test_nodes_agree_whatever_the_order_of_their_files() -> None:
    one, other = endpoints_of([3, 1, 2, 1]), endpoints_of([3, 1, 2, 1])[::-1]
    assert owners(Maglev(one, seed=1)) == owners(Maglev(other, seed=2))


def test_choice_is_the_same_in_all_versions() -> None:
    found = owners(Maglev(endpoints_of([3, 1, 2, 1])))[:12]
    assert " ".join(found) == "e0 e0 e2 e0 e3 e2 e3 e0 e0 e1 e0 e2"


def test_more_endpoints_than_places() -> None:
    """Nobody would be without a key: the table is as large as it has to be."""
    got = owners(Maglev(endpoints_of([1] * 500), table_size=101))
    assert len(set(got)) == 500


def test_thousands_of_endpoints() -> None:
    """Beyond what the usual table holds with evenness."""
    got = Counter(owners(Maglev(endpoints_of([1] * 20_000))))
    assert max(got.values()) < 8


@pytest.mark.parametrize("size", [100, 65536, 65539 * 3, 10_000_019])
def test_table_sizes_that_are_refused(size: int) -> None:
    with pytest.raises(ValidationError):
        MaglevOptions.model_validate({"table_size": size})


@pytest.mark.parametrize("size", [101, 65537, 655373, 9_999_991])
def test_table_sizes_that_are_accepted(size: int) -> None:
    assert MaglevOptions.model_validate({"table_size": size}).table_size == size
