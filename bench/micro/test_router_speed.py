"""Route lookup in routers of 10, 1 000 and 100 000 routes: it must not depend on their number."""

from __future__ import annotations

import pytest

from bench.micro.conftest import Timed
from bench.micro.subjects import CLIENT, SHAPES, SIZES, head, request_for, router

TIMES = 50_000
MOST_NS = 1000  # of one decision


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_match(nanoseconds: Timed, shape: str, size: int) -> None:
    routes, asked = router(shape, size), request_for(shape, size // 2)
    assert routes.explain(asked)["route"] == f"r{size // 2}"
    assert nanoseconds(TIMES, routes.match_many, asked, CLIENT, TIMES, shape=shape, routes=size) < MOST_NS


@pytest.mark.parametrize("size", SIZES)
def test_no_route(nanoseconds: Timed, size: int) -> None:
    routes, asked = router("paths", size), head("GET /api/v1/nothing/here HTTP/1.1", "Host: a.test")
    assert routes.explain(asked)["route"] is None
    nanoseconds(TIMES, routes.match_many, asked, CLIENT, TIMES, shape="paths", routes=size)
