"""Hedged requests at HTTP/2 endpoints: either attempt may be refused while the other is under way."""

from __future__ import annotations

from h2_endpoint import H2Origin, Request
from harness.lbd import Lbd
from harness.messages import get
from harness.waiting import eventually
from http2.frames import REFUSED_STREAM

CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - {name: app, protocol: http2, endpoints: [<first>, <second>], retry: {hedge_after: 30ms}}
"""


def keep_waiting(request: Request) -> None:
    """No answer: the test gives it."""


def test_first_attempt_is_refused() -> None:
    with (
        H2Origin(keep_waiting) as first,
        H2Origin(keep_waiting) as second,
        Lbd(CONFIG, first=first, second=second) as lbd,
        lbd.connect() as client,
    ):
        client.send(get("/"))
        eventually(lambda: first.complete and second.complete, "both attempts")
        first.complete[0].cut(REFUSED_STREAM)
        eventually(lambda: lbd.metric("lbd_upstream_active") == 1, "one attempt is left")
        second.complete[0].answer(b"of the hedge")
        assert client.read_response().body == b"of the hedge"
        assert lbd.metric("lbd_hedges_won_total") == 1 and lbd.metric("lbd_upstream_active") == 0
        assert lbd.metric("lbd_errors_total") == 0


def test_hedge_is_refused() -> None:
    with (
        H2Origin(keep_waiting) as first,
        H2Origin(keep_waiting) as second,
        Lbd(CONFIG, first=first, second=second) as lbd,
        lbd.connect() as client,
    ):
        client.send(get("/"))
        eventually(lambda: first.complete and second.complete, "both attempts")
        second.complete[0].cut(REFUSED_STREAM)
        eventually(lambda: lbd.metric("lbd_upstream_active") == 1, "one attempt is left")
        first.complete[0].answer(b"of the first")
        assert client.read_response().body == b"of the first"
        assert lbd.metric("lbd_hedges_won_total") == 0 and lbd.metric("lbd_upstream_active") == 0


def test_both_are_refused() -> None:
    """A refused attempt is safe to make again: a third one follows, at an endpoint that is left."""
    with (
        H2Origin(keep_waiting) as first,
        H2Origin(keep_waiting) as second,
        Lbd(CONFIG, first=first, second=second) as lbd,
        lbd.connect() as client,
    ):
        client.send(get("/"))
        eventually(lambda: first.complete and second.complete, "both attempts")
        second.complete[0].cut(REFUSED_STREAM)
        eventually(lambda: lbd.metric("lbd_upstream_active") == 1, "one attempt is left")
        first.complete[0].cut(REFUSED_STREAM)
        eventually(lambda: len(first.complete) + len(second.complete) > 2, "a further attempt")
        last = (second.complete[1:] or first.complete[1:])[0]
        last.answer(b"of the third")
        assert client.read_response().body == b"of the third"
