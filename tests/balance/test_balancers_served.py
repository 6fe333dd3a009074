"""Balancers through a whole lbd: each kind of key, TCP, and endpoints that are slow, full or failing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from harness.http_origin import Answer, HttpOrigin
from harness.lbd import Lbd
from harness.messages import get, head, ok
from harness.origin import Origin, close, recv_head, send, wait_for
from harness.waiting import eventually

CONFIG = """
listeners:
  - name: web
    bind: "127.0.0.1:0"
    trusted_proxies: [127.0.0.0/8]
    routes: [{match: {path: "/tenants/:tenant/*"}, cluster: app}, {cluster: app}]
clusters:
  - name: app
    balancer: BALANCER
    endpoints: [{address: <a>, name: a}, {address: <b>, name: b},
                {address: <c>, name: c}, {address: <d>, name: d}]
"""
KEYED = ["hash", "ring_hash", "maglev"]


def named(name: str) -> HttpOrigin:
    return HttpOrigin(lambda _: Answer(body=name.encode()))


@contextmanager
def serving(balancer: str) -> Iterator[Lbd]:
    with ExitStack() as stack:
        origins = {name: stack.enter_context(named(name)) for name in "abcd"}
        yield stack.enter_context(Lbd(CONFIG.replace("BALANCER", balancer), **origins))


def host(name: str) -> bytes:
    return head("GET / HTTP/1.1", f"Host: {name}")


def forwarded(number: int) -> bytes:
    return get("/", f"X-Forwarded-For: 192.0.2.{number}")


KINDS = {  # key -> requests with the value n, and one that has no such key
    "source": (lambda n: forwarded(n), None),
    "host": (lambda n: host(f"h{n}.test"), None),
    "path": (lambda n: get(f"/p{n}?x={n}"), None),
    "{header: X-User}": (lambda n: get("/", f"x-uSER: u{n}"), get("/")),
    "{cookie: user}": (lambda n: get("/", f"Cookie: a=b; user=u{n}; c=d"), get("/", "Cookie: a=b")),
    "{query: user}": (lambda n: get(f"/p{n}?a=b&user=u{n}"), get("/?a=b")),
    "{capture: tenant}": (lambda n: get(f"/tenants/t{n}/x{n}"), get("/")),
}


@pytest.mark.parametrize("key", KINDS)
def test_each_kind_of_key(key: str) -> None:
    """The same value, the same endpoint, by any connection; many values, all endpoints; no value, no rule."""
    request, without = KINDS[key]
    with serving(f"{{name: maglev, key: {key}}}") as lbd:
        first = [lbd.ask(request(number)).body for number in range(40)]
        with lbd.connect() as client:
            assert [client.ask(request(number)).body for number in range(40)] == first
        assert set(first) == {b"a", b"b", b"c", b"d"}
        if without is not None:
            assert len({lbd.ask(without).body for _ in range(40)}) > 1


@pytest.mark.parametrize("balancer", [*KEYED, "ip_hash"])
def test_source_is_the_key_by_default(balancer: str) -> None:
    with serving(balancer) as lbd:
        first = [lbd.ask(forwarded(number)).body for number in range(40)]
        assert [lbd.ask(forwarded(number)).body for number in range(40)] == first
        assert set(first) == {b"a", b"b", b"c", b"d"}
        assert len({lbd.ask(get(f"/{number}", f"X-User: {number}")).body for number in range(20)}) == 1


def test_host_is_the_same_in_any_case_and_with_any_port() -> None:
    with serving("{name: hash, key: host}") as lbd:
        for number in range(10):
            spellings = [f"h{number}.test", f"H{number}.Test", f"h{number}.test:80", f"H{number}.TEST:8080"]
            assert len({lbd.ask(host(name)).body for name in spellings}) == 1


def test_capture_that_no_route_has() -> None:
    """Nothing is wrong with the requests: they are spread."""
    with serving("{name: hash, key: {capture: nothing}}") as lbd:
        responses = [lbd.ask(get("/tenants/t1/x")) for _ in range(40)]
        assert {response.status for response in responses} == {200}
        assert len({response.body for response in responses}) > 1


@pytest.mark.parametrize("balancer", KEYED)
def test_nodes_agree(balancer: str) -> None:
    """Two lbd with the same names of endpoints, in different order and at different addresses."""
    requests = [get("/", f"X-User: u{number}") for number in range(30)]
    found = []
    for order in ("abcd", "dbca"):
        listed = ", ".join(f"{{address: <{name}>, name: {name}}}" for name in order)
        config = CONFIG.split("    endpoints:")[0] + f"    endpoints: [{listed}]\n"
        config = config.replace("BALANCER", f"{{name: {balancer}, key: {{header: X-User}}}}")
        with ExitStack() as stack:
            origins = {name: stack.enter_context(named(name)) for name in "abcd"}
            lbd = stack.enter_context(Lbd(config, **origins))
            found.append([lbd.ask(request).body for request in requests])
    assert found[0] == found[1]


@pytest.mark.parametrize("balancer", [*KEYED, "ip_hash"])
def test_endpoint_that_refuses_is_left_for_another(balancer: str) -> None:
    """The alternative of a key is the same each time, too."""
    with ExitStack() as stack:
        origins = {name: stack.enter_context(named(name)) for name in "abcd"}
        lbd = stack.enter_context(Lbd(CONFIG.replace("BALANCER", balancer), **origins))
        first = [lbd.ask(forwarded(number)).body for number in range(20)]
    with ExitStack() as stack:
        origins = {name: stack.enter_context(named(name)) for name in "bcd"}
        gone = Origin([close])
        with gone:
            place = str(gone)
        lbd = stack.enter_context(Lbd(CONFIG.replace("BALANCER", balancer), a=place, **origins))
        second = [lbd.ask(forwarded(number)) for number in range(20)]
        third = [lbd.ask(forwarded(number)) for number in range(20)]
    assert {response.status for response in (*second, *third)} == {200}
    assert [response.body for response in second] == [response.body for response in third]
    assert all(new.body == old for old, new in zip(first, second, strict=True) if old != b"a")


TCP = """
listeners: [{name: db, bind: "127.0.0.1:0", protocol: tcp, cluster: db}]
clusters:
  - name: db
    balancer: BALANCER
    endpoints: [{address: <a>, name: a}, {address: <b>, name: b}, {address: <c>, name: c}]
