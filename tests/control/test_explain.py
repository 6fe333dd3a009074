"""explain: the decisions about a request as plain data, each with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from control.worlds import compiled

from lbd.config.loader import load_text
from lbd.config.units import BadValue
from lbd.control.compile import Runtime
from lbd.control.dry_run import dry_run
from lbd.control.explain import explain, recalled

TEXT = """
listeners:
  - name: web
    bind: ':8080'
    trusted_proxies: [10.0.0.0/8]
    routes:
      - {name: user, match: {host: api.test, path: '/users/:id', header: {x-user: a*}}, cluster: api}
      - {name: inner, match: {host: api.test, path: '/users/*', source: 192.168.0.0/16}, cluster: api}
      - {name: v2, match: {host: api.test, path: /v2/*}, cluster: api, endpoint_labels: {v: '2'},
         timeouts: {total: 7s}, retry: {limit: 3, backoff: {base: 100ms, jitter: false}}}
      - {name: any, match: {host: api.test}, cluster: api}
      - {name: gone, match: {host: old.test, path: /x/*}, respond: {status: 410}}
      - {name: stuck, match: {host: stuck.test}, cluster: session}
  - {name: plain, bind: ':80', https_redirect: true}
  - {name: db, bind: ':5432', protocol: tcp, cluster: hashed}
clusters:
  - name: api
    balancer: least_conn
    endpoints:
      - {address: '127.0.0.1:1', name: e0}
      - {address: '127.0.0.1:2', name: e1, weight: 3, labels: {v: '2'}}
      - {address: '127.0.0.1:3', name: e2, weight: 0}
    fallback: {cluster: spare}
  - {name: spare, endpoints: ['127.0.0.1:9']}
  - {name: hashed, balancer: ip_hash, endpoints: ['127.0.0.1:4', '127.0.0.1:5']}
  - {name: session, sticky: {cookie: {name: sid, secret: swordfish-swordfish}},
     endpoints: [{address: '127.0.0.1:6', name: s0}, {address: '127.0.0.1:7', name: s1}]}
"""


def asked(url: str, *fields: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {"url": url, "fields": [list(pair) for pair in fields], **more}


def told(request: dict[str, Any], change: Callable[[Runtime], None] | None = None) -> Any:
    """What is said; before it, `change` may alter the state of things. It is JSON."""
    with compiled(TEXT) as runtime:
        if change is not None:
            change(runtime)
        return json.loads(json.dumps(explain(runtime, request)))


def row_of(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [row for row in rows if row["name"] == name]
    return found


def test_each_route_is_told_with_its_line_and_the_reason() -> None:
    found = told(asked("http://api.test:8080/users/7", ("x-user", "bob")))
    said = {row["name"]: (row["outcome"], row["why"], row["at"]) for row in found["routes"]}
    assert said == {
        "any": ("chosen", "", "<config>:11"),
        "user": ("refused", "header x-user must be a*; it is 'bob'", "<config>:7"),
        "inner": ("refused", "client must be in 192.168.0.0/16", "<config>:8"),
        "v2": ("missed", "path must be /v2/*", "<config>:9"),
        "gone": ("missed", "host must be old.test; path must be /x/*", "<config>:12"),
        "stuck": ("missed", "host must be stuck.test", "<config>:13"),
    }
    assert found["routes"][0]["name"] == "any", "the chosen one comes first"
    assert found["listener"]["name"] == "web" and found["listener"]["at"] == "<config>:3"


def test_what_is_captured_and_who_is_outranked() -> None:
    found = told(asked("http://api.test:8080/users/7?x=1", ("X-User", "anna")))
    assert found["route"]["name"] == "user" and found["route"]["captures"] == {"id": "7"}
    assert row_of(found["routes"], "any")["outcome"] == "outranked"
    assert row_of(found["routes"], "any")["why"] == "route user comes first"


def test_the_client_is_who_the_trusted_proxy_says() -> None:
    request = asked("http://api.test:8080/users/7", ("x-forwarded-for", "192.168.1.2"), client="10.0.0.1")
    found = told(request)
    assert found["request"]["client"] == "192.168.1.2" and found["request"]["peer"] == "10.0.0.1"
    assert found["route"]["name"] == "inner"
    assert told(request | {"client": "11.0.0.1"})["route"]["name"] == "any"


def test_limits_and_the_retry_plan() -> None:
    found = told(asked("http://api.test:8080/v2/x", method="POST", body=20_000))
    assert found["limits"]["route"]["timeouts.total"] == "7s"
    assert found["limits"]["cluster"]["timeouts.response"] == "30s"
    plan = found["retry"]
    assert plan["limit"] == 3 and plan["waits"] == [[0.1, 0.1], [0.2, 0.2], [0.4, 0.4]]
    assert not plan["body_is_kept"] and "longer than what is kept" in plan["said"]
    shorter = told(asked("http://api.test:8080/v2/x", method="POST", body=20))["retry"]
    assert not shorter["allowed"] and "POST may not be repeated" in shorter["said"]
    assert told(asked("http://api.test:8080/v2/x"))["retry"]["said"] == "for all of its causes"
    assert plan["budget"] == 10.0


def test_each_endpoint_is_told_with_its_score_and_why_it_lost() -> None:
    found = told(asked("http://api.test:8080/"))
    assert found["cluster"]["balancer"] == "least_conn" and found["cluster"]["at"] == "<config>:17"
    e0, e1, e2 = (row_of(found["endpoints"], name) for name in ("e0", "e1", "e2"))
    assert (e0["score"], e0["place"], e0["why"]) == (1.0, "alternative 1", "1 is more than 0.333333")
    assert (e1["score"], e1["place"]) == (pytest.approx(1 / 3, abs=1e-6), "picked")
    assert (e2["obstacles"], e2["score"], e2["usable"]) == (["weight 0"], None, True)
    assert found["outcome"]["endpoint"] == "e1" and found["outcome"]["alternatives"][0] == "e0"
    assert e1["at"] == "<config>:21"


@pytest.mark.parametrize(
    ("alter", "obstacle"),
    [
        (lambda endpoint: endpoint.set_admin("draining"), "draining: its sessions only"),
        (lambda endpoint: endpoint.set_admin("disabled"), "disabled"),
        (lambda endpoint: endpoint.set_health("down"), "down by active checks"),
        (lambda endpoint: endpoint.set_weight(0), "weight 0"),
    ],
)
def test_what_keeps_an_endpoint_from_serving(alter: Callable[[Any], None], obstacle: str) -> None:
    def change(runtime: Runtime) -> None:
        alter(runtime.clusters["api"].endpoints[1])
        runtime.clusters["api"].refresh()

    found = told(asked("http://api.test:8080/"), change)
    assert row_of(found["endpoints"], "e1")["obstacles"] == [obstacle]
    assert found["outcome"]["endpoint"] == "e0"


def test_labels_that_do_not_match() -> None:
    found = told(asked("http://api.test:8080/v2/x"))
    assert row_of(found["endpoints"], "e0")["obstacles"] == ["label v must be '2'"]
    assert found["outcome"]["endpoint"] == "e1" and found["route"]["endpoint_labels"] == {"v": "2"}


def test_an_endpoint_without_an_address_is_unresolved() -> None:
    text = TEXT.replace("{address: '127.0.0.1:2', name: e1", "{address: 'nowhere.test:2', name: e1")
    with compiled(text) as runtime:
        found = explain(runtime, asked("http://api.test:8080/"))
        assert row_of(found["endpoints"], "e1")["obstacles"] == [
            "unresolved: no address of its name is known"
        ]
        with dry_run(runtime.config) as dry:
            assert row_of(explain(dry, asked("http://api.test:8080/"))["endpoints"], "e1")["obstacles"] == []


def test_an_ejected_endpoint_and_for_how_long() -> None:
    def change(runtime: Runtime) -> None:
        cluster = runtime.clusters["api"]
        for _ in range(5):
            cluster.outcome_one(cluster.endpoints[1], True, 0.01)

    found = told(asked("http://api.test:8080/"), change)
    (obstacle,) = row_of(found["endpoints"], "e1")["obstacles"]
    assert obstacle == "ejected by passive checks for 10.0 s more"


def test_the_fallbacks_that_are_walked() -> None:
    def change(runtime: Runtime) -> None:
        for endpoint in runtime.clusters["api"].endpoints:
            endpoint.set_admin("disabled")
        runtime.clusters["api"].refresh()

    found = told(asked("http://api.test:8080/"), change)
    assert [(row["name"], row["reason"]) for row in found["clusters"]] == [
        ("api", "no_endpoint"),
        ("spare", ""),
    ]
    assert found["outcome"]["cluster"] == "spare"


def test_who_is_refused_sees_the_endpoints_that_cannot_serve() -> None:
    def change(runtime: Runtime) -> None:
        for name in ("api", "spare"):
            for endpoint in runtime.clusters[name].endpoints:
                endpoint.set_admin("disabled")
            runtime.clusters[name].refresh()

    found = told(asked("http://api.test:8080/"), change)
    assert found["outcome"] == {"kind": "refused", "status": 503, "reason": "no_endpoint"}
    disabled = {row["name"] for row in found["endpoints"] if "disabled" in row["obstacles"]}
    assert disabled == {"e0", "e1", "e2", "127.0.0.1:9"}


def test_sessions() -> None:
    url = "http://stuck.test:8080/"
    with compiled(TEXT) as runtime:
        cluster = runtime.clusters["session"]
        assert cluster.sticky is not None
        token = cluster.sticky.token(cluster.endpoints[1]).decode()
        assert explain(runtime, asked(url))["session"]["said"] == "the request names none"
        for _ in range(3):
            found = explain(runtime, asked(url, ("cookie", f"sid={token}")))
            assert found["session"]["endpoint"] == "s1" and found["outcome"]["endpoint"] == "s1"
            assert found["outcome"]["by"] == "session"
            assert row_of(found["endpoints"], "s0")["why"] == "the session is elsewhere"
        assert not any("sid=" in line for line in found["upstream_head"]), "cookies are not shown"
        cluster.endpoints[1].set_admin("disabled")
        cluster.refresh()
        lost = explain(runtime, asked(url, ("cookie", f"sid={token}")))
        assert "it gets a new one" in lost["session"]["said"] and lost["outcome"]["endpoint"] == "s0"


@pytest.mark.parametrize(
    ("request_", "outcome"),
    [
        (asked("http://old.test:8080/x/1"), {"kind": "respond", "status": 410, "https_port": 0}),
        (asked("http://any.test/"), {"kind": "redirect", "status": 308, "https_port": 443}),
        (asked("http://other.test:8080/"), {"kind": "refused", "status": 404, "reason": "no_route"}),
        (
            asked("http://api.test:8080/", method="POST", body=2**31),
            {"kind": "refused", "status": 413, "reason": "body_too_large"},
        ),
    ],
)
def test_what_lbd_answers_itself(request_: dict[str, Any], outcome: dict[str, Any]) -> None:
    assert told(request_)["outcome"] == outcome


def test_a_tcp_listener() -> None:
    found = told({"listener": "db", "client": "10.1.2.3"})
    assert found["outcome"]["cluster"] == "hashed"
    assert found["cluster"]["key"] == {"by": "source", "given": True}
    assert [row["score"] for row in found["endpoints"] if row["place"] == "picked"] == [0.0]
    assert found["routes"] == [] and "no byte is sent twice" in found["retry"]["said"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"listener": "nope"}, "there is no listener 'nope'; there are web, plain, db"),
        ({"listener": "db", "url": "http://x/"}, "passes bytes on and knows no requests"),
        ({}, "several listeners could be meant"),
        (asked("http://x:99/"), "no http listener is bound to port 99"),
        (asked("gopher://x/"), "must be a URL"),
        (asked("http://x:8080/", client="home"), "must be an IP address"),
        (asked("http://x:8080/", ("a b", "c")), "is not a"),
        (asked("http://x:8080/", ("a", "b\r\nc: d")), "cannot contain control characters"),
        ({"url": "http://x:8080/", "method": "get"}, "did you mean 'GET'?"),
        ({"url": "http://x:8080/", "colour": 1}, "unknown member 'colour'"),
        ({"url": "http://x:8080/", "fields": 7}, "fields must be a list"),
        ({"url": "http://x:8080/", "body": True}, "body must be the length"),
        ({"listener": "web", "target": "/a b"}, "printable ASCII only"),
    ],
)
def test_what_makes_no_sense_is_an_error(request_: dict[str, Any], said: str) -> None:
    with compiled(TEXT) as runtime, pytest.raises(BadValue) as caught:
        explain(runtime, request_)
    assert said in str(caught.value)


def test_nothing_changes_by_it() -> None:
    """All numbers of the shared block, the turns of the balancers and the retry budget."""
    with compiled(TEXT) as runtime:
        shared = next(iter(runtime.makers.values())).shared

        def state() -> Any:
            kinds = ("route", "listener", "cluster", "cluster_state", "endpoint", "endpoint_state")
            numbers = {(kind, name): shared.read(kind, name) for kind in kinds for name in shared.names(kind)}
            budgets = {name: repr(cluster.budget) for name, cluster in runtime.clusters.items()}
            peeks = {
                name: [endpoint.name for endpoint in cluster.balancer.peek(0, 3)]
                for name, cluster in runtime.clusters.items()
                if cluster.balancer is not None
            }
            return numbers, budgets, peeks, runtime.listeners["web"].open_connections

        before = state()
        for url in ("http://api.test:8080/users/1", "http://stuck.test:8080/", "http://old.test:8080/x/1"):
            for _ in range(5):
                explain(runtime, asked(url, ("cookie", "sid=unknown")))
        explain(runtime, {"listener": "db"})
        assert state() == before


def test_a_large_configuration_has_a_bounded_answer() -> None:
    routes = "".join(f"      - {{match: {{host: h{i}.test}}, cluster: c}}\n" for i in range(1000))
    endpoints = ", ".join(f"'127.0.0.1:{port}'" for port in range(1, 1001))
    text = f"listeners:\n  - name: web\n    bind: ':8080'\n    routes:\n{routes}"
    with dry_run(load_text(f"{text}clusters: [{{name: c, endpoints: [{endpoints}]}}]\n")) as runtime:
        found = explain(runtime, asked("http://h7.test:8080/"))
        assert found["routes"][0]["name"] == "web[7]"
        assert len(found["routes"]) + found["routes_left_out"] == 1000 and found["routes_left_out"] > 800
        assert len(found["endpoints"]) == 200 and found["endpoints_left_out"] == 800
        assert row_of(found["endpoints"], found["outcome"]["endpoint"])["place"] == "picked"


def test_a_past_request_comes_from_the_recorder() -> None:
    class Recorder:
        def find(self, request_id: str) -> dict[str, Any] | None:
            known = {"method": "PUT", "path": "/a", "host": "x", "listener": "web", "status": 200}
            return known if request_id == "1f" else None

    asked_again = {"method": "PUT", "target": "/a", "host": "x", "listener": "web"}
    assert recalled({"id": "1f"}, Recorder()) == asked_again
    assert recalled({"url": "http://y/"}, None) == {"url": "http://y/"}
    for recorder, said in ((Recorder(), "no longer, in the recorder"), (None, "records no requests")):
        with pytest.raises(BadValue, match=said):
            recalled({"id": "2f"}, recorder)
