"""The admin API of an lbd process: what it shows, what it takes, what it says to mistakes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from admin.asking import JSON, ask, change, endpoint, endpoint_path, look, patch
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get
from harness.waiting import eventually

from lbd import __version__

CONFIG = """
environment: testing
state_directory: <state>
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: "127.0.0.1:0", routes: [{match: {path: /spare}, cluster: spare}, {cluster: app}]}
clusters:
  - name: app
    breaker: {scope: endpoint}
    endpoints:
      - {address: <origin>, name: one, labels: {zone: a}, weight: 2}
      - {address: "unix:/run/x y%2F?#.sock"}
  - {name: spare, breaker: {scope: cluster}, balancer: p2c, endpoints: ["127.0.0.1:1", "127.0.0.1:2"]}
"""
ODD = "unix:/run/x y%2F?#.sock"


@pytest.fixture(scope="module")
def origin() -> Iterator[EchoOrigin]:
    with EchoOrigin() as origin:
        yield origin


@pytest.fixture(scope="module")
def unchanged(origin: EchoOrigin, tmp_path_factory: Any) -> Iterator[Lbd]:
    """For tests that change nothing."""
    with Lbd(CONFIG, origin=origin, state=tmp_path_factory.mktemp("state")) as lbd:
        yield lbd


@pytest.fixture
def lbd(origin: EchoOrigin, tmp_path: Any) -> Iterator[Lbd]:
    with Lbd(CONFIG, origin=origin, state=tmp_path / "state") as lbd:
        yield lbd


def test_info(unchanged: Lbd) -> None:
    info = look(unchanged, "/api/info")
    assert info.pop("started") == info.pop("counting_since") > 1e9
    assert info == {
        "name": "lbd",
        "version": __version__,
        "environment": "testing",
        "workers": 1,
        "pid": unchanged.pid,
        "draining": False,
        "counts": {"listeners": 1, "clusters": 2, "endpoints": 4},
    }


def test_clusters(unchanged: Lbd) -> None:
    app, spare = look(unchanged, "/api/clusters")
    assert (app["name"], app["balancer"], app["breaker"]) == ("app", "round_robin", None)
    assert (spare["name"], spare["balancer"], spare["breaker"]) == ("spare", "p2c", "closed")
    none = {"draining": 0, "disabled": 0, "down": 0, "ejected": 0}
    assert app["counts"] == {"endpoints": 2, "usable": 2, **none}
    full = look(unchanged, "/api/clusters/app")
    assert [one["name"] for one in full.pop("endpoints")] == ["one", ODD]
    assert full == app


def test_an_endpoint_with_traffic(lbd: Lbd, origin: EchoOrigin) -> None:
    change(lbd, "app", ODD, weight=0)
    with lbd.connect() as client:
        for _ in range(3):
            assert client.ask(get()).status == 200
        seen = endpoint(lbd, "app", "one")
    assert (seen["cluster"], seen["name"], seen["address"]) == ("app", "one", str(origin))
    assert (seen["labels"], seen["state"], seen["health"], seen["breaker"]) == (
        {"zone": "a"},
        "ready",
        "unknown",
        "closed",
    )
    assert seen["weight"] == {"configured": 2, "wanted": 2, "effective": 2}
    assert (seen["requests"], seen["failures"], seen["active"], seen["empty"]) == (3, 0, 0, False)
    assert seen["connections"] == {"open": 1, "idle": 1, "queued": 0}
    assert 2 < seen["recent"]["requests"] <= 3
    assert seen["recent"]["errors"] == 0 and 0 < seen["recent"]["latency"] < 5


def test_failures_show(lbd: Lbd) -> None:
    assert lbd.ask(get("/spare")).status == 502
    both = look(lbd, "/api/clusters/spare")["endpoints"]
    assert sum(one["failures"] for one in both) >= 1
    assert max(one["recent"]["errors"] for one in both) == 1.0


def test_weight(lbd: Lbd) -> None:
    assert change(lbd, "app", "one", weight=7)["weight"] == {"configured": 2, "wanted": 7, "effective": 7}
    assert change(lbd, "app", "one", weight=0)["weight"] == {"configured": 2, "wanted": 0, "effective": 0}
    assert change(lbd, "app", "one", weight=65535)["weight"]["wanted"] == 65535
    assert change(lbd, "app", "one", weight=None)["weight"] == {"configured": 2, "wanted": 2, "effective": 2}


def test_state_and_weight_at_once(lbd: Lbd) -> None:
    seen = change(lbd, "app", "one", weight=9, state="disabled")
    assert (seen["weight"]["wanted"], seen["state"], seen["usable"], seen["empty"]) == (
        9,
        "disabled",
        False,
        True,
    )
    seen = change(lbd, "app", "one", state="ready")
    assert (seen["weight"]["wanted"], seen["state"], seen["usable"]) == (9, "ready", True)


def test_any_name_and_an_address_instead(lbd: Lbd, origin: EchoOrigin) -> None:
    assert change(lbd, "app", ODD, state="draining")["name"] == ODD
    assert endpoint(lbd, "app", ODD)["state"] == "draining"
    assert endpoint(lbd, "app", str(origin))["name"] == "one"


def test_every_change_is_in_the_log(lbd: Lbd) -> None:
    change(lbd, "app", "one", weight=5, state="draining")
    line = " INFO admin: 127.0.0.1 set endpoint app/one: weight 2 -> 5, state ready -> draining"
    assert sum(each.endswith(line) for each in lbd.lines) == 1
    change(lbd, "app", "one", weight=None)
    assert any(each.endswith("endpoint app/one: weight 5 -> 2 (as configured)") for each in lbd.lines)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/api/clusters/ap", "there is no cluster 'ap'; did you mean 'app'?"),
        (
            "/api/clusters/app/endpoints/ones",
            "there is no endpoint 'ones' in cluster 'app'; did you mean 'one'?",
        ),
        ("/api/clusters/app/endpoints/%FF", "the path is not percent-encoded UTF-8"),
        ("/api/nothing", "there is nothing at this path; see /docs"),
        ("/api/", "there is nothing at this path; see /docs"),
        ("/api/clusters/", "there is nothing at this path; see /docs"),
    ],
)
def test_unknown_names(unchanged: Lbd, path: str, error: str) -> None:
    response = ask(unchanged, "GET", path)
    assert (response.status, response.json()) == (404, {"error": error})


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b'{"weight": 65536}', 422, "weight: Input should be less than or equal to 65535"),
        (b'{"weight": -1}', 422, "weight: Input should be greater than or equal to 0"),
        (b'{"weight": 1.0}', 422, "weight: Input should be a valid integer"),
        (b'{"weight": "1"}', 422, "weight: Input should be a valid integer"),
        (b'{"weight": true}', 422, "weight: Input should be a valid integer"),
        (b'{"weight": NaN}', 422, "weight: Input should be a valid integer"),
        (b'{"state": "drained"}', 422, "state: Input should be 'ready', 'draining' or 'disabled'"),
        (b'{"state": null}', 422, "state: Input should be 'ready', 'draining' or 'disabled'"),
        (b'{"wait": 1}', 422, "wait: Extra inputs are not permitted"),
        (b"{}", 422, "give 'weight', 'state' or both"),
        (b"[]", 422, "Input should be a valid dictionary or object to extract fields from"),
        (b"{", 400, "the body is not JSON"),
        (b"\xff\xfe", 400, "the body is not JSON"),
        (b"[" * 60000, 400, "the body is not JSON"),
    ],
)
def test_bodies_that_cannot_be_used(unchanged: Lbd, body: bytes, status: int, error: str) -> None:
    response = ask(unchanged, "PATCH", endpoint_path("app", "one"), JSON, body=body)
    assert (response.status, response.json()) == (status, {"error": error})
    assert endpoint(unchanged, "app", "one")["state"] == "ready"
    assert endpoint(unchanged, "app", "one")["weight"]["wanted"] == 2


def test_openapi_describes_every_path(unchanged: Lbd) -> None:
    described = look(unchanged, "/openapi.json")
    assert set(described["paths"]) == {
        "/api/info",
        "/api/log-level",
        "/api/overview",
        "/api/events",
        "/api/recorder",
        "/api/recorder/{request_id}",
        "/api/clusters",
        "/api/clusters/{cluster}",
        "/api/clusters/{cluster}/endpoints/{endpoint}",
        "/api/reload",
        "/api/explain",
        "/api/config",
        "/api/listeners",
        "/api/connections",
        "/api/breakers",
        "/api/certificates",
        "/api/audit",
        "/api/stats/reset",
        "/api/stop",
    }
    fields = described["components"]["schemas"]["EndpointView"]["properties"]
    assert set(fields) == set(endpoint(unchanged, "app", "one"))
    assert set(described["components"]["schemas"]["Info"]["properties"]) == set(look(unchanged, "/api/info"))
    view = described["components"]["schemas"]["FullClusterView"]["properties"]
    assert set(view) == set(look(unchanged, "/api/clusters/app"))


def test_docs_ask_nobody_else(unchanged: Lbd) -> None:
    page = ask(unchanged, "GET", "/docs")
    text = page.body.decode()
    assert page.status == 200 and page.one("content-type") == "text/html; charset=utf-8"
    assert not re.search(r"(src|href)=[\"']?(https?:)?//|@import|url\(", text)
    policy = page.one("content-security-policy") or ""
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert policy.count("sha256-") == 2


def test_nothing_is_cached(unchanged: Lbd) -> None:
    for path in ("/api/info", "/api/nothing", "/docs", "/metrics"):
        assert ask(unchanged, "GET", path).all("cache-control") == ["no-store"]


def test_a_state_that_cannot_be_saved_is_in_force_and_said_once(origin: EchoOrigin, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("")
    with Lbd(CONFIG, origin=origin, state=tmp_path / "file" / "below") as lbd:
        for weight in (4, 5):
            response = patch(lbd, "app", "one", weight=weight)
            assert response.status == 200 and response.json()["saved"] is False
        assert endpoint(lbd, "app", "one")["weight"]["wanted"] == 5
        assert sum("cannot be written" in line for line in lbd.lines) == 1


def test_state_survives_a_restart_and_endpoints_that_are_away(origin: EchoOrigin, tmp_path: Any) -> None:
    places = {"origin": origin, "state": tmp_path / "state"}
    with Lbd(CONFIG, **places) as lbd:
        change(lbd, "app", "one", weight=7)
        change(lbd, "spare", "127.0.0.1:1", state="draining")
    without_spare = CONFIG.replace('"127.0.0.1:1", ', "")
    with Lbd(without_spare, **places) as lbd:
        change(lbd, "app", "one", state="disabled")
    with Lbd(CONFIG, **places) as lbd:
        one = endpoint(lbd, "app", "one")
        assert (one["weight"]["wanted"], one["state"], one["usable"]) == (7, "disabled", False)
        assert endpoint(lbd, "spare", "127.0.0.1:1")["state"] == "draining"
        assert lbd.ask(get()).status == 502  # the other endpoint of app is no server
        change(lbd, "app", "one", state="ready", weight=None)
        change(lbd, "spare", "127.0.0.1:1", state="ready")
    assert json.loads((tmp_path / "state" / "state.json").read_text())["endpoints"] == []


def test_a_discovered_endpoint_gets_its_state_when_it_joins(origin: EchoOrigin, tmp_path: Any) -> None:
    found = tmp_path / "endpoints.yaml"
    found.write_text(f"- {{address: '{origin}', name: a}}\n- {{address: '127.0.0.1:1', name: b}}\n")
    config = """
state_directory: <state>
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, discover: {file: <found>}}]
"""
    with Lbd(config, state=tmp_path / "state", found=found) as lbd:
        change(lbd, "app", "b", state="disabled")
        change(lbd, "app", "a", weight=3)
    with Lbd(config, state=tmp_path / "state", found=found) as lbd:
        assert endpoint(lbd, "app", "b")["state"] == "disabled"
        assert endpoint(lbd, "app", "a")["weight"]["wanted"] == 3
        found.write_text(f"- {{address: '{origin}', name: a}}\n")
        eventually(lambda: len(look(lbd, "/api/clusters/app")["endpoints"]) == 1, timeout=20)
        found.write_text(f"- {{address: '{origin}', name: a}}\n- {{address: '127.0.0.1:2', name: b}}\n")
        eventually(lambda: len(look(lbd, "/api/clusters/app")["endpoints"]) == 2, timeout=20)
        assert endpoint(lbd, "app", "b")["state"] == "disabled"
        assert [lbd.ask(get()).status for _ in range(4)] == [200] * 4
