"""/status and /health of an lbd process: what they say, and when /health says 503."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from admin.asking import ask, change
from admin.test_drain import Holding
from certs.making import DAY, Made, make
from harness.client import Response
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get
from harness.waiting import eventually

from lbd import __version__
from lbd.admin.health import MOST_PROBLEMS, Problem, _part

CONFIG = """
workers: <workers>
state_directory: <state>
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: "127.0.0.1:0", limits: {connections: 3}, cluster: app}
clusters:
  - name: app
    endpoints: [{address: <origin>, name: one}, {address: "127.0.0.1:2", name: two, weight: 0}]
  - name: other
    health_check: {type: tcp, initial: down, interval: 1h}
    endpoints: [{address: "127.0.0.1:1", name: gone}, {address: <there>, name: there}]
"""
WITH_TLS = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    tls: {certificates: [{cert: <cert>, key: <key>}]}
    routes: [{respond: {}}]
"""
STUB_STATUS = re.compile(  # of nginx, as programs that read it expect it
    r"Active connections: (\d+) \nserver accepts handled requests\n (\d+) (\d+) (\d+) \n"
    r"Reading: (\d+) Writing: (\d+) Waiting: (\d+) \n"
)


@pytest.fixture
def origin() -> Iterator[EchoOrigin]:
    with EchoOrigin() as origin:
        yield origin


def started(origin: Any, directory: Path, *, workers: int = 1, other: bool = False) -> Lbd:
    """other: whether one endpoint of the second cluster is up, or will be."""
    places = {"state": directory / "state", "workers": workers, "there": origin if other else "127.0.0.1:3"}
    return Lbd(CONFIG, origin=origin, **places)


def health(lbd: Lbd) -> tuple[int, Any]:
    response = lbd.admin("/health")
    assert response.one("content-type") == "application/json"
    return response.status, response.json()


def statuses(view: Any) -> dict[str, str]:
    return {name: part["status"] for name, part in view["parts"].items()}


@pytest.mark.parametrize("workers", [1, 2])
def test_status_is_read_as_that_of_nginx(tmp_path: Path, workers: int) -> None:
    with Holding("held") as origin, started(origin, tmp_path, workers=workers) as lbd:
        for _ in range(3):
            lbd.ask(get("/", "Connection: close"))
        with lbd.connect() as waiting, lbd.connect() as held:
            waiting.ask(get("/"))
            held.send(get("/hold"))
            eventually(lambda: any(seen.target == "/hold" for seen in origin.requests), "it is held")
            text = eventually(lambda: figures(lbd, is_open=2), "closed connections are counted off")
            assert text == (2, 5, 5, 4, 0, 1, 1)
            origin.go.set()
            assert held.read_response().status == 200


def figures(lbd: Lbd, is_open: int) -> tuple[int, ...] | None:
    match = STUB_STATUS.match(lbd.admin("/status").body.decode())
    assert match is not None
    found = tuple(map(int, match.groups()))
    return found if found[0] == is_open else None


def test_status_for_people(origin: EchoOrigin, tmp_path: Path) -> None:
    with started(origin, tmp_path) as lbd:
        lbd.ask(get("/", "Connection: close"))
        lbd.ask(get("/", "Host: another.example"))  # a second Host
        response = lbd.admin("/status")
        assert response.one("content-type") == "text/plain; charset=utf-8"
        lines = response.body.decode().partition("\n\n")[2].splitlines()
        assert re.fullmatch(rf"lbd {re.escape(__version__)}, pid {lbd.pid}, up \d+ s, serving", lines[0])
        assert lines[1:] == [
            "workers: 1",
            "listener web: 0 open, 2 accepted, 1 errors of lbd",
            "cluster app: 2 of 2 endpoints usable, 0 under way",
            "cluster other: 0 of 2 endpoints usable, 0 under way",
        ]


def test_health_is_good(origin: EchoOrigin, tmp_path: Path) -> None:
    with started(origin, tmp_path) as lbd:
        change(lbd, "other", "gone", state="disabled")  # whoever is taken out on purpose is no failure
        change(lbd, "other", "there", state="disabled")
        change(lbd, "app", "one", state="draining")
        status, view = health(lbd)
        assert (status, view["version"]) == (200, __version__) and view["uptime"] >= 0
        assert {name: part["count"] for name, part in view["parts"].items()} == {
            "listeners": 1, "clusters": 2, "certificates": 0, "reloads": 0,
        }  # fmt: skip
        assert view["parts"]["clusters"]["problems"] == ["other: 0 of 2 endpoints usable"]
        assert statuses(view).pop("listeners") == "ok"


def test_cluster_without_a_usable_endpoint_is_a_failure(origin: EchoOrigin, tmp_path: Path) -> None:
    with started(origin, tmp_path) as lbd:
        status, view = health(lbd)
        assert (status, view["status"], statuses(view)["clusters"]) == (503, "failed", "failed")
        assert view["parts"]["clusters"]["problems"] == ["other: 0 of 2 endpoints usable"]
        assert lbd.admin("/ready").status == 200  # it is not lbd's fault
        head = ask(lbd, "HEAD", "/health")
        assert (head.status, head.body) == (503, b"")


