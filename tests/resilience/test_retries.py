"""Further attempts end to end: which failures cause them, what is never sent twice, and what the log says.

The bad endpoint comes first in turn, so the first request of every test meets it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from harness.http_origin import Answer, HttpOrigin, Seen
from harness.lbd import Lbd
from harness.messages import get, head
from harness.origin import Origin, Refusing, close, recv_body, recv_head, recv_request, reset, stall
from harness.waiting import eventually

CONFIG = """
admin: {bind: "127.0.0.1:0"}
access_log: {to: stdout, format: json}
listeners: [{name: web, bind: "127.0.0.1:0", routes: [{cluster: app<route>}]}]
clusters:
  - name: app
    endpoints: [{address: <bad>, name: bad, labels: {kind: bad}}, {address: <good>, name: good}]
    timeouts: {connect: 1s, response: 3s}
    <more>
"""
STATUSES = "retry: {statuses: [503]}"


def post(path: str, body: bytes, *fields: str) -> bytes:
    length = f"Content-Length: {len(body)}"
    lines = "\r\n".join([f"POST {path} HTTP/1.1", "Host: example.test", length, *fields])
    return lines.encode() + b"\r\n\r\n" + body


def answer_503(seen: Seen) -> Answer:
    return Answer(503, body=b"the endpoint's own page")


@dataclass
class Stage:
    lbd: Lbd
    good: HttpOrigin
    bad: Any

    def log(self) -> dict[str, Any]:
        """The first line of the access log."""
        eventually(lambda: self.lbd.output, "a line in the access log")
        line: dict[str, Any] = json.loads(self.lbd.output[0])
        return line

    def attempts(self) -> list[tuple[str, str | int]]:
        """Those before the one that served: endpoint, and the reason or the status."""
        made = self.log().get("attempts", [])
        if made and made[-1].get("status") == self.log()["status"] and "reason" not in made[-1]:
            assert made.pop()["endpoint"] == self.log()["endpoint"]
        return [(one["endpoint"], one.get("reason", one.get("status"))) for one in made]


@contextmanager
def staged(bad: Any, more: str = "", route: str = "") -> Iterator[Stage]:
    config = CONFIG.replace("<more>", more).replace("<route>", route)
    with bad, HttpOrigin() as good, Lbd(config, bad=bad, good=good) as lbd:
        yield Stage(lbd, good, bad)


def test_listed_status_goes_to_another_endpoint() -> None:
    with staged(HttpOrigin(answer_503), STATUSES) as stage:
        response = stage.lbd.ask(get("/"))
        assert response.status == 200 and response.json()["target"] == "/"
        assert stage.attempts() == [("bad", 503)]
        assert stage.log()["endpoint"] == "good" and stage.log()["status"] == 200
        assert stage.lbd.metric("lbd_retries_total", reason="status") == 1


def test_status_that_is_not_listed_is_passed_on() -> None:
    with staged(HttpOrigin(answer_503)) as stage:
        response = stage.lbd.ask(get("/"))
        assert (response.status, response.body) == (503, b"the endpoint's own page")
        assert "attempts" not in stage.log() and stage.good.requests == []


def test_last_response_is_passed_on_when_all_fail() -> None:
    with HttpOrigin(answer_503) as second, staged(HttpOrigin(answer_503), STATUSES) as stage:
        stage.good.answer = second.answer
        response = stage.lbd.ask(get("/"))
        assert (response.status, response.body) == (503, b"the endpoint's own page")
        assert stage.attempts() == [("bad", 503)] and stage.log()["endpoint"] == "good"


@pytest.mark.parametrize(
    ("fields", "status"), [((), 503), (("Idempotency-Key: 7",), 200)], ids=["plain", "key"]
)
def test_post_only_with_an_idempotency_key(fields: tuple[str, ...], status: int) -> None:
    with staged(HttpOrigin(answer_503), STATUSES) as stage:
        response = stage.lbd.ask(post("/", b"once", *fields))
        assert response.status == status
        assert [seen.body for seen in stage.good.requests] == ([b"once"] if status == 200 else [])


def test_post_when_the_policy_allows_it() -> None:
    with staged(HttpOrigin(answer_503), "retry: {statuses: [503], methods: [POST]}") as stage:
        assert stage.lbd.ask(post("/", b"once")).status == 200
        assert stage.lbd.ask(get("/")).status in (200, 503)


@pytest.mark.parametrize(
    ("path", "status"), [("/pay/1", 503), ("/pay", 503), ("/pays", 200), ("/x?/pay/1", 200)]
)
def test_excepted_paths(path: str, status: int) -> None:
    with staged(HttpOrigin(answer_503), "retry: {statuses: [503], except_paths: [/pay/*]}") as stage:
        assert stage.lbd.ask(get(path)).status == status


def test_budget_is_kept_and_counted() -> None:
    budget = "retry: {statuses: [503]}\n    retry_budget: {ratio: 0%, per_second: 0}"
    with staged(HttpOrigin(answer_503), budget) as stage:
        response = stage.lbd.ask(get("/"))
        assert (response.status, response.body) == (503, b"the endpoint's own page")
        assert stage.lbd.metric("lbd_retries_denied_total") == 1


def test_what_reached_nobody_needs_no_budget() -> None:
    with staged(Refusing(), "retry_budget: {ratio: 0%, per_second: 0}") as stage:
        assert stage.lbd.ask(post("/", b"body")).status == 200
        assert stage.attempts() == [("bad", "connect_failed")]


@pytest.mark.parametrize(
    ("request_", "status"), [(get("/"), 200), (post("/", b"x"), 502)], ids=["GET", "POST"]
)
@pytest.mark.parametrize("end", [close, reset], ids=["fin", "reset"])
def test_connection_that_ends_without_a_response(request_: bytes, status: int, end: Any) -> None:
    with staged(Origin([recv_request, end])) as stage:
        assert stage.lbd.ask(request_).status == status
        if status == 200:
            assert stage.attempts() == [("bad", "upstream_reset")]
        assert len(stage.good.requests) == (status == 200)


def test_timeout_of_one_attempt() -> None:
    with staged(Origin([recv_request, stall]), "retry: {on: [timeout], try_timeout: 200ms}") as stage:
        assert stage.lbd.ask(get("/")).status == 200
        assert stage.attempts() == [("bad", "response_timeout")]


def test_timeout_for_everything() -> None:
    route = ", timeouts: {total: 300ms}"
    with staged(Origin([recv_request, stall]), route=route) as stage:
        response = stage.lbd.ask(get("/"))
        assert (response.status, response.reason) == (504, "deadline_exceeded")


def test_same_endpoint_after_a_back_off() -> None:
    """Without a back-off a single endpoint is not asked twice."""
    answers = iter([503, 503, 200])
    config = CONFIG.replace("{address: <bad>, name: bad, labels: {kind: bad}}, ", "").replace("<route>", "")
    for more, status in ((STATUSES, 503), ("retry: {statuses: [503], backoff: {base: 20ms}}", 200)):
        origin = HttpOrigin(lambda _: Answer(next(answers)))
        with origin as good, Lbd(config.replace("<more>", more), good=good) as lbd:
            assert lbd.ask(get("/")).status == status



@pytest.mark.parametrize("buffer", ["64KiB", "20KiB"])
def test_body_that_came_in_pieces(buffer: str) -> None:
    """The bad endpoint gets it as it comes, the good one from what was kept, unless it was too long."""
    body = bytes(range(256)) * 128  # 32 KiB
    more = f"retry: {{statuses: [503], methods: [POST], buffer: {buffer}}}"
    with staged(HttpOrigin(answer_503), more) as stage, stage.lbd.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: example.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        eventually(lambda: stage.bad.requests, "the head is at the endpoint")
        for start in range(0, len(body), 8192):
            piece = body[start : start + 8192]
            client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        response = client.send(b"0\r\n\r\n").read_response("POST")
        assert [seen.body for seen in stage.bad.complete] == [body]
        if buffer == "64KiB":
            assert response.status == 200
            assert [seen.body for seen in stage.good.complete] == [body]
        else:
            assert response.status == 503 and stage.good.requests == []


def test_hedged_request_is_served_by_the_faster_endpoint() -> None:
    with staged(Origin([recv_head]), "retry: {hedge_after: 50ms}") as stage:
        assert stage.lbd.ask(get("/")).status == 200
        assert stage.attempts() == [("bad", "hedged")]
        assert stage.lbd.metric("lbd_hedges_won_total") == 1
        eventually(lambda: stage.bad.connections[0].ended, "the slower attempt is given up")
        assert stage.lbd.metric("lbd_upstream_active") == 0


def test_hedge_that_fails_leaves_the_first_attempt_alone() -> None:
    with staged(Origin([recv_head, close]), "retry: {hedge_after: 50ms, limit: 0}") as stage:
        stage.lbd.ask(get("/"))  # the turn is with the good one
        slow = iter([True])

        def answer(seen: Seen) -> Answer:
            if next(slow, False):
                eventually(lambda: len(stage.bad.connections) > 1, "the hedge has been there")
            return Answer(body=b"slow but good")

        stage.good.answer = answer
        response = stage.lbd.ask(get("/"))
        assert (response.status, response.body) == (200, b"slow but good")
        assert stage.lbd.metric("lbd_upstream_active") == 0


def test_empty_body_that_came_in_pieces_is_sent_again() -> None:
    """Nothing is kept of it, but the next endpoint has to see its end."""
    bad = Origin([recv_head, recv_body(5), reset])
    with staged(bad, "retry: {methods: [POST], buffer: 1KiB}") as stage, stage.lbd.connect() as client:
        client.send(head("POST / HTTP/1.1", "Host: a.test", "Transfer-Encoding: chunked"))
        eventually(lambda: bad.connections and bad.connections[0].head_end, "the head")
        client.send(b"0\r\n\r\n")
        assert client.read_response("POST").status == 200
        assert stage.good.complete[0].body == b""


def test_post_is_never_hedged() -> None:
    with staged(HttpOrigin(lambda _: Answer()), "retry: {hedge_after: 1ms}") as stage:
        for _ in range(20):
            assert stage.lbd.ask(post("/", b"x")).status == 200
        assert stage.lbd.metric("lbd_hedges_total") == 0


def test_client_that_leaves_during_a_back_off() -> None:
    more = "retry: {statuses: [503], backoff: {base: 1s, max: 1s, jitter: false}}"
    with staged(HttpOrigin(answer_503), more) as stage:
        with stage.lbd.connect() as client:
            client.send(get("/"))
            eventually(lambda: stage.bad.complete, "the first attempt")
        eventually(lambda: stage.lbd.output, "the exchange is over")
        assert stage.log()["status"] == 499 and stage.good.requests == []


def test_labels_of_a_route() -> None:
    with staged(HttpOrigin(answer_503), route=", endpoint_labels: {kind: bad}") as stage:
        for _ in range(4):
            assert stage.lbd.ask(get("/")).body == b"the endpoint's own page"
        assert stage.good.requests == []


def test_labels_that_no_endpoint_has() -> None:
    with staged(HttpOrigin(answer_503), route=", endpoint_labels: {kind: none}") as stage:
        response = stage.lbd.ask(get("/"))
        assert (response.status, response.reason) == (503, "no_endpoint")


def test_most_requests_at_a_time() -> None:
    with staged(Origin([recv_head, stall]), "max_requests: 1") as stage, stage.lbd.connect() as client:
        client.send(get("/"))
        eventually(lambda: stage.bad.connections, "the first is under way")
        response = stage.lbd.ask(get("/"))
        assert (response.status, response.reason, response.one("retry-after")) == (503, "overflow", "1")
        assert stage.lbd.metric("lbd_shed_total") == 1
