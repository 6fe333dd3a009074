"""Endpoints without sockets, balancers of any algorithm, and what they pick.

Strategy: picks are made with exchanges held, since an algorithm that looks at load is only proportional under
load; a key that differs from pick to pick is given to algorithms that look at one. What takes a seed
gets one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lbd import registry
from lbd.engine.endpoint import Balancer, Endpoint

GOLDEN = 0x9E3779B97F4A7C15
SEED = 20260401


def endpoints_of(weights: Sequence[int]) -> list[Endpoint]:
    return [
        Endpoint(f"e{index}", f"127.0.0.1:{index + 1}", weight=weight) for index, weight in enumerate(weights)
    ]


def build(name: str, endpoints: Sequence[Endpoint], seed: int = SEED) -> Balancer:
    """A balancer by its registered name; seeded when it takes a seed."""
    algorithm: type[Balancer] = registry.resolve("balancer", name)
    try:
        return algorithm(endpoints, seed=seed)
    except TypeError:
        return algorithm(endpoints)


def key_of(turn: int) -> int:
    return turn * GOLDEN % 2**64


def picks(balancer: Balancer, count: int) -> list[str]:
    """Names picked without telling the balancer of any load."""
    found = [balancer.pick_one(key_of(turn)) for turn in range(count)]
    return [endpoint.name for endpoint in found if endpoint is not None]


def hold(balancer: Balancer, count: int) -> list[Endpoint]:
    """Pick and acquire `count` times without a release."""
    held = []
    for turn in range(count):
        endpoint = balancer.pick_one(key_of(turn))
        assert endpoint is not None
        balancer.acquire_one(endpoint)
        held.append(endpoint)
    return held


def shares(balancer: Balancer, count: int) -> Counter[str]:
    """Endpoint name -> how many of `count` exchanges it got; all of them are released again."""
    held = hold(balancer, count)
    for endpoint in held:
        balancer.release_one(endpoint)
    return Counter(endpoint.name for endpoint in held)
