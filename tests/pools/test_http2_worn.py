"""`connections.requests` and `lifetime` with HTTP/2 endpoints, whose connections serve many at a time."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from h2_endpoint import H2Origin, Request
from harness.lbd import Lbd
from harness.messages import get
from harness.waiting import eventually

CONFIG = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, protocol: http2, endpoints: [<origin>], connections: {<more>}}]
"""


@pytest.mark.parametrize(
    ("more", "served"),
    [("requests: 3", [3, 3, 3, 1]), ("requests: 1", [1] * 10), ("requests: none", [10])],
)
def test_requests_per_connection(more: str, served: list[int]) -> None:
    with H2Origin() as origin, Lbd(CONFIG, origin=origin, more=more) as lbd, lbd.connect() as client:
        for _ in range(10):
            assert client.ask(get()).status == 200
        assert [len(session.requests) for session in origin.sessions] == served
        for session in origin.sessions[:-1]:
            eventually(lambda session=session: session.goaway == 0, "ended with its last exchange")


def test_requests_under_way_count() -> None:
    """Two of three at the same time: the fourth goes elsewhere while they last."""
    held: list[Request] = []
    with H2Origin(held.append) as origin, Lbd(CONFIG, origin=origin, more="requests: 3") as lbd, \
            ExitStack() as stack:
        clients: list[Any] = []
        for i in range(4):
            clients.append(stack.enter_context(lbd.connect()))
            clients[-1].send(get(f"/{i}"))
            eventually(lambda i=i: len(held) == i + 1, "it has arrived")
        assert [len(session.requests) for session in origin.sessions] == [3, 1]
        assert origin.sessions[0].goaway is None
        for request in held:
            request.answer()
        assert [client.read_response("GET").status for client in clients] == [200] * 4
        eventually(lambda: origin.sessions[0].goaway == 0, "ended with its last exchange")


def test_lifetime() -> None:
    with H2Origin() as origin, Lbd(CONFIG, origin=origin, more="lifetime: 300ms") as lbd, \
            lbd.connect() as client:
        eventually(lambda: client.ask(get()).status == 200 and len(origin.sessions) > 2, "replaced twice")
        eventually(lambda: origin.sessions[0].goaway == 0, "closed")


def test_lifetime_under_load() -> None:
    """An exchange that outlasts its connection's lifetime is finished; others go to a new one."""
    held: list[Request] = []

    def answer(request: Request) -> None:
        if request.one(":path") == "/long":
            held.append(request)
        else:
            request.answer()

    with H2Origin(answer) as origin, Lbd(CONFIG, origin=origin, more="lifetime: 300ms") as lbd, \
            lbd.connect() as long, lbd.connect() as client:
        long.send(get("/long"))
        eventually(lambda: held, "it has arrived")
        eventually(lambda: client.ask(get()).status == 200 and len(origin.sessions) > 1, "replaced")
        assert origin.sessions[0].goaway is None
        held[0].answer(b"at last")
        assert long.read_response("GET").body == b"at last"
        eventually(lambda: origin.sessions[0].goaway == 0, "closed")
