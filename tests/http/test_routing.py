"""Routes: every matcher, their order, and answers that lbd makes itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get, head

CONFIG = """
listeners:
  - name: web
    bind: 127.0.0.1:0
    routes:
      - {match: {path: /method, method: [PUT, DELETE]}, respond: {body: method}}
      - {match: {path: /header, header: {X-Env: "st*ing"}}, respond: {body: header-glob}}
      - {match: {path: /header, header: {X-Env: [prod, canary]}}, respond: {body: header-list}}
      - {match: {path: /header, header: {X-Flag: true}}, respond: {body: header-present}}
      - {match: {path: /header, header: {X-Other: false}}, respond: {body: header-absent}}
      - {match: {path: /query, query: {v: "2"}}, respond: {body: query-value}}
      - {match: {path: /query, query: {debug: true}}, respond: {body: query-present}}
      - {match: {path: /cookie, cookie: {group: "b*"}}, respond: {body: cookie}}
      - {match: {path: /source, source: 127.0.0.2/32}, respond: {body: source-2}}
      - {match: {path: /source, source: [10.0.0.0/8, 127.0.0.3]}, respond: {body: source-3}}
      - {match: {path: /size, body_size: "> 1KB"}, respond: {body: large}}
      - {match: {path: /size, body_size: "<= 1KB"}, respond: {body: small}}
      - {match: {path: /all, method: GET, header: {A: "1"}, query: {b: "2"}}, respond: {body: all}}
      - {match: {path: /exact}, respond: {body: exact}}
      - {match: {path: /pre/*}, respond: {body: prefix}}
      - {match: {path: /pre/deeper/*}, respond: {body: deeper}}
      - {match: {path: /pre/deeper/exact}, respond: {body: deeper-exact}}
      - {match: {path: /users/:id}, respond: {body: template}}
      - {match: {path: /users/me}, respond: {body: literal}}
      - {match: {path: "/users/:id/files/*"}, respond: {body: template-tail}}
      - {match: {path: "/:uuid/lb/v1beta/models/:model:generateContent"}, respond: {body: generate}}
      - {match: {path: [/one, /two/*]}, respond: {body: either}}
      - {match: {path: /low/*}, respond: {body: low-wins}, priority: 5}
      - {match: {path: /low/exact}, respond: {body: low-exact}}
      - {match: {path: /twice}, respond: {body: first}}
      - {match: {path: /twice}, respond: {body: second}}
      - {match: {host: api.example.com, path: /host}, respond: {body: exact-host}}
      - {match: {host: "*.example.com", path: /host}, respond: {body: wildcard}}
      - {match: {host: "*.eu.example.com", path: /host}, respond: {body: longer-wildcard}}
      - {match: {host: [a.test, "*.b.test"], path: /host}, respond: {body: host-list}}
      - {match: {path: /host}, respond: {body: no-host}}
      - match: {path: /respond}
        respond: {status: 418, headers: {X-Why: tea, Content-Type: text/x}, body: "short"}
      - {match: {path: /empty}, respond: {status: 204}}
      - {match: {path: /echo/*}, cluster: app}
clusters: [{name: app, endpoints: [<origin>]}]
"""


@pytest.fixture(scope="module")
def lbd(echo: EchoOrigin) -> Iterator[Lbd]:
    with Lbd(CONFIG, origin=echo) as lbd:
        yield lbd


HOST = "Host: example.test"
CASES: dict[str,
            tuple[tuple[str, ...], str | None]] = {  # request head -> the route by its body; None = no_route
    "method put": (("PUT /method HTTP/1.1", HOST), "method"),
    "method delete": (("DELETE /method HTTP/1.1", HOST), "method"),
    "method get": (("GET /method HTTP/1.1", HOST), None),
    "method is case-sensitive": (("put /method HTTP/1.1", HOST), None),
    "header glob": (("GET /header HTTP/1.1", HOST, "x-env: staging", "X-Other: 1"), "header-glob"),
    "header glob, empty run": (("GET /header HTTP/1.1", HOST, "X-ENV: sting", "X-Other: 1"), "header-glob"),
    "header list": (("GET /header HTTP/1.1", HOST, "X-Env: canary", "X-Other: 1"), "header-list"),
    "header value is case-sensitive": (("GET /header HTTP/1.1", HOST, "X-Env: PROD", "X-Other: 1"), None),
    "header glob is anchored": (("GET /header HTTP/1.1", HOST, "X-Env: xstaging", "X-Other: 1"), None),
    "header present": (("GET /header HTTP/1.1", HOST, "X-Flag:", "X-Other: 1"), "header-present"),
    "header absent": (("GET /header HTTP/1.1", HOST), "header-absent"),
    "query": (("GET /query?a=1&v=2 HTTP/1.1", HOST), "query-value"),
    "query other value": (("GET /query?v=3 HTTP/1.1", HOST), None),
    "query name is whole": (("GET /query?vv=2 HTTP/1.1", HOST), None),
    "query present": (("GET /query?debug HTTP/1.1", HOST), "query-present"),
    "query present, empty": (("GET /query?debug= HTTP/1.1", HOST), "query-present"),
    "cookie": (("GET /cookie HTTP/1.1", HOST, "Cookie: x=y; group=beta; z=1"), "cookie"),
    "cookie other": (("GET /cookie HTTP/1.1", HOST, "Cookie: xgroup=beta"), None),
    "size large": (("POST /size HTTP/1.1", HOST, "Content-Length: 5000"), "large"),
    "size small": (("POST /size HTTP/1.1", HOST, "Content-Length: 0"), "small"),
    "all": (("GET /all?b=2 HTTP/1.1", HOST, "A: 1"), "all"),
    "all but one": (("GET /all?b=2 HTTP/1.1", HOST), None),
    "exact": (("GET /exact HTTP/1.1", HOST), "exact"),
    "exact with query": (("GET /exact?a=b HTTP/1.1", HOST), "exact"),
    "exact, not below": (("GET /exact/ HTTP/1.1", HOST), None),
    "exact is case-sensitive": (("GET /Exact HTTP/1.1", HOST), None),
    "prefix itself": (("GET /pre HTTP/1.1", HOST), "prefix"),
    "prefix slash": (("GET /pre/ HTTP/1.1", HOST), "prefix"),
    "prefix below": (("GET /pre/a/b/c HTTP/1.1", HOST), "prefix"),
    "prefix is by segment": (("GET /prefix HTTP/1.1", HOST), None),
    "longer prefix": (("GET /pre/deeper/x HTTP/1.1", HOST), "deeper"),
    "exact before prefix": (("GET /pre/deeper/exact HTTP/1.1", HOST), "deeper-exact"),
    "template": (("GET /users/42 HTTP/1.1", HOST), "template"),
    "literal before template": (("GET /users/me HTTP/1.1", HOST), "literal"),
    "template needs a segment": (("GET /users/ HTTP/1.1", HOST), None),
    "template is one segment": (("GET /users/42/x HTTP/1.1", HOST), None),
    "template tail": (("GET /users/42/files/a/b HTTP/1.1", HOST), "template-tail"),
    "template suffix": (("POST /u1/lb/v1beta/models/g-1:generateContent HTTP/1.1", HOST), "generate"),
    "template other suffix": (("POST /u1/lb/v1beta/models/g-1:countTokens HTTP/1.1", HOST), None),
    "list of paths, first": (("GET /one HTTP/1.1", HOST), "either"),
    "list of paths, second": (("GET /two/x HTTP/1.1", HOST), "either"),
    "priority first": (("GET /low/exact HTTP/1.1", HOST), "low-wins"),
    "order in the file": (("GET /twice HTTP/1.1", HOST), "first"),
    "host exact": (("GET /host HTTP/1.1", "Host: api.example.com"), "exact-host"),
    "host any case": (("GET /host HTTP/1.1", "Host: API.Example.COM"), "exact-host"),
    "host with port": (("GET /host HTTP/1.1", "Host: api.example.com:8080"), "exact-host"),
    "host wildcard": (("GET /host HTTP/1.1", "Host: www.example.com"), "wildcard"),
    "host wildcard, two labels": (("GET /host HTTP/1.1", "Host: a.b.example.com"), "wildcard"),
    "host wildcard needs a label": (("GET /host HTTP/1.1", "Host: example.com"), "no-host"),
    "host wildcard is by label": (("GET /host HTTP/1.1", "Host: xexample.com"), "no-host"),
    "host longer wildcard": (("GET /host HTTP/1.1", "Host: x.eu.example.com"), "longer-wildcard"),
    "host list": (("GET /host HTTP/1.1", "Host: a.test"), "host-list"),
    "host list, wildcard": (("GET /host HTTP/1.1", "Host: x.b.test"), "host-list"),
    "host of the absolute form": (("GET http://api.example.com/host HTTP/1.1", "Host: a.test"), "exact-host"),
    "normal form decides": (("GET /x/../%65xact HTTP/1.1", HOST), "exact"),
    "nothing": (("GET /nothing HTTP/1.1", HOST), None),
}


@pytest.mark.parametrize("name", CASES)
def test_match(lbd: Lbd, name: str) -> None:
    lines, route = CASES[name]
    with lbd.connect() as client:
        response = client.ask(head(*lines))
    found = None if (response.status, response.reason) == (404, "no_route") else response.body.decode()
    assert found == route


@pytest.mark.parametrize(("address", "route"),
                         [("127.0.0.2", "source-2"), ("127.0.0.3", "source-3"), ("127.0.0.4", None)])
def test_source(lbd: Lbd, address: str, route: str | None) -> None:
    with lbd.connect(source=address) as client:
        response = client.ask(get("/source"))
    assert (response.body.decode() if response.status == 200 else None) == route


def test_respond(lbd: Lbd) -> None:
    with lbd.connect() as client:
        response = client.ask(get("/respond"))
        assert (response.status, response.body, response.one("x-why")) == (418, b"short", "tea")
        assert response.one("content-type") == "text/x" and response.one("content-length") == "5"
        assert client.ask(head("HEAD /respond HTTP/1.1", HOST)).body == b""
        assert client.ask(get("/empty")).status == 204
        assert client.ask(get("/echo/1")).json()["target"] == "/echo/1"


def test_respond_reads_past_the_body(lbd: Lbd) -> None:
    """Row 5: the body of a request that lbd answers itself is drained, or the connection closed."""
    hidden = get("/echo/hidden")
    with lbd.connect() as client:
        client.send(head("POST /respond HTTP/1.1", HOST,
                         f"Content-Length: {len(hidden)}") + hidden + get("/echo/after"))
        assert client.read_response().status == 418
        after = client.read_response()
        if after.status == 0:
            assert after.end
        else:
            assert after.json()["target"] == "/echo/after"


def test_no_route_as_json(lbd: Lbd) -> None:
    response = lbd.ask(get("/nothing", "Accept: application/json"))
    body = response.json()
    assert (response.status, body["status"], body["reason"]) == (404, 404, "no_route")
    assert len(body["request_id"]) >= 16
    assert (response.one("content-type") or "").startswith("application/json")


def test_connection_survives_no_route(lbd: Lbd) -> None:
    with lbd.connect() as client:
        assert client.ask(get("/nothing")).status == 404
        assert client.ask(get("/exact")).body == b"exact"
