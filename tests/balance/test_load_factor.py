"""Bounded load of the balancers that choose by a key: one key that everybody wants, and many."""

from __future__ import annotations

import math

import pytest
from balance.keys import KEYS, owners
from balance.picking import endpoints_of

from lbd import registry
from lbd.engine.endpoint import Balancer

NAMES = [name for name in registry.BALANCERS if getattr(registry.resolve("balancer", name), "keyed", False)]
pytestmark = pytest.mark.parametrize("name", NAMES)
WEIGHTS = [3, 2, 1, 1, 1]


def bounded(name: str, factor: float | None, weights: list[int] = WEIGHTS) -> Balancer:
    algorithm: type[Balancer] = registry.resolve("balancer", name)
    return algorithm(endpoints_of(weights), load_factor=factor)


def acquire(balancer: Balancer, key: int) -> str:
    endpoint = balancer.pick_one(key)
    assert endpoint is not None
    balancer.acquire_one(endpoint)
    return endpoint.name


@pytest.mark.parametrize("factor", [1.01, 1.25, 2])
def test_no_endpoint_has_more_than_its_part(name: str, factor: float) -> None:
    """After each exchange of one and the same key: active <= ceil(factor * total * share)."""
    balancer = bounded(name, factor)
    for total in range(1, 400):
        acquire(balancer, KEYS[0])
        for endpoint in balancer.endpoints:
            assert endpoint.active <= math.ceil(factor * total * endpoint.weight / sum(WEIGHTS) - 1e-9)


def test_without_a_factor_a_key_stays(name: str) -> None:
    balancer = bounded(name, None)
    assert not balancer.tracks_load
    assert len({acquire(balancer, KEYS[0]) for _ in range(400)}) == 1


def test_keys_stay_while_there_is_room(name: str) -> None:
    """With even load almost every key is served where it would be without a bound."""
    free = owners(bounded(name, None))
    balancer = bounded(name, 2)
    held = [acquire(balancer, key) for key in KEYS]
    same = sum(old == new for old, new in zip(free, held, strict=True))
    assert balancer.tracks_load and same / len(KEYS) > 0.95


def test_released_exchanges_make_room(name: str) -> None:
    balancer = bounded(name, 1.25)
    home = balancer.pick_one(KEYS[0])
    assert len({acquire(balancer, KEYS[0]) for _ in range(200)}) > 2
    for endpoint in balancer.endpoints:
        for _ in range(endpoint.active):
            balancer.release_one(endpoint)
    assert balancer.pick_one(KEYS[0]) is home


def test_load_of_a_rebuilt_balancer_is_that_of_its_endpoints(name: str) -> None:
    balancer = bounded(name, 1.25)
    for _ in range(200):
        acquire(balancer, KEYS[0])
    algorithm = type(balancer)
    again = algorithm(balancer.endpoints, load_factor=1.25)
    assert owners(again) == owners(balancer)


def test_attempts_are_others_that_have_room(name: str) -> None:
    balancer = bounded(name, 1.25)
    for key in KEYS[:400]:
        acquire(balancer, key)
    for key in KEYS[:200]:
        given = [balancer.pick_one(key, attempt) for attempt in range(3)]
        assert len(set(given)) == 3
