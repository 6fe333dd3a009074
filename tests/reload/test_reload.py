"""Reloading: what changes takes effect, what stays is not touched, what is wrong changes nothing."""

from __future__ import annotations

import signal
import socket

import pytest
from admin.asking import change, endpoint
from harness.http_origin import Answer, HttpOrigin, Seen
from harness.messages import get, head
from harness.origin import Origin, Refusing, recv_head, send
from harness.waiting import eventually
from health.watching import Named, await_line, sample
from reload.changing import Changing, body

PLAIN = """
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app}
clusters:
  - {name: app, endpoints: [{address: <one>, name: one}]}
"""

MORE = PLAIN.replace("clusters:", '  - {name: more, bind: "127.0.0.1:0", cluster: app}\nclusters:')
FIXED = 'listeners: [{name: web, bind: "127.0.0.1:0", routes: [{respond: {body: "<text>"}}]}]'


def test_routes_change_under_an_open_connection() -> None:
    with Changing(FIXED, text="one") as lbd, lbd.connect() as client:
        assert body(client) == b"one"
        report = lbd.reload(FIXED, text="two")
        assert body(client) == b"two", "on the same connection"
        assert report["changed"]["listeners"] == ["web"]
        assert report["kept_connections"] == 1
        with lbd.connect() as other:
            assert body(other) == b"two"


def test_nothing_changes() -> None:
    with Named("one") as one, Changing(PLAIN, one=one) as lbd, lbd.connect() as client:
        assert body(client) == b"one"
        report = lbd.reload(PLAIN)
        assert report["kept"] == {"listeners": 1, "clusters": 1}
        assert not any(names for verb in ("changed", "added", "removed") for names in report[verb].values())
        assert body(client) == b"one"
        assert len(one.connections) == 1, "the pooled connection as well"
        assert sample(lbd, "lbd_config_reloads_total", result="ok") == 1


def test_signal() -> None:
    with Changing(FIXED, text="one") as lbd:
        lbd.hang_up(FIXED.replace("<text>", "two"))
        with lbd.connect() as client:
            assert body(client) == b"two"


def test_what_is_wrong_is_said_and_changes_nothing() -> None:
    with Named("one") as one, Changing(PLAIN, one=one) as lbd:
        why = lbd.refused(PLAIN.replace("cluster: app", "cluster: ap"))
        assert "lbd.yaml:" in why and "'ap'" in why and "did you mean 'app'" in why
        await_line(lbd, "ERROR reload refused: ")
        assert sample(lbd, "lbd_config_reloads_total", result="failed") == 1
        assert b"lbd_config_last_reload_success 0.0" in lbd.admin("/metrics").body
        with lbd.connect() as client:
            assert body(client) == b"one"
        lbd.reload(PLAIN)
        assert b"lbd_config_last_reload_success 1.0" in lbd.admin("/metrics").body


def test_file_is_gone() -> None:
    with Named("one") as one, Changing(PLAIN, one=one) as lbd:
        (lbd.directory / "lbd.yaml").unlink()
        lbd.signal(signal.SIGHUP)
        assert "no such file" in await_line(lbd, "reload refused")
        with lbd.connect() as client:
            assert body(client) == b"one"


