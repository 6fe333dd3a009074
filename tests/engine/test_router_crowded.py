"""Routers in which most requests match several routes, against the oracle: only the order of choice decides.

Seeded random rather than hypothesis: one router is asked many times, which finds a wrong order within few of
them.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from engine.route_oracle import Asked, choose
from engine.routing import request, router_of

HOSTS = [None, None, None, "b.a.test", "*.a.test", "*.test"]
SEGMENTS = ["a", "b", ":x", ":x", "a:go", ":x:go"]
CONDITIONS: list[dict[str, Any]] = [
    {},
    {},
    {"method": ["GET"]},
    {"header": {"x-a": False}},
    {"query": {"q": "1"}},
]


def pattern(random: Random) -> str:
    chosen = [random.choice(SEGMENTS) for _ in range(random.randint(0, 3))]
    named = [segment.replace(":x", f":c{place}") for place, segment in enumerate(chosen)]
    return "/" + "/".join([*named, *random.choice([[], ["*"]])])


def route(random: Random) -> dict[str, Any]:
    match: dict[str, Any] = {
        "path": [pattern(random)],
        **random.choice(CONDITIONS),
        **random.choice(CONDITIONS),
    }
    if host := random.choice(HOSTS):
        match["host"] = [host]
    return {"match": match, "priority": random.choice([0, 0, 0, 0, 1])}


def question(random: Random) -> Asked:
    path = "/" + "/".join(random.choice(["a", "b", "a:go"]) for _ in range(random.randint(0, 3)))
    query = random.choice([{}, {"q": "1"}])
    return Asked(host=random.choice(["b.a.test", "c.a.test", "d.test"]), path=path, query=query)


@pytest.mark.parametrize("seed", range(40))
def test_order_of_choice_agrees_with_the_oracle(seed: int) -> None:
    random = Random(seed)
    routes = [route(random) for _ in range(12)]
    router = router_of(*routes)
    for _ in range(60):
        asked = question(random)
        found = router.explain(request(asked.target, host=asked.host))
        assert (found["route"], found["captures"]) == choose(routes, asked), (asked, routes)
