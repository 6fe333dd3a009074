"""What a line of the access log says: fields, timings, attempts, TCP connections, sampling, hostile bytes."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import orjson
import pytest
from harness.client import Client
from harness.http_origin import Answer, EchoOrigin, HttpOrigin
from harness.lbd import Lbd
from harness.messages import get, head, post
from harness.origin import Blackhole, Connection, Origin, Refusing, half_close
from harness.waiting import eventually
from hypothesis import given, settings
from hypothesis import strategies as st
from observe.reading import keys, line_with, lines_with
from tls.speaking import Served, TlsClient, World

from lbd.config.observing import LogField
from lbd.engine.logline import FIELDS, NOT_BY_DEFAULT

DOC = Path(__file__).parents[2] / "docs" / "observability.md"
CONFIG = """
state_directory: state
admin: {bind: "127.0.0.1:0"}
environment: "test\\"ing ü"
access_log: {to: stdout}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes:
      - {name: lost, match: {path: /lost}, cluster: lost}
      - {name: rest, cluster: app}
  - {name: secure, bind: "127.0.0.1:0", tls: {certificates: [<site>]}, cluster: app}
  - {name: chosen, bind: "127.0.0.1:0", cluster: app,
     access_log: {fields: [status, path, endpoint, grpc_status]}}
  - {name: empty, bind: "127.0.0.1:0", cluster: app, access_log: {fields: [grpc_status], to: empty.log}}
  - {name: few, bind: "127.0.0.1:0", access_log: {sample: 0%, slow: 200ms},
     routes: [{match: {path: /lost}, cluster: lost}, {match: {path: /slow}, cluster: slow}, {cluster: app}]}
  - {name: db, bind: "127.0.0.1:0", protocol: tcp, cluster: tcp}
  - {name: dbs, bind: "127.0.0.1:0", protocol: tcp, cluster: tcp, tls: {certificates: [<site>]}}
  - {name: dead, bind: "127.0.0.1:0", protocol: tcp, cluster: lost}
clusters:
  - {name: app, endpoints: [{address: <origin>, name: one}]}
  - {name: lost, endpoints: [{address: <bad>, name: bad}]}
  - {name: tcp, endpoints: [{address: <tcp>, name: db-1}]}
  - {name: slow, endpoints: [<blackhole>], timeouts: {connect: 300ms}, retry: {limit: 0}}