def test_address_in_use_refuses_the_reload() -> None:
    with (
        Named("one") as one, Changing(PLAIN, one=one) as lbd,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        port = taken.getsockname()[1]
        more = MORE.replace("127.0.0.1:0", f"127.0.0.1:{port}").replace(f"127.0.0.1:{port}", "127.0.0.1:0", 1)
        assert f"cannot listen on 127.0.0.1:{port}" in lbd.refused(more)
        with lbd.connect() as client:
            assert body(client) == b"one"


@pytest.mark.parametrize("setting", ["workers: 2", "resolver: {timeout: 1s}"])
def test_settings_of_the_process_cannot_change(setting: str) -> None:
    with Named("one") as one, Changing(PLAIN, one=one) as lbd:
        assert "cannot change while lbd runs" in lbd.refused(f"{setting}\n{PLAIN}")


def test_listeners_come_and_go() -> None:
    with Named("one") as one, Changing(PLAIN, one=one) as lbd:
        assert lbd.reload(MORE)["added"]["listeners"] == ["more"]
        await_line(lbd, "listener more: listening on")
        with lbd.connect("more") as idle, lbd.connect("more") as client:
            assert body(client) == b"one"
            assert lbd.reload(PLAIN)["removed"]["listeners"] == ["more"]
            assert not idle.read_until_close() and not client.read_until_close(), "idle connections end"
        await_line(lbd, "listener more: its last connection has ended")
        with pytest.raises(ConnectionRefusedError):
            lbd.connect("more")
        with lbd.connect() as client:
            assert body(client) == b"one"


def test_exchange_on_a_listener_that_goes_is_finished() -> None:
    with HttpOrigin(waits) as one, Changing(MORE, one=one) as lbd, lbd.connect("more") as client:
        client.send(get("/"))
        eventually(lambda: one.requests, "it is under way")
        lbd.reload(PLAIN)
        GO.append(1)
        response = client.read_response()
        assert response.status == 200
        assert not client.read_until_close()


GO: list[int] = []


def waits(seen: Seen) -> Answer:
    eventually(lambda: GO, "it may go on")
    return Answer()


def test_exchange_under_way_goes_on_when_its_cluster_changes() -> None:
    GO.clear()
    with (
        HttpOrigin(waits) as one, Named("two") as two,
        Changing(PLAIN, one=one, two=two) as lbd, lbd.connect() as client,
    ):
        client.send(get("/"))
        eventually(lambda: one.requests, "it is under way")
        report = lbd.reload(PLAIN.replace("{address: <one>, name: one}", "{address: <two>, name: two}"))
        assert report["changed"]["clusters"] == ["app"]
        with lbd.connect() as other:
            assert body(other) == b"two"
        GO.append(1)
        assert client.read_response().status == 200
        assert body(client) == b"two"


def test_tunnels_go_on() -> None:
    """While their listener, their cluster, and everything else changes."""
    config = """
listeners: [{name: db, bind: "127.0.0.1:0", protocol: tcp, cluster: db}]
clusters: [{name: db, endpoints: [<one>]}]
"""
    with (
        Origin([send(b"hello"), recv_head]) as one, Named("two") as two,
        Changing(config, one=one, two=two) as lbd, lbd.connect("db") as client,
    ):
        assert client.read_exactly(5) == b"hello"
        other = config.replace("cluster: db}", "cluster: db, timeouts: {tunnel: 2h}}")
        lbd.reload(other.replace("<one>", "<two>"))
        client.send(b"more\r\n\r\n")
        eventually(lambda: one.received.startswith(b"more"), "it arrives")


def test_endpoints_keep_what_is_known_of_them() -> None:
    checked = PLAIN.replace("name: one}]", "name: one}, {address: <two>, name: two}], <check>")
    check = "health_check: {path: /health, interval: 20ms, healthy: 1, unhealthy: 1}"
    with (
        Named("one") as one, Named("two") as two,
        Changing(checked, one=one, two=two, check=check) as lbd, lbd.connect() as client,
    ):
        two.health = 500
        await_line(lbd, "endpoint app/two: down")
        change(lbd, "app", "one", weight=7)
        lbd.reload(checked, check=f"{check}, balancer: p2c, timeouts: {{response: 3s}}")
        assert endpoint(lbd, "app", "two")["health"] == "down"
        assert endpoint(lbd, "app", "one")["weight"]["wanted"] == 7
        assert {body(client) for _ in range(6)} == {b"one"}
        two.health = 200
        await_line(lbd, "endpoint app/two: up")


def test_checks_come_and_go() -> None:
    check = ", health_check: {path: /health, interval: 20ms, healthy: 1, unhealthy: 1}"
    checked = PLAIN.replace("name: one}]", f"name: one}}]{check}")
    with Named("one") as one, Changing(PLAIN, one=one) as lbd:
        one.health = 500
        lbd.reload(checked)
        await_line(lbd, "endpoint app/one: down")
        lbd.reload(PLAIN)
        with lbd.connect() as client:
            assert body(client) == b"one", "what a check said counts no more without it"


def test_guards_that_go_hold_nothing_back() -> None:
    config = PLAIN.replace("name: one}]", "name: one}], breaker: {consecutive: 1, open: 1h}")
    with Named("one", status=503) as one, Changing(config, one=one) as lbd, lbd.connect() as client:
        assert client.ask(get("/")).status == 503
        one.status = 200
        assert client.ask(get("/")).reason == "breaker_open"
        lbd.reload(config.replace("1h", "2h"))
        assert client.ask(get("/")).reason == "breaker_open", "a breaker that stays remembers"
        lbd.reload(PLAIN)
        assert body(client) == b"one"


def test_pooled_connections_end_when_they_are_made_otherwise() -> None:
    with Named("one") as one, Changing(PLAIN, one=one) as lbd, lbd.connect() as client:
        body(client)
        lbd.reload(PLAIN.replace("name: one}]", "name: one}], timeouts: {response: 9s}"))
        body(client)
        assert len(one.connections) == 1
        lbd.reload(PLAIN.replace("name: one}]", "name: one}], socket: {keepalive: 30s}"))
        body(client)
        assert len(one.connections) == 2


def test_counters_go_on() -> None:
    with Named("one") as one, Changing(PLAIN, one=one) as lbd, lbd.connect() as client:
        body(client)
        lbd.reload(PLAIN.replace("cluster: app}", "cluster: app, timeouts: {idle: 20s}}", 1))
        body(client)
        assert sample(lbd, "lbd_requests_total", route="web[0]", code="200") == 2


def test_access_log_moves() -> None:
    logged = f"access_log: {{to: <file>}}\n{PLAIN}"
    with Named("one") as one, Changing(PLAIN, one=one) as lbd, lbd.connect() as client:
        first, second = lbd.directory / "a.log", lbd.directory / "b.log"
        lbd.reload(logged, file=first)
        body(client)
        eventually(lambda: first.exists() and first.read_text(), "a line")
        lbd.reload(logged, file=second)
        body(client)
        eventually(lambda: second.exists() and second.read_text(), "a line")
        assert first.read_text().count("\n") == 1


def test_admin_listener_moves() -> None:
    """Its requests are answered before and after, the one that asked included."""
    with Changing(FIXED, text="one") as lbd:
        path = lbd.directory / "admin.sock"
        text = (lbd.directory / "lbd.yaml").read_text().replace("127.0.0.1:0", f"unix:{path}", 1)
        (lbd.directory / "lbd.yaml").write_text(text)
        assert lbd.reload()["seconds"] > 0
        await_line(lbd, f"admin: listening on unix:{path}")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(head("GET /ready HTTP/1.1", "Host: localhost", "Connection: close"))
            assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_removed_cluster_comes_back_as_another() -> None:
    two = PLAIN + "  - {name: spare, endpoints: [{address: <two>, name: two}]}\n"
    routed = two.replace("cluster: app}", 'routes: [{match: {path: /two}, cluster: spare}, {cluster: app}]}')
    with (
        Named("one") as one, Named("two") as other,
        Changing(PLAIN, one=one, two=other) as lbd, lbd.connect() as client,
    ):
        assert lbd.reload(routed)["added"]["clusters"] == ["spare"]
        assert body(client, "/two") == b"two"
        assert lbd.reload(PLAIN)["removed"]["clusters"] == ["spare"]
        assert body(client, "/two") == b"one"
        lbd.reload(routed)
        assert body(client, "/two") == b"two"


def test_refusing_endpoint_replaced_by_reload() -> None:
    with Refusing() as gone, Named("one") as one, Changing(PLAIN, one=gone) as lbd, lbd.connect() as client:
        assert client.ask(get("/")).status == 502
        lbd.reload(PLAIN, one=one)
        assert body(client) == b"one", "the endpoint of that name has another address"


def test_many_in_a_row() -> None:
    with Changing(FIXED, text="0") as lbd, lbd.connect() as client:
        for turn in range(1, 6):
            lbd.reload(FIXED, text=str(turn))
            assert body(client) == str(turn).encode()
        assert sample(lbd, "lbd_config_reloads_total", result="ok") == 5
