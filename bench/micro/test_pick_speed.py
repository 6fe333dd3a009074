"""Pick, for every balancer, of 10, 1 000 and 100 000 endpoints: it must not depend on their number."""

from __future__ import annotations

import pytest

from bench.micro.conftest import Timed
from bench.micro.subjects import SIZES, balancer
from lbd import registry

TIMES = 100_000


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", list(registry.BALANCERS))
def test_pick(nanoseconds: Timed, name: str, size: int) -> None:
    picker = balancer(name, size)
    assert picker.pick_one() is not None
    nanoseconds(TIMES, picker.pick_many, TIMES, balancer=name, endpoints=size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", list(registry.BALANCERS))
def test_pick_acquire_release(nanoseconds: Timed, name: str, size: int) -> None:
    """With a Python call for each step, so only sizes are compared."""
    picker = balancer(name, size)

    def run() -> None:
        for key in range(1000):
            endpoint = picker.pick_one(key)
            assert endpoint is not None
            picker.acquire_one(endpoint)
            picker.release_one(endpoint)

    nanoseconds(1000, run, balancer=name, endpoints=size)


@pytest.mark.parametrize("name", list(registry.BALANCERS))
def test_build(nanoseconds: Timed, name: str) -> None:
    """What a reload or a change of weights costs, with 1 000 endpoints."""
    picker = balancer(name, 1000)
    nanoseconds(1, type(picker), picker.endpoints, balancer=name, endpoints=1000)
