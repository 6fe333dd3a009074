"""What the operator sees: access log lines, counters, /live and /ready."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator

import pytest
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get, head, post
from harness.origin import Origin, Refusing, notify, recv_all, recv_request
from harness.waiting import TIMEOUT, eventually

CONFIG = """
admin: {bind: "127.0.0.1:0"}
access_log: {to: stdout, format: json}
listeners:
  - name: web
    bind: 127.0.0.1:0
    routes:
      - {name: answer, match: {path: /answer}, respond: {status: 204}}
      - {name: lost, match: {path: /lost}, cluster: lost}
      - {name: rest, match: {path: /rest/*}, cluster: app}
  - {name: silent, bind: "127.0.0.1:0", cluster: app, access_log: off}
  - {name: combined, bind: "127.0.0.1:0", cluster: app, access_log: {to: combined.log, format: combined}}
clusters:
  - {name: app, endpoints: [<origin>]}
  - {name: lost, endpoints: [<bad>]}
"""


@pytest.fixture(scope="module")
def lbd(echo: EchoOrigin) -> Iterator[Lbd]:
    with Refusing() as bad, Lbd(CONFIG, origin=echo, bad=bad) as lbd:
        yield lbd


def json_line(lbd: Lbd, mark: str) -> dict[str, object]:
    """The access log line that mentions the mark, once it is written."""
    def found() -> list[str]:
        return [line for line in list(lbd.output) if mark in line]

    (line,) = eventually(found, f"an access log line with {mark}")
    return json.loads(line)  # type: ignore[no-any-return]


def test_json_line(lbd: Lbd) -> None:
    lbd.ask(post("/rest/json?q=1", b"hello", "User-Agent: test/1", "Referer: http://r.test/"))
    line = json_line(lbd, "/rest/json")
    text = json.dumps(line)
    for part in ("POST", "/rest/json?q=1", "200", "127.0.0.1", "rest", "web", "app", "test/1"):
        assert part in text, part
    assert 200 in line.values()


def test_json_line_of_an_error_has_the_reason_and_the_request_id(lbd: Lbd) -> None:
    response = lbd.ask(get("/lost?mark=lost-1"))
    request_id = response.body.decode().split("request ")[1].rstrip(")\n")
    line = json_line(lbd, "lost-1")
    assert "connect_failed" in line.values() and request_id in line.values() and 502 in line.values()


def test_request_id_is_the_same_for_the_endpoint_and_the_log(lbd: Lbd) -> None:
    fields = dict(lbd.ask(get("/rest/id-check")).json()["headers"])
    assert fields["x-request-id"] in json_line(lbd, "id-check").values()


def test_control_bytes_do_not_forge_lines(lbd: Lbd) -> None:
    lbd.ask(get("/rest/forged", 'User-Agent: a"}\\n\x80\xff\\{"b\tc'))
    assert 'a"}' in str(json_line(lbd, "forged"))


def test_refused_request_is_logged(lbd: Lbd) -> None:
    before = len(lbd.output)
    lbd.ask(head("GET / HTTP/1.1", "Host: a", "Content-Length: x"))
    eventually(lambda: any("bad_request" in line for line in lbd.output[before:]))


def test_client_gone_is_logged_as_499() -> None:
    asked = threading.Event()
    with (
        Origin([recv_request, notify(asked), recv_all]) as origin, Refusing() as bad,
        Lbd(CONFIG, origin=origin, bad=bad) as lbd,
    ):
        with lbd.connect() as client:
            client.send(get("/rest/gone"))
            assert asked.wait(TIMEOUT)
        line = json_line(lbd, "/rest/gone")
        assert 499 in line.values() and "client_gone" in line.values()


COMBINED = re.compile(
    r'^127\.0\.0\.1 - - \[[^\]]+\] "GET /combined\?a=b HTTP/1\.1" 200 (\d+) "http://r/" "agent 1"'
)


def test_combined_line(lbd: Lbd) -> None:
    response = lbd.ask(get("/combined?a=b", "Referer: http://r/", "User-Agent: agent 1"), "combined")
    file = lbd.directory / "combined.log"
    line = eventually(lambda: file.exists() and file.read_text())
    match = COMBINED.match(str(line))
    assert match, line
    assert int(match[1]) == len(response.body)


def test_log_can_be_off(lbd: Lbd) -> None:
    lbd.ask(get("/silent-request"), "silent")
    lbd.ask(get("/rest/after-silent"))
    json_line(lbd, "/rest/after-silent")
    assert "silent-request" not in lbd.stdout


def test_every_request_is_logged_once_and_in_whole_lines(lbd: Lbd) -> None:
    with lbd.connect() as client:
        client.send(b"".join(get(f"/rest/many-{n:04}") for n in range(1000)))
        for _ in range(1000):
            assert client.read_response().status == 200
    eventually(lambda: sum("/rest/many-" in line for line in list(lbd.output)) >= 1000)
    marks = [re.search(r"many-\d{4}",
                       line)[0] for line in lbd.output if "many-" in line]  # type: ignore[index]
    assert sorted(marks) == [f"many-{n:04}" for n in range(1000)]


def test_requests_are_counted(lbd: Lbd) -> None:
    labels = {"listener": "web", "route": "rest", "cluster": "app", "code": "200"}
    before = lbd.metric("lbd_requests_total", **labels)
    with lbd.connect() as client:
        for _ in range(7):
            assert client.ask(get("/rest/count")).status == 200
    assert lbd.metric("lbd_requests_total", **labels) == before + 7


@pytest.mark.parametrize(("target", "labels"), [
    ("/answer", {"route": "answer", "code": "204"}),
    ("/lost", {"route": "lost", "cluster": "lost", "code": "502"}),
    ("/nowhere", {"listener": "web", "code": "404"})])
def test_answers_of_lbd_are_counted(lbd: Lbd, target: str, labels: dict[str, str]) -> None:
    before = lbd.metric("lbd_requests_total", **labels)
    lbd.ask(get(target))
    assert lbd.metric("lbd_requests_total", **labels) == before + 1


def test_durations_are_a_histogram(lbd: Lbd) -> None:
    before = lbd.metric("lbd_request_duration_seconds_count")
    lbd.ask(get("/rest/timed"))
    assert lbd.metric("lbd_request_duration_seconds_count") >= before + 1
    assert lbd.metric("lbd_request_duration_seconds_bucket",
                      le="+Inf") == lbd.metric("lbd_request_duration_seconds_count")
    assert lbd.metric("lbd_request_duration_seconds_sum") > 0


def test_metrics_page(lbd: Lbd) -> None:
    page = lbd.admin("/metrics")
    assert page.status == 200 and (page.one("content-type") or "").startswith("text/plain")
    text = page.body.decode()
    for name in ("lbd_build_info", "lbd_requests_total", "lbd_request_duration_seconds", "lbd_upstream_"):
        assert name in text, name


def test_live_ready_and_the_rest(lbd: Lbd) -> None:
    assert lbd.admin("/live").status == 200
    assert lbd.admin("/ready").status == 200
    assert lbd.admin("/nothing").status == 404


def test_admin_refuses_garbage_and_lives_on(lbd: Lbd) -> None:
    with lbd.connect("admin") as client:
        client.send(b"\x16\x03\x01 garbage\r\n\r\n")
        assert not client.read_until_close().startswith(b"HTTP/1.1 200")
    assert lbd.admin("/live").status == 200
