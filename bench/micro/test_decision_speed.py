"""What guards cost: admission by a breaker, a pick, and the note of how it ended, at 10 and 1 000 endpoints.

Python calls each of them here, the engine calls them in C; so these are upper bounds."""

from __future__ import annotations

import pytest

from bench.micro.conftest import Timed
from lbd.config import schema
from lbd.control.clusters import behaviour
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint

TIMES = 1000
MOST_NS = 1000  # of one decision; the documents lbd was made from accept 200 to 500 us
GUARDS = {
    "none": {"passive_check": "off"},
    "breaker": {"breaker": {"success_rate": "95%"}, "passive_check": "off"},
    "each endpoint": {"breaker": {"scope": "endpoint", "success_rate": "95%"}, "passive_check": "off"},
    "passive checks": {"passive_check": {"failure_ratio": "50%"}},
    "adaptive limit": {"adaptive_limit": {}, "passive_check": "off"},
}


def guarded(guard: str, size: int) -> Cluster:
    endpoints = [f"10.0.{place // 250}.{place % 250 + 1}:80" for place in range(size)]
    config = schema.Config.model_validate({
        "listeners": [{"name": "web", "bind": "127.0.0.1:80", "routes": [{"cluster": "app"}]}],
        "clusters": [{"name": "app", "endpoints": endpoints, **GUARDS[guard]}],
    })  # fmt: skip
    made = behaviour(config.clusters[0], config)
    return Cluster("app", [Endpoint(name, name) for name in endpoints], **made)


@pytest.mark.parametrize("size", [10, 1000])
@pytest.mark.parametrize("guard", list(GUARDS))
def test_admit(nanoseconds: Timed, guard: str, size: int) -> None:
    admit = guarded(guard, size).admit_one

    def run() -> None:
        for _ in range(TIMES):
            assert admit() is None

    assert nanoseconds(TIMES, run, guard=guard, endpoints=size) < MOST_NS


@pytest.mark.parametrize("size", [10, 1000])
@pytest.mark.parametrize("guard", list(GUARDS))
def test_pick(nanoseconds: Timed, guard: str, size: int) -> None:
    pick = guarded(guard, size).pick_one

    def run() -> None:
        for _ in range(TIMES):
            assert pick() is not None

    assert nanoseconds(TIMES, run, guard=guard, endpoints=size) < MOST_NS


@pytest.mark.parametrize("size", [10, 1000])
@pytest.mark.parametrize("guard", list(GUARDS))
def test_outcome(nanoseconds: Timed, guard: str, size: int) -> None:
    cluster = guarded(guard, size)
    note, endpoint = cluster.outcome_one, cluster.endpoints[0]

    def run() -> None:
        for _ in range(TIMES):
            note(endpoint, False, 0.001)

    assert nanoseconds(TIMES, run, guard=guard, endpoints=size) < MOST_NS
