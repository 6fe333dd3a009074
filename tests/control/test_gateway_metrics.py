"""admin.gateway_metrics: the names gateway_*, from the same records as lbd's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get

CONFIG = """
admin: {bind: "127.0.0.1:0", gateway_metrics: true}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes:
      - {name: users, match: {path: /users}, cluster: app}
      - {name: broken, match: {path: /broken}, cluster: broken}
      - {name: single, match: {path: /single}, cluster: single}
  - {name: other, bind: "127.0.0.1:0", routes: [{name: users, cluster: app}]}
clusters:
  - name: app
    endpoints:
      - {address: <origin>, labels: {datacenter: fra, zone: a}}
      - {address: "127.0.0.1:2", weight: 0, labels: {region: eu, zone: b}, name: two}
  - {name: broken, breaker: {scope: endpoint, consecutive: 1, open: 1h}, endpoints: ["127.0.0.1:1", <origin>]}
  - {name: single, breaker: {}, endpoints: ["127.0.0.1:3"]}
"""
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lbd() -> Iterator[Lbd]:
    with EchoOrigin() as origin, Lbd(CONFIG, origin=origin) as lbd:
        for listener in ("web", "web", "other"):
            lbd.ask(get("/users", "Connection: close"), listener)
        for _ in range(4):
            lbd.ask(get("/broken", "Connection: close"))
        lbd.ask(get("/nowhere", "Connection: close"))
        yield lbd


def labels_of(lbd: Lbd, name: str) -> set[frozenset[str]]:
    page = lbd.admin("/metrics").body.decode()
    found = re.findall(rf"^{name}\{{(.*)\}} ", page, re.MULTILINE)
    return {frozenset(re.findall(r'(\w+)="', text)) for text in found}


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("gateway_route_requests_total", {"route", "status_code", "upstream"}),
        ("gateway_route_duration_seconds_bucket", {"route", "upstream", "le"}),
        ("gateway_upstream_health", {"upstream", "datacenter", "zone"}),
        ("gateway_circuit_breaker_state", {"service", "state"}),
    ],
)
def test_names_and_labels(lbd: Lbd, name: str, labels: set[str]) -> None:
    assert labels_of(lbd, name) == {frozenset(labels)}


def test_routes_of_all_listeners(lbd: Lbd) -> None:
    users = {"route": "users", "upstream": "app"}
    assert lbd.metric("gateway_route_requests_total", status_code="200", **users) == 3
    assert lbd.metric("gateway_route_duration_seconds_count", **users) == 3
    assert lbd.metric("gateway_route_requests_total", route="-", status_code="404") == 1
    total = lbd.metric("gateway_route_requests_total")
    assert total == lbd.metric("lbd_requests_total") == 8
    seconds = lbd.metric("gateway_route_duration_seconds_sum")
    assert seconds == pytest.approx(lbd.metric("lbd_request_duration_seconds_sum"))


def test_health_by_place(lbd: Lbd) -> None:
    assert lbd.metric("gateway_upstream_health", upstream="app", datacenter="fra", zone="a") == 1
    assert lbd.metric("gateway_upstream_health", upstream="app", datacenter="eu", zone="b") == 1
    assert lbd.metric("gateway_upstream_health", upstream="broken", datacenter="", zone="") == 0.5


def test_one_state_of_a_breaker_at_a_time(lbd: Lbd) -> None:
    def states(service: str) -> dict[str, Any]:
        return {
            state: lbd.metric("gateway_circuit_breaker_state", service=service, state=state)
            for state in ("closed", "open", "half_open")
        }

    assert states("single") == {"closed": 1, "open": 0, "half_open": 0}
    assert states("broken") == {"closed": 0, "open": 1, "half_open": 0}
    assert lbd.metric("gateway_circuit_breaker_state", service="app") == 0  # it has none


def test_off_unless_asked_for_and_changed_by_a_reload(tmp_path: Path) -> None:
    plain = CONFIG.replace(", gateway_metrics: true", "")
    with EchoOrigin() as origin, Lbd(plain, origin=origin) as lbd:
        assert b"gateway_" not in lbd.admin("/metrics").body
        file = lbd.directory / "lbd.yaml"
        file.write_text(
            file.read_text().replace('127.0.0.1:0"}\nlist', '127.0.0.1:0", gateway_metrics: true}\nlist')
        )
        head = b"POST /api/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\r\n"
        assert lbd.ask(head, "admin").status == 200
        assert b"gateway_upstream_health" in lbd.admin("/metrics").body


def test_documentation_names_them(lbd: Lbd) -> None:
    page = lbd.admin("/metrics").body.decode()
    served = set(re.findall(r"^# TYPE (gateway_\S+)", page, re.MULTILINE))
    document = (ROOT / "docs" / "operations.md").read_text()
    assert served == set(re.findall(r"^\| `(gateway_\w+)`", document, re.MULTILINE))