"""


@pytest.mark.parametrize("balancer", ["ip_hash", "{name: ring_hash, key: source}"])
def test_tcp_by_source(balancer: str) -> None:
    with ExitStack() as stack:
        origins = {name: stack.enter_context(Origin([send(name.encode()), close])) for name in "abc"}
        lbd = stack.enter_context(Lbd(TCP.replace("BALANCER", balancer), **origins))

        def ask(number: int) -> bytes:
            with lbd.connect("db", source=f"127.0.0.{number}") as client:
                return client.read_until_close()

        first = [ask(number) for number in range(2, 32)]
        assert set(first) == {b"a", b"b", b"c"}
        assert [ask(number) for number in range(2, 32)] == first


THREE = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - name: app
    balancer: BALANCER
    endpoints: [{address: <a>, name: a}, {address: <b>, name: b}, {address: <c>, name: c}]
"""


@pytest.mark.parametrize(
    ("balancer", "most"),
    # by load alone a single one; where times count as well, what they say of the others on a busy machine
    [("least_conn", 1), ("p2c", 1), ("peak_ewma", 12), ("least_conn_rt", 12)],
)
def test_stalling_endpoint_gets_little(balancer: str, most: int) -> None:
    """60 requests, of which those to `a` are not answered: round_robin would give it 20."""
    release = threading.Event()
    held = [recv_head, wait_for(release), send(ok(b"a"))]
    with Origin(held) as a, named("b") as b, named("c") as c, ExitStack() as stack:
        lbd = stack.enter_context(Lbd(THREE.replace("BALANCER", balancer), a=a, b=b, c=c))
        for _ in range(60):
            client, before = stack.enter_context(lbd.connect()), len(a.connections)
            client.send(get())
            eventually(lambda client=client, before=before: len(a.connections) > before or client.has_input())
        assert 1 <= len(a.connections) <= most
        release.set()


@pytest.mark.parametrize("balancer", ["peak_ewma", "least_conn_rt"])
def test_failing_endpoint_gets_little(balancer: str) -> None:
    """It fails faster than the others answer, and is not taken for the fastest."""
    failing = HttpOrigin(lambda _: Answer(503, body=b"a"))
    with failing as a, named("b") as b, named("c") as c:
        with Lbd(THREE.replace("BALANCER", balancer), a=a, b=b, c=c) as lbd:
            got = Counter(lbd.ask(get()).status for _ in range(60))
        assert 1 <= got[503] <= 12


def test_first_available_fills_one_after_the_other() -> None:
    release = threading.Event()
    held = [recv_head, wait_for(release), send(ok(b"a"))]
    balancer = "{name: first_available, connections: 1}"
    with Origin(held) as a, named("b") as b, named("c") as c, ExitStack() as stack:
        lbd = stack.enter_context(Lbd(THREE.replace("BALANCER", balancer), a=a, b=b, c=c))
        client = stack.enter_context(lbd.connect())
        client.send(get())
        eventually(lambda: b"GET" in a.received, "the first is with a")
        assert [lbd.ask(get()).body for _ in range(10)] == [b"b"] * 10
        release.set()
        assert client.read_response().body == b"a"


def test_first_available_goes_by_the_pool_when_nothing_is_given() -> None:
    release = threading.Event()
    held = [recv_head, wait_for(release), send(ok(b"a"))]
    config = THREE.replace("BALANCER", "first_available") + "    connections: {max: 1}\n"
    with Origin(held) as a, named("b") as b, named("c") as c, ExitStack() as stack:
        lbd = stack.enter_context(Lbd(config, a=a, b=b, c=c))
        client = stack.enter_context(lbd.connect())
        client.send(get())
        eventually(lambda: b"GET" in a.received, "the first is with a")
        assert lbd.ask(get()).body == b"b"
        release.set()
        assert client.read_response().body == b"a"


def test_time_window_uses_each_before_one_is_used_again() -> None:
    with serving("{name: time_window, window: 10m}") as lbd:
        assert len({lbd.ask(get()).body for _ in range(4)}) == 4


def test_bounded_load_leaves_the_endpoint_that_everybody_wants() -> None:
    """One key, requests that are held, and nobody has more than 1.5 times its third of them."""
    release = threading.Event()
    origins = {name: Origin([recv_head, wait_for(release), send(ok())]) for name in "abc"}
    balancer = "{name: maglev, key: path, load_factor: 1.5}"
    with ExitStack() as stack:
        for origin in origins.values():
            stack.enter_context(origin)
        lbd = stack.enter_context(Lbd(THREE.replace("BALANCER", balancer), **origins))
        clients = [stack.enter_context(lbd.connect()) for _ in range(6)]
        for count, client in enumerate(clients, 1):
            client.send(get("/video"))
            eventually(lambda count=count: sum(len(o.connections) for o in origins.values()) == count)
        assert sorted(len(origin.connections) for origin in origins.values()) == [0, 3, 3]
        release.set()
        assert {client.read_response().status for client in clients} == {200}
