"""POST /api/stats/reset: counters of the API begin anew, those of Prometheus and the page /status go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from admin.asking import JSON, ask, endpoint, look
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get
from harness.waiting import eventually
from reload.changing import Changing

from lbd.admin.counting import COUNTERS, Counting
from lbd.engine.shared import Shared

CONFIG = """
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes: [{match: {path: /gone}, cluster: gone}, {cluster: app}]
clusters:
  - {name: app, endpoints: [{address: <origin>, name: one}]}
  - {name: gone, breaker: {consecutive: 1, open: 1h}, endpoints: [{address: "127.0.0.1:1", name: none}]}
"""


@pytest.fixture(scope="module")
def origin() -> Iterator[EchoOrigin]:
    with EchoOrigin() as origin:
        yield origin


@pytest.fixture(params=[1, 2])
def lbd(request: pytest.FixtureRequest, origin: EchoOrigin) -> Iterator[Changing]:
    with Changing(f"workers: {request.param}\n{CONFIG}", origin=origin) as lbd:
        yield lbd


def reset(lbd: Lbd) -> float:
    response = ask(lbd, "POST", "/api/stats/reset", JSON, body=b"{}")
    assert response.status == 200, response
    return float(response.json()["since"])


def seen(lbd: Lbd) -> dict[str, Any]:
    """All counters of the overview."""
    view = look(lbd, "/api/overview")
    clusters = {cluster["name"]: cluster for cluster in view["clusters"]}
    (one,) = clusters["app"]["endpoints"]
    (none,) = clusters["gone"]["endpoints"]
    return {
        "codes": view["traffic"]["codes"],
        "durations": sum(count for _, count in view["traffic"]["duration"]),
        "received": view["traffic"]["received"],
        "accepted": view["listeners"][0]["accepted"],
        "errors": view["listeners"][0]["errors"],
        "requests": one["requests"],
        "classes": one["codes"],
        "first_bytes": sum(count for _, count in one["first_byte"]),
        "connect_failures": none["connect_failures"],
        "broken": clusters["gone"]["counters"].get("breaker_refused", 0),
    }


def busy(lbd: Lbd) -> dict[str, Any]:
    """Requests, and what is counted then."""
    for path in ("/", "/", "/", "/gone", "/gone"):
        lbd.ask(get(path))
    counted = {
        "codes": {"200": 3, "502": 1, "503": 1},
        "durations": 5,
        "received": 0,
        "accepted": 5,
        "errors": {"connect_failed": 1, "breaker_open": 1},
        "requests": 3,
        "classes": [0, 0, 3, 0, 0, 0],
        "first_bytes": 3,
        "connect_failures": 1,
        "broken": 1,
    }
    eventually(lambda: seen(lbd) == counted, "all is counted")
    return counted


def test_counters_begin_anew(lbd: Changing) -> None:
    info = look(lbd, "/api/info")
    assert info["counting_since"] == info["started"]
    counted = busy(lbd)
    before = time.time()
    since = reset(lbd)
    assert before - 1 <= since <= time.time() and look(lbd, "/api/info")["counting_since"] == since
    zeros = {name: type(value)() for name, value in counted.items()} | {"classes": [0] * 6}
    assert seen(lbd) == zeros
    assert endpoint(lbd, "app", "one")["requests"] == 0
    for _ in range(2):
        lbd.ask(get("/"))
    eventually(lambda: seen(lbd)["codes"] == {"200": 2}, "it counts from there")
    assert (seen(lbd)["requests"], seen(lbd)["accepted"], seen(lbd)["first_bytes"]) == (2, 2, 2)
    assert endpoint(lbd, "app", "one")["requests"] == 2
    reset(lbd)
    assert seen(lbd) == zeros, "and once more"


def test_prometheus_and_nginx_go_on(lbd: Changing) -> None:
    busy(lbd)
    reset(lbd)
    lbd.ask(get("/"))
    eventually(lambda: lbd.metric("lbd_requests_total") == 6, "metrics only grow")
    assert lbd.metric("lbd_upstream_requests_total", endpoint="one") == 4
    assert lbd.admin("/status").body.decode().splitlines()[2].split()[2] == "6"


def test_states_stay(lbd: Changing) -> None:
    busy(lbd)
    with lbd.connect() as client:
        client.ask(get("/"))
        reset(lbd)
        (web,) = look(lbd, "/api/listeners")
        assert web["connections"] == 1
        clusters = {cluster["name"]: cluster for cluster in look(lbd, "/api/clusters")}
        assert clusters["gone"]["breaker"] == "open"
        assert endpoint(lbd, "app", "one")["connections"]["open"] >= 1


def test_what_a_reload_brings_again_counts_from_nothing(lbd: Changing) -> None:
    busy(lbd)
    reset(lbd)
    config = lbd.config.partition("state_directory: state\n")[2]
    app = next(line for line in config.splitlines() if "name: app" in line)
    lbd.reload(config.replace("{cluster: app}", "{cluster: gone}").replace(f"{app}\n", ""))
    lbd.reload(config)
    lbd.ask(get("/"))
    eventually(lambda: endpoint(lbd, "app", "one")["requests"] == 1, "the new one counts")


def test_only_a_post_resets(lbd: Changing) -> None:
    busy(lbd)
    assert ask(lbd, "GET", "/api/stats/reset").status == 405
    assert ask(lbd, "POST", "/api/stats/reset").status == 415
    assert endpoint(lbd, "app", "one")["requests"] == 3


@pytest.mark.parametrize("kind", sorted(COUNTERS))
def test_counters_are_those_of_the_block(kind: str, origin: EchoOrigin) -> None:
    """A name that a record does not have would be found out by a reset only."""

    class Block:
        def __init__(self, record: dict[str, Any]) -> None:
            self.record = record

        def names(self, wanted: str) -> list[str]:
            return ["x"] if wanted == kind else []

        def read(self, kind: str, name: str) -> dict[str, Any]:
            return self.record

    shared = Shared(1, 1 << 20)
    fields = _fields(shared, kind)
    assert COUNTERS[kind].keys() <= fields
    counting = Counting(Block(dict.fromkeys(fields, 0)), 0.0)  # type: ignore[arg-type]
    assert counting.read(kind, "x") == dict.fromkeys(fields, 0)


def _fields(shared: Shared, kind: str) -> set[str]:
    """Those of a record."""
    shared.learn({(kind, "x"): (0, 1 << 16)})
    return set(shared.read(kind, "x"))
