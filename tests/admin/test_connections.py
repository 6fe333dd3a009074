"""GET /api/connections: who is connected, by which protocol, what is under way; in one process and in two."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from admin.asking import ask, look
from admin.test_drain import Holding
from edge.websocket_endpoint import Endpoint, websocket
from harness.lbd import Lbd
from harness.messages import get
from harness.waiting import TIMEOUT, eventually
from http2.wire import H2Client
from reload.changing import Changing
from tls.fixtures import echo, world
from tls.speaking import Served, TlsClient, TlsH2Client, World
from workers.several import Several

from lbd.admin.connections import Connections

__all__ = ["echo", "world"]

CONFIG = """
listeners:
  - {name: web, bind: "127.0.0.1:0", routes: [{name: all, cluster: app}]}
  - {name: db, bind: "127.0.0.1:0", protocol: tcp, cluster: app}
  - {name: local, bind: "unix:<socket>", cluster: app}
clusters: [{name: app, endpoints: [{address: <origin>, name: one}], connections: {idle: 0}}]
"""
# idle: 0, as an origin of the harness hears nobody out who comes back to a connection after 20 seconds
TLS = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app, tls: {certificates: [<site>]}}
clusters: [{name: app, endpoints: [{address: <origin>, name: one}]}]
"""
UPGRADES = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", routes: [{name: all, cluster: app}]}]
clusters: [{name: app, endpoints: [{address: <origin>, name: one}]}]
"""
MANY = 40  # connections; that the kernel gives all of them to one of two workers is as good as impossible


@pytest.fixture(scope="module")
def holding() -> Iterator[Holding]:
    with Holding("one") as origin:
        yield origin


@pytest.fixture
def origin(holding: Holding) -> Iterator[Holding]:
    holding.go.clear()
    yield holding
    holding.go.set()


@pytest.fixture(scope="module")
def served(holding: Holding, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Changing]:
    with Changing(CONFIG, origin=holding, socket=tmp_path_factory.mktemp("lbd") / "web.sock") as lbd:
        yield lbd


@pytest.fixture
def lbd(served: Changing) -> Changing:
    eventually(lambda: listed(served) == [], "connections of the test before have ended")
    return served


def answered(lbd: Lbd, query: str = "", silent: int = 0) -> Any:
    """The answer, when so many workers were silent; on a machine with much to do others may be slow."""
    answer = eventually(
        lambda: len((found := look(lbd, f"/api/connections{query}"))["silent_workers"]) == silent and found,
        f"{silent} silent workers",
        4 * TIMEOUT,
    )
    Connections.model_validate(answer)
    return answer


def listed(lbd: Lbd, query: str = "") -> list[Any]:
    return list(answered(lbd, query)["connections"])


def only(lbd: Lbd, query: str = "", **expected: Any) -> Any:
    """The one connection, once it is as expected."""

    def found() -> Any:
        rows = listed(lbd, query)
        return rows[0] if len(rows) == 1 and expected.items() <= rows[0].items() else None

    return eventually(found, f"one connection with {expected}")


def test_an_idle_connection_and_a_busy_one(lbd: Changing, origin: Holding) -> None:
    with lbd.connect() as client:
        client.ask(get("/"))
        port = client.sock.getsockname()[1]
        idle = only(lbd, "?listener=web", busy=False, exchanges=[])
        assert (idle["client"], idle["port"], idle["kind"], idle["tls"]) == ("127.0.0.1", port, "http1", None)
        assert idle["bytes_received"] == len(get("/")) and idle["bytes_sent"] > 0 and idle["streams"] is None
        client.send(get("/hold"))
        row = only(lbd, "?listener=web", busy=True)
        assert row["age"] >= idle["age"] and row["bytes_received"] == len(get("/") + get("/hold"))
        (exchange,) = row["exchanges"]
        said = [exchange[key] for key in ("method", "route", "cluster", "endpoint")]
        assert said == ["GET", "all", "app", "one"] and len(exchange["request_id"]) == 32
        assert 0 <= exchange["seconds"] <= row["age"] + 1
        origin.go.set()
        assert client.read_response().body == b"one"
    eventually(lambda: listed(lbd) == [], "it is gone")


def test_a_head_that_is_not_whole_is_no_exchange(lbd: Changing) -> None:
    with lbd.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a")
        assert only(lbd, bytes_received=23)["busy"] is False


def test_tunnels(lbd: Changing, origin: Holding) -> None:
    with lbd.connect("db") as client:
        client.ask(get("/"))
        row = only(lbd, "?kind=tcp", listener="db", busy=True)
        (exchange,) = row["exchanges"]
        assert (exchange["cluster"], exchange["endpoint"]) == ("app", "one")
        assert (exchange["method"], exchange["route"], exchange["request_id"]) == (None, None, None)


def test_a_unix_socket_has_neither_port_nor_bytes(lbd: Changing) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(lbd.places["socket"]))
        row = only(lbd, "?listener=local")
        assert (row["port"], row["bytes_received"], row["bytes_sent"]) == (None, None, None)


def test_streams_of_http2(lbd: Changing, origin: Holding) -> None:
    with H2Client(lbd.address()).start() as client:
        for stream in range(1, 21, 2):
            client.get(stream, "/hold")
        row = only(lbd, "?kind=http2", streams=10)
        assert row["busy"] and len(row["exchanges"]) == 8, "the rest is only counted"
        assert {exchange["endpoint"] for exchange in row["exchanges"]} <= {"one", None}
        origin.go.set()
        for stream in range(1, 21, 2):
            client.read_answer(stream)
        row = only(lbd, "?kind=http2", streams=0)
        assert (row["busy"], row["exchanges"]) == (False, [])


def test_filters(lbd: Changing) -> None:
    with ExitStack() as stack:
        for source in ("127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.1.3"):
            stack.enter_context(lbd.connect(source=source))
        stack.enter_context(lbd.connect("db"))
        eventually(lambda: len(listed(lbd)) == 5, "all are there")
        assert [row["client"] for row in listed(lbd, "?client=127.0.0.2")] == ["127.0.0.2"] * 2
        assert len(listed(lbd, "?client=127.0.0.0/24&listener=web")) == 3
        assert len(listed(lbd, "?client=::ffff:0:0/96")) == 5
        assert listed(lbd, "?client=2001:db8::/32") == [] == listed(lbd, "?kind=websocket")
        assert [row["listener"] for row in listed(lbd, "?kind=tcp")] == ["db"]


def test_the_limit(lbd: Changing) -> None:
    with ExitStack() as stack:
        ports = [stack.enter_context(lbd.connect()).sock.getsockname()[1] for _ in range(5)]
        eventually(lambda: len(listed(lbd)) == 5, "all are there")
        answer = look(lbd, "/api/connections?limit=2")
        assert [row["port"] for row in answer["connections"]] == ports[:2:-1], "the newest"
        assert (answer["complete"], answer["open"]) == (False, 5)
        answer = look(lbd, "/api/connections?limit=5")
        assert len(answer["connections"]) == 5 and answer["complete"]
        assert look(lbd, "/api/connections?limit=2&listener=db")["complete"]


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("limit=0", 422, "limit: "),
        ("limit=1001", 422, "limit: "),
        ("limit=x", 422, "limit: "),
        ("client=nobody", 422, "client: "),
        ("client=1.2.3.4/99", 422, "client: "),
        ("kind=smtp", 422, "kind: "),
        ("sort=age", 422, "sort: "),
        ("listener=nobody", 404, "there is no listener 'nobody'"),
    ],
)
def test_mistakes(lbd: Changing, query: str, status: int, said: str) -> None:
    response = ask(lbd, "GET", f"/api/connections?{query}")
    assert response.status == status and response.json()["error"].startswith(said), response


def test_a_listener_that_is_gone_while_its_last_connection_is_not(lbd: Changing, origin: Holding) -> None:
    with lbd.connect("db") as client:
        client.ask(get("/"))
        without = "\n".join(line for line in CONFIG.splitlines() if "name: db" not in line)
        lbd.reload("drain_timeout: 60s\n" + without)
        assert only(lbd, "?listener=db")["kind"] == "tcp"
        assert only(lbd)["listener"] == "db"
    eventually(lambda: ask(lbd, "GET", "/api/connections?listener=db").status == 404, "it is forgotten")
    del lbd.ports["db"]
    lbd.reload(CONFIG)


def test_tls(world: World, origin: Holding) -> None:
    with Served(TLS, site=world.pair("site"), origin=origin) as lbd, ExitStack() as stack:
        stack.enter_context(lbd.connect())  # says nothing
        assert only(lbd)["kind"] == "handshake" and only(lbd)["tls"] is None and only(lbd)["busy"]
        stack.enter_context(TlsClient(lbd.address(), world.client_context())).ask(get("/"))
        alpn = world.client_context(alpn=("h2",))
        stack.enter_context(TlsH2Client(lbd.address(), alpn)).fetch(1, "/")
        assert only(lbd, "?kind=http1")["tls"] == "TLSv1.3" == only(lbd, "?kind=http2")["tls"]


def test_websockets(world: World) -> None:
    endpoint = Endpoint()
    try:
        with Served(UPGRADES, origin=endpoint) as lbd, websocket(lbd, world) as client:
            client.send("hello")
            assert client.recv() == "hello"
            row = only(lbd, "?kind=websocket", busy=True)
            (exchange,) = row["exchanges"]
            assert (exchange["method"], exchange["route"], exchange["endpoint"]) == ("GET", "all", "one")
            assert row["port"] is not None and row["bytes_received"] > 100
    finally:
        endpoint.stop()


def test_all_workers_are_asked(origin: Holding, tmp_path: Path) -> None:
    with Several(CONFIG, origin=origin, socket=tmp_path / "web.sock") as lbd, ExitStack() as stack:
        ports = {stack.enter_context(lbd.connect()).sock.getsockname()[1] for _ in range(MANY)}
        rows = eventually(lambda: len(rows := listed(lbd)) == MANY and rows, "all are told of")
        assert {row["port"] for row in rows} == ports and {row["worker"] for row in rows} == {0, 1}
        ages = [row["age"] for row in rows]
        assert ages == sorted(ages)
        answer = answered(lbd, "?limit=7")
        assert (len(answer["connections"]), answer["complete"], answer["open"]) == (7, False, MANY)


def test_a_worker_that_does_not_answer_is_named(origin: Holding, tmp_path: Path) -> None:
    with Several(CONFIG, origin=origin, socket=tmp_path / "web.sock") as lbd, ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(lbd.connect()).ask(get("/"))
        stuck, _ = lbd.both()
        os.kill(stuck, signal.SIGSTOP)
        try:
            answer = answered(lbd, silent=1)
        finally:
            os.kill(stuck, signal.SIGCONT)
        (silent,) = answer["silent_workers"]
        assert not answer["complete"] and answer["open"] == MANY
        assert {row["worker"] for row in answer["connections"]} == {1 - silent}
        eventually(lambda: len(listed(lbd)) == MANY, "it answers again")


def command(lbd: Lbd, *arguments: str) -> subprocess.CompletedProcess[str]:
    host, port = lbd.address("admin")
    return subprocess.run(
        [sys.executable, "-m", "lbd", "connections", "--admin", f"{host}:{port}", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=60,
        check=False,
    )


def test_the_command(lbd: Changing, origin: Holding) -> None:
    with lbd.connect() as busy, lbd.connect(source="127.0.0.2") as idle:
        idle.ask(get("/"))
        busy.send(get("/hold"))
        only(lbd, "?client=127.0.0.1", busy=True)
        done = command(lbd)
        head, *rows = done.stdout.splitlines()
        assert head.split()[:4] == ["LISTENER", "CLIENT", "KIND", "TLS"] and done.stderr == ""
        by_client = {row.split()[1]: row for row in rows}
        host, port = busy.sock.getsockname()
        assert "GET all -> app/one for " in by_client[f"{host}:{port}"]
        host, port = idle.sock.getsockname()
        assert by_client[f"{host}:{port}"].endswith("  idle") and len(rows) == 2
        done = command(lbd, "--json", "--client", "127.0.0.2", "--listener", "web")
        assert [row["client"] for row in json.loads(done.stdout)["connections"]] == ["127.0.0.2"]
        done = command(lbd, "--limit", "1")
        assert len(done.stdout.splitlines()) == 2
        assert done.stderr == "there are more than these 1; 2 are open\n"
        origin.go.set()


def test_mistakes_at_the_command(lbd: Changing) -> None:
    done = command(lbd, "--client", "nobody")
    assert (done.returncode, done.stdout) == (1, "") and "client" in done.stderr
    assert command(lbd, "--kind", "smtp").returncode == 2