def test_fewer_endpoints_than_wanted_are_worth_a_look(origin: EchoOrigin, tmp_path: Path) -> None:
    with started(origin, tmp_path, other=True) as lbd:
        eventually(lambda: health(lbd)[1]["parts"]["clusters"]["status"] == "degraded", "the first check")
        status, view = health(lbd)
        assert (status, view["status"]) == (200, "degraded")
        assert view["parts"]["clusters"]["problems"] == ["other: 1 of 2 endpoints usable"]


@pytest.mark.parametrize("workers", [1, 2])
def test_listener_that_is_full(origin: EchoOrigin, tmp_path: Path, workers: int) -> None:
    with started(origin, tmp_path, workers=workers, other=True) as lbd:
        clients = [lbd.connect() for _ in range(3)]
        full = {"status": "degraded", "count": 1, "problems": ["web: full, with 3 connections"]}
        eventually(lambda: health(lbd)[1]["parts"]["listeners"] == full, "all are accepted")
        for client in clients:
            client.close()
        eventually(lambda: health(lbd)[1]["parts"]["listeners"]["status"] == "ok", "there is room again")


def test_reload_that_was_refused(origin: EchoOrigin, tmp_path: Path) -> None:
    with started(origin, tmp_path) as lbd:
        file = lbd.directory / "lbd.yaml"
        good = file.read_text()
        file.write_text("nonsense: 1\n")
        assert ask(lbd, "POST", "/api/reload", "Content-Type: application/json").status == 409
        view = health(lbd)[1]
        assert statuses(view)["reloads"] == "degraded" and view["parts"]["reloads"]["count"] == 1
        file.write_text(good)
        assert ask(lbd, "POST", "/api/reload", "Content-Type: application/json").status == 200
        assert statuses(health(lbd)[1])["reloads"] == "ok"


def test_draining(tmp_path: Path) -> None:
    with Holding("held") as origin, started(origin, tmp_path, other=True) as lbd:
        client = lbd.connect().send(get("/hold"))
        eventually(lambda: origin.requests, "it is held")
        with lbd.connect("admin") as admin:
            lbd.signal(signal.SIGTERM)
            asked = get("/health").replace(b"example.test", b"127.0.0.1")

            def draining() -> Response | None:
                answer = admin.ask(asked)
                return answer if answer.json()["status"] == "draining" else None

            assert eventually(draining).status == 503
        origin.go.set()
        assert client.read_response().status == 200
        client.close()


@pytest.mark.parametrize(
    ("end", "status", "part", "problem"),
    [
        (30 * DAY, 200, "ok", None),
        (3 * DAY, 200, "degraded", r"web: site\.example: ends in [23]\.\d days"),
        (-timedelta(minutes=1), 503, "failed", r"web: site\.example: has ended"),
    ],
)
def test_certificates(tmp_path: Path, end: timedelta, status: int, part: str, problem: str | None) -> None:
    cert, key = make("site.example", start=-2 * DAY, end=end).write(tmp_path)
    with Lbd(WITH_TLS, cert=cert, key=key) as lbd:
        found, view = health(lbd)
    certificates = view["parts"]["certificates"]
    assert (found, certificates["status"], certificates["count"]) == (status, part, 1)
    assert len(certificates["problems"]) == (problem is not None)
    assert problem is None or re.fullmatch(problem, certificates["problems"][0])


def test_certificate_that_could_not_be_replaced(tmp_path: Path) -> None:
    made: Made = make("site.example")
    cert, key = made.write(tmp_path)
    with Lbd(WITH_TLS, cert=cert, key=key) as lbd:
        cert.write_text("nonsense")
        key.write_text("nonsense")
        said = eventually(lambda: health(lbd)[1]["parts"]["certificates"]["problems"], timeout=30)
        assert len(said) == 1 and said[0].startswith("web: site.example: ")
        assert health(lbd)[1]["status"] == "degraded"


def test_pages_need_the_token(tmp_path: Path, origin: EchoOrigin) -> None:
    config = CONFIG.replace(
        'admin: {bind: "127.0.0.1:0"}', 'admin: {bind: "127.0.0.1:0", token: sixteen-letters-x}'
    )
    with Lbd(config, origin=origin, state=tmp_path / "s", workers=1, there=origin) as lbd:
        for path in ("/status", "/health"):
            assert ask(lbd, "GET", path).status == 401
            answer = ask(lbd, "GET", path, "Authorization: Bearer sixteen-letters-x", host="lbd.example")
            assert answer.status in (200, 503)


def test_problems_are_bounded_and_the_worst_come_first() -> None:
    many = [Problem("degraded", f"{i}") for i in range(MOST_PROBLEMS + 5)]
    part = _part(1, [*many, Problem("failed", "worst")])
    assert part["status"] == "failed" and part["problems"][0] == "worst"
    assert len(part["problems"]) == MOST_PROBLEMS + 1 and part["problems"][-1] == "and 6 more"
