"""The flight recorder: what it keeps and for how long, what it never keeps, and how it is read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from harness.client import Client
from harness.http_origin import Answer, HttpOrigin, Seen
from harness.lbd import ROOT, Lbd
from harness.messages import get, head
from harness.origin import Connection, Origin, Refusing, half_close
from harness.waiting import TIMEOUT, eventually
from observe.reading import line_with

from lbd.config.loader import load_text
from lbd.control.observing import Observing
from lbd.engine.recorder import KINDS, Recorder, Wanted
from lbd.observe.log import Log

CONFIG = """
state_directory: state
admin: {bind: "127.0.0.1:0"}
access_log: {to: stdout}
recorder: {size: 8, errors: 4, slow: 2, slow_after: 50ms<query>}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes:
      - {name: lost, match: {path: /lost}, cluster: lost}
      - {name: rest, cluster: app}
  - {name: db, bind: "127.0.0.1:0", protocol: tcp, cluster: tcp}
clusters:
  - {name: app, endpoints: [{address: <origin>, name: one}]}
  - {name: lost, endpoints: [{address: <bad>, name: bad-1}, {address: <worse>, name: bad-2}]}
  - {name: tcp, endpoints: [{address: <tcp>, name: db-1}]}
"""
Record = dict[str, Any]


def echo_bytes(connection: Connection) -> None:
    while data := connection.recv():
        connection.send(data)
    half_close(connection)


class Site:
    """lbd with a small recorder, and an endpoint that answers /slow only when it is told to."""

    def __init__(self, query: str = "") -> None:
        self.go = threading.Event()
        self.config = CONFIG.replace("<query>", query)

    def answer(self, seen: Seen) -> Answer:
        if seen.target.startswith("/slow"):
            self.go.wait(TIMEOUT)
        return Answer(503 if seen.target.startswith("/503") else 200, body=b"body")

    def __enter__(self) -> Site:
        self.parts = [HttpOrigin(self.answer), Refusing(), Refusing(), Origin([echo_bytes])]
        origin, bad, worse, tcp = [part.__enter__() for part in self.parts]
        self.lbd = Lbd(self.config, origin=origin, bad=bad, worse=worse, tcp=tcp).__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.go.set()
        try:
            self.lbd.__exit__(*error)
        finally:
            for part in self.parts:
                part.__exit__(*error)

    def read(self, path: str = "/api/recorder") -> Any:
        response = self.lbd.admin(path)
        return response.json() if response.status == 200 else (response.status, response.json()["error"])

    def records(self, query: str = "") -> list[Record]:
        found: list[Record] = self.read(f"/api/recorder?{query}")["records"]
        return found

    def command(self, *options: str) -> subprocess.CompletedProcess[str]:
        address = "{}:{}".format(*self.lbd.address("admin"))
        return subprocess.run(
            [sys.executable, "-m", "lbd", "recorder", "--admin", address, *options],
            capture_output=True, text=True, timeout=60, cwd=ROOT,
        )


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


def test_record_of_a_plain_exchange(site: Site) -> None:
    site.lbd.ask(get("/plain/path?token=secret", "Authorization: Bearer secret", "Cookie: id=secret"))
    line = line_with(site.lbd, "/plain/path")
    (record,) = site.records()
    for name, value in {
        "client": "127.0.0.1", "method": "GET", "host": "example.test", "path": "/plain/path", "status": 200,
        "protocol": "HTTP/1.1", "listener": "web", "route": "rest", "cluster": "app", "endpoint": "one",
        "bytes_received": 0, "bytes_sent": 4, "request_id": line["request_id"],
    }.items():
        assert record[name] == value, name
    assert 0 < record["connect"] <= record["first_byte"] <= record["duration"]
    assert record["duration"] == line["duration"]
    assert "secret" not in json.dumps(record) and not {"reason", "attempts", "tls"} & set(record)
    assert record == site.read(f"/api/recorder/{line['request_id']}")


def test_query_is_there_when_it_is_wanted() -> None:
    with Site(", query: true") as site:
        site.lbd.ask(get("/with?query=1"))
        assert [record["path"] for record in site.records()] == ["/with?query=1"]


def test_failures_outlive_the_rest(site: Site) -> None:
    """Eight exchanges are kept, and beside them the last four that failed."""
    site.lbd.ask(get("/503/early"))
    for number in range(12):
        site.lbd.ask(get(f"/well-{number}"))
    assert [record["path"] for record in site.records()] == [f"/well-{n}" for n in range(11, 3, -1)]
    assert [record["path"] for record in site.records("kind=errors")] == ["/503/early"]
    lines = [line_with(site.lbd, mark) for mark in ("/503/early", '/well-0"', '/well-11"')]
    assert site.read(f"/api/recorder/{lines[0]['request_id']}")["status"] == 503
    assert site.read(f"/api/recorder/{lines[1]['request_id']}")[0] == 404, "it has been overwritten"
    assert site.read(f"/api/recorder/{lines[2]['request_id']}")["path"] == "/well-11"
    for number in range(5):
        site.lbd.ask(get(f"/503/{number}"))
    assert [record["path"] for record in site.records("kind=errors")] == [f"/503/{n}" for n in (4, 3, 2, 1)]


def test_slow_ones_outlive_the_rest(site: Site) -> None:
    with site.lbd.connect() as client:
        client.send(get("/slow/1"))
        for number in range(10):
            site.lbd.ask(get(f"/fast-{number}"))
        eventually(lambda: site.lbd.metric("lbd_upstream_active", endpoint="one") == 1)
        end = time.monotonic() + 0.1
        eventually(lambda: time.monotonic() > end, "more than 50 ms have passed")
        site.go.set()
        assert client.read_response().status == 200
    for number in range(10):
        site.lbd.ask(get(f"/fast-{number}"))
    assert [record["path"] for record in site.records("kind=slow")] == ["/slow/1"]
    assert "/slow/1" not in [record["path"] for record in site.records()]


def test_attempts(site: Site) -> None:
    assert site.lbd.ask(get("/lost")).status == 502
    (record,) = site.records("kind=errors")
    assert record["reason"] == "connect_failed" and record["attempts_made"] == 2
    assert {(one["endpoint"], one["reason"]) for one in record["attempts"]} == {
        ("bad-1", "connect_failed"), ("bad-2", "connect_failed")}


def test_tcp_connection(site: Site) -> None:
    with Client(site.lbd.address("db")) as client:
        client.send(b"abc")
        assert client.read_exactly(3) == b"abc"
    (record,) = eventually(site.records)
    assert (record["protocol"], record["bytes_received"], record["endpoint"]) == ("tcp", 3, "db-1")
    assert not {"status", "method", "path", "request_id", "route"} & set(record)


@pytest.mark.parametrize(("query", "paths"), [
    ("status=503", ["/503/c"]), ("status=2xx", ["/b", "/a"]), ("path=/b", ["/b"]), ("route=lost", ["/lost"]),
    ("cluster=app&status=200", ["/b", "/a"]), ("endpoint=one&limit=1", ["/503/c"]), ("listener=db", []),
    ("reason=connect_failed", ["/lost"]), ("client=127.0.0.1&limit=2", ["/lost", "/503/c"]),
    ("client=::1", []), ("host=example.test&method=GET&path=/a", ["/a"]), ("method=POST", []),
    ("least=100", []), ("since=99999999999", [])])
def test_filters(site_of_four: Site, query: str, paths: list[str]) -> None:
    assert [record["path"] for record in site_of_four.records(query)] == paths


@pytest.fixture(scope="module")
def site_of_four() -> Iterator[Site]:
    with Site() as site:
        for path in ("/a", "/b", "/503/c", "/lost"):
            site.lbd.ask(get(path))
        yield site


@pytest.mark.parametrize("query", [
    "status=9xx", "status=abc", "reason=none_such", "client=nobody", "limit=0", "limit=100000", "kind=best",
    "least=-1", "since=nan"])
def test_filters_that_are_refused(site_of_four: Site, query: str) -> None:
    status, why = site_of_four.read(f"/api/recorder?{query}")
    assert status == 422 and why


def test_since_goes_on_where_the_last_reading_ended(site_of_four: Site) -> None:
    newest = site_of_four.records("limit=1")[0]
    assert site_of_four.records(f"since={newest['ended']!r}")[-1] == newest


def test_until_reads_on_towards_the_past(site_of_four: Site) -> None:
    everything = site_of_four.records()
    read = site_of_four.records("limit=2")
    while len(page := site_of_four.records(f"limit=2&until={read[-1]['ended']!r}")) > 1:
        assert page[0] == read[-1], "what ended at that very moment stands on both pages"
        read += page[1:]
    assert read == everything and len(everything) == 4


def test_unknown_id(site_of_four: Site) -> None:
    for unknown in ("0" * 32, "short", "%ff" * 32, "x" * 5000):
        assert site_of_four.read(f"/api/recorder/{unknown}")[0] == 404


def test_long_and_hostile_texts_are_cut(site: Site) -> None:
    site.lbd.ask(head(f"GET /{'p' * 3000} HTTP/1.1", f"Host: {'h' * 200}.test"))
    site.lbd.ask(head("GET /%1b[31m HTTP/1.1", "Host: a.test", "X-Forwarded-For: \x80"))
    second, first = site.records()
    assert first["path"] == "/" + "p" * 191 and first["host"] == "h" * 64
    assert second["path"] == "/%1b[31m"


def test_switched_off() -> None:
    config = re.sub("recorder: {.*}", "recorder: off", CONFIG)
    places = {"origin": "127.0.0.1:1", "bad": "127.0.0.1:1", "worse": "127.0.0.1:2", "tcp": "127.0.0.1:1"}
    with Lbd(config, **places) as lbd:
        lbd.ask(get("/lost"))
        response = lbd.admin("/api/recorder")
        assert (response.status, response.json()["error"]) == (404, "the recorder is off")


# the command


def test_command_lists(site_of_four: Site) -> None:
    shown = site_of_four.command().stdout.splitlines()
    assert [line.split("  ")[4] for line in shown] == ["GET /a", "GET /b", "GET /503/c", "GET /lost"]
    assert "connect_failed" in shown[-1] and "(2 attempts)" in shown[-1] and "-> app/one" in shown[0]
    errors = site_of_four.command("--errors", "--json").stdout.splitlines()
    assert [json.loads(line)["path"] for line in errors] == ["/503/c", "/lost"]
    assert site_of_four.command("--slow").stdout == ""
    assert len(site_of_four.command("-n", "1", "--status", "2xx").stdout.splitlines()) == 1


def test_command_shows_one(site_of_four: Site) -> None:
    record = site_of_four.records("path=/lost")[0]
    shown = site_of_four.command("--id", record["request_id"])
    assert "connect_failed" in shown.stdout and "attempt 2" in shown.stdout
    assert json.loads(site_of_four.command("--id", record["request_id"], "--json").stdout) == record
    missing = site_of_four.command("--id", "0" * 32)
    assert missing.returncode == 1 and "no exchange of that id" in missing.stderr
    assert site_of_four.command("--id", "0" * 32, "--follow").returncode == 2
    refused = site_of_four.command("--reason", "none_such")
    assert refused.returncode == 1 and "there is no reason" in refused.stderr


def test_command_follows(site: Site) -> None:
    """Old ones first, then each new one once."""
    site.lbd.ask(get("/before"))
    address = "{}:{}".format(*site.lbd.address("admin"))
    command = [sys.executable, "-m", "lbd", "recorder", "--admin", address, "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        seen: list[str] = []
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        thread = threading.Thread(
            target=lambda: seen.extend(json.loads(line)["path"] for line in lines), daemon=True)
        thread.start()
        try:
            eventually(lambda: seen, "the first record", 4 * TIMEOUT)
            for number in range(3):
                site.lbd.ask(get(f"/after-{number}"))
                eventually(lambda n=number: f"/after-{n}" in seen, "a new record")  # type: ignore[misc]
        finally:
            process.terminate()
            thread.join(TIMEOUT)
    assert seen == ["/before", "/after-0", "/after-1", "/after-2"]


# alone


def test_rings_refuse_to_be_empty() -> None:
    for sizes in ({"size": 0}, {"errors": 0}, {"slow": 0}, {"workers": 0}):
        with pytest.raises(ValueError, match="at least one"):
            Recorder(**sizes)


def test_unknown_kind_is_an_error() -> None:
    assert set(KINDS) == {"all", "errors", "slow"}
    with pytest.raises(KeyError):
        Recorder().records("most")


def test_default_memory_is_small() -> None:
    assert Recorder().size_bytes < 2 << 20


def test_wanted_says_what_it_wants() -> None:
    assert "5xx" in repr(Wanted(status="5xx")) and "route" not in repr(Wanted(status="5xx"))


def test_recorder_outlives_a_reload_with_the_same_settings() -> None:
    text = "listeners: [{name: web, bind: '127.0.0.1:0', routes: [{respond: {status: 204}}]}]\n"
    observing = Observing(Log())
    observing.attach(load_text(text), [])
    first = observing.recorder
    observing.attach(load_text(text), [])
    assert observing.recorder is first and first is not None
    observing.attach(load_text(text + "recorder: {size: 2048}"), [])
    assert observing.recorder is not first
    observing.attach(load_text(text + "recorder: off"), [])
    assert observing.recorder is None