"""


def echo_bytes(connection: Connection) -> None:
    while data := connection.recv():
        connection.send(data)
    half_close(connection)


@pytest.fixture(scope="module")
def lbd(world: World, echo: EchoOrigin) -> Iterator[Served]:
    with Refusing() as bad, Origin([echo_bytes]) as tcp, Blackhole() as blackhole:
        places = {"site": world.pair("site"), "origin": echo, "bad": bad, "tcp": tcp, "blackhole": blackhole}
        with Served(CONFIG, **places) as lbd:
            yield lbd


def test_names_of_fields_are_the_same_everywhere() -> None:
    """In the schema, in the engine and in the document."""
    table = re.findall(r"^\| `(\w+)` \|", DOC.read_text().split("## Flight recorder")[0], re.M)
    assert get_args(LogField) == FIELDS
    assert set(FIELDS) <= set(table)


def test_usual_fields(lbd: Served) -> None:
    lbd.ask(post("/usual?a=b", b"hello", "User-Agent: agent/1", "Referer: http://r/"))
    line = line_with(lbd, "/usual?a=b")
    for name, value in {
        "environment": 'test"ing ü', "client": "127.0.0.1", "method": "POST", "host": "example.test",
        "target": "/usual?a=b", "protocol": "HTTP/1.1", "status": 200, "bytes_received": 5, "listener": "web",
        "route": "rest", "cluster": "app", "endpoint": "one", "referer": "http://r/", "user_agent": "agent/1",
    }.items():
        assert line[name] == value, name
    assert re.fullmatch(r"[0-9a-f]{32}", line["request_id"]) and line["bytes_sent"] > 5
    assert not {"tls", "reason", "attempts", "queue", "grpc_status", "path"} & set(line)
    assert list(line) == [name for name in FIELDS if name in line]
    assert {"path"} == NOT_BY_DEFAULT


def test_timings_are_in_their_order(lbd: Served) -> None:
    with lbd.connect() as client:
        client.ask(get("/timed-1"))
        client.ask(get("/timed-2"))
    first, second = lines_with(lbd, "/timed-", 2)
    for line in (first, second):
        assert 0 < line["first_byte"] <= line["duration"] < 60
    assert "connect" not in second, "the second request used the connection of the first"


def test_connecting_is_timed() -> None:
    with EchoOrigin() as origin, Served(CONFIG_OF_ONE, origin=origin) as lbd:
        lbd.ask(get("/first"))
        line = line_with(lbd, "/first")
        assert 0 < line["connect"] <= line["first_byte"]


CONFIG_OF_ONE = """
state_directory: state
admin: {bind: "127.0.0.1:0"}
access_log: {to: stdout}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: [<origin>], connections: {max: 1}, timeouts: {queue: 4s}}]
"""


def test_waiting_in_the_queue_is_timed() -> None:
    with HttpOrigin(lambda seen: Answer(body=b"x" * 10)) as origin, Lbd(CONFIG_OF_ONE, origin=origin) as lbd:
        with lbd.connect() as first, lbd.connect() as second:
            first.send(post("/holds", b"ab")[:-1])  # the connection is taken until the body is whole
            eventually(lambda: origin.requests, "the first request has the connection")
            second.send(get("/waits"))
            eventually(lambda: lbd.metric("lbd_queue_depth") == 1, "the second request waits")
            first.send(b"b")
            assert first.read_response().status == 200 and second.read_response().status == 200
        line = line_with(lbd, "/waits")
        assert 0 < line["queue"] <= line["first_byte"] and "connect" not in line


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_version_of_tls(lbd: Served, world: World, version: str) -> None:
    wanted = ssl.TLSVersion.TLSv1_2 if version == "TLSv1.2" else ssl.TLSVersion.TLSv1_3
    with TlsClient(lbd.address("secure"), world.client_context(version=wanted)) as client:
        assert client.ask(get(f"/{version}")).status == 200
    assert line_with(lbd, f"/{version}")["tls"] == version


def test_chosen_fields_in_their_order(lbd: Served) -> None:
    lbd.ask(get("/chosen-fields?secret=1"), "chosen")
    assert list(line_with(lbd, "/chosen-fields").items()) == [
        ("status", 200), ("path", "/chosen-fields"), ("endpoint", "one")]


def test_line_without_any_field_is_an_object(lbd: Served) -> None:
    lbd.ask(get("/nothing"), "empty")
    file = lbd.directory / "empty.log"
    assert eventually(lambda: file.exists() and file.read_text()) == "{}\n"


def test_only_attempt_that_failed(lbd: Served) -> None:
    assert lbd.ask(get("/lost?mark=only")).status == 502
    line = line_with(lbd, "mark=only")
    assert (line["reason"], line["status"]) == ("connect_failed", 502)
    (attempt,) = line["attempts"]
    assert (attempt["endpoint"], attempt["reason"]) == ("bad", "connect_failed") and attempt["duration"] > 0
    assert "first_byte" not in line


def test_attempts_are_all_there() -> None:
    both = "[{address: <bad>, name: bad}, {address: <origin>, name: good}]"
    config = CONFIG_OF_ONE.replace("[<origin>]", both)
    with Refusing() as bad, EchoOrigin() as origin, Lbd(config, bad=bad, origin=origin) as lbd:
        with lbd.connect() as client:
            for number in range(2):  # one of them meets the bad one first
                assert client.ask(get(f"/try-{number}")).status == 200
        lines = [line for line in lines_with(lbd, "/try-", 2) if "attempts" in line][:1]
        assert [[(one["endpoint"], one.get("reason"), one.get("status")) for one in line["attempts"]]
                for line in lines] == [[("bad", "connect_failed", None), ("good", None, 200)]]
        assert sum(one["duration"] for one in lines[0]["attempts"]) <= lines[0]["duration"]


def test_tcp_connection_has_a_line(lbd: Served) -> None:
    with Client(lbd.address("db")) as client:
        client.send(b"twelve bytes")
        assert client.read_exactly(12) == b"twelve bytes"
        client.half_close()
        assert client.read_until_close() == b""
    (line,) = lines_with(lbd, '"listener":"db"')
    assert (line["protocol"], line["bytes_received"], line["bytes_sent"]) == ("tcp", 12, 12)
    assert (line["client"], line["cluster"], line["endpoint"]) == ("127.0.0.1", "tcp", "db-1")
    assert 0 < line["connect"] <= line["duration"]
    assert not {"method", "target", "status", "route", "reason", "request_id", "attempts"} & set(line)


def test_tcp_connection_over_tls(lbd: Served, world: World) -> None:
    with TlsClient(lbd.address("dbs"), world.client_context()) as client:
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
    (line,) = lines_with(lbd, '"listener":"dbs"')
    assert line["tls"] == "TLSv1.3"


def test_tcp_connection_that_reaches_nobody(lbd: Served) -> None:
    with contextlib.suppress(ConnectionResetError), Client(lbd.address("dead")) as client:
        client.read_until_close()
    (line,) = lines_with(lbd, '"listener":"dead"')
    assert line["reason"] == "connect_failed"
    assert [(one["endpoint"], one["reason"]) for one in line["attempts"]] == [("bad", "connect_failed")]


def test_tcp_in_the_combined_format() -> None:
    config = """
access_log: {to: combined.log, format: combined}
listeners: [{name: db, bind: "127.0.0.1:0", protocol: tcp, cluster: tcp}]
clusters: [{name: tcp, endpoints: [<tcp>]}]
"""
    with Origin([echo_bytes]) as tcp, Lbd(config, tcp=tcp) as lbd:
        with Client(lbd.address("db")) as client:
            client.send(b"abc")
            assert client.read_exactly(3) == b"abc"
        file = lbd.directory / "combined.log"
        line = eventually(lambda: file.read_text())
        assert re.fullmatch(r'127\.0\.0\.1 - - \[[^]]+\] "-" - 3 "-" "-"\n', line)


def test_sample_keeps_what_failed_and_what_was_slow(lbd: Served) -> None:
    with lbd.connect("few") as client:
        for number in range(50):
            assert client.ask(get(f"/sampled-{number}")).status == 200
    assert lbd.ask(get("/lost?few"), "few").status == 502
    assert lbd.ask(get("/slow"), "few").reason == "connect_timeout"
    assert line_with(lbd, "/lost?few")["reason"] == "connect_failed"
    assert line_with(lbd, '"/slow"')["duration"] >= 0.2
    assert not [line for line in lbd.output if "/sampled-" in line]


def test_sample_is_about_its_share() -> None:
    """400 requests at 50%: fewer than 120 or more than 280 come once in 10^15 runs."""
    config = CONFIG_OF_ONE.replace("{to: stdout}", "{to: stdout, sample: 50%, slow: 1h}")
    with EchoOrigin() as origin, Lbd(config, origin=origin) as lbd, lbd.connect() as client:
        for _ in range(400):
            client.ask(get("/share"))
        lbd.process.terminate()
        lbd.wait()
        assert 120 <= sum("/share" in line for line in lbd.output) <= 280


def test_slow_answers_are_kept() -> None:
    """Slow by the clock and well served: the endpoint answers once the time has passed."""
    def answer(_: object) -> Answer:
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            pass
        return Answer(body=b"late")

    config = CONFIG_OF_ONE.replace("{to: stdout}", "{to: stdout, sample: 0%, slow: 20ms}")
    with HttpOrigin(answer) as origin, Lbd(config, origin=origin) as lbd:
        assert lbd.ask(get("/late")).status == 200
        assert line_with(lbd, "/late")["status"] == 200


BYTES = st.binary(min_size=1, max_size=60).map(
    lambda data: bytes(byte if byte >= 32 and byte != 127 else 9 for byte in data).strip(b"\t "))


@settings(max_examples=20)
@given(value=BYTES)
def test_any_bytes_make_one_valid_line(lbd: Served, value: bytes) -> None:
    """JSON by two parsers, in UTF-8, without control bytes; UTF-8 is read as it was meant."""
    before = len(lbd.output)
    agent = f"User-Agent: {value.decode('latin-1')}"
    assert lbd.ask(head("GET /hostile HTTP/1.1", "Host: a.test", agent)).status == 200
    raw = eventually(lambda: [line for line in lbd.output[before:] if "/hostile" in line])
    assert len(raw) == 1
    line = orjson.loads(raw[0])
    assert line == json.loads(raw[0])
    assert not [char for char in raw[0] if unicodedata.category(char) == "Cc"]
    try:
        assert line["user_agent"] == value.decode()
    except UnicodeDecodeError:
        assert len(line["user_agent"]) >= len(value.decode(errors="ignore"))


def test_refused_requests_say_what_is_known(lbd: Served) -> None:
    before = len(lbd.output)
    lbd.ask(head("GET / HTTP/1.1", "Host: a", "Content-Length: nonsense"))
    (line,) = eventually(lambda: [line for line in lbd.output[before:] if "bad_request" in line])
    assert keys([json.loads(line)]) >= {"time", "client", "status", "reason", "listener", "route"}
