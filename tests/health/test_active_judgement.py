"""Active checks, one by one: which answer counts as good, and what the log says of the others.

One lbd asks all the endpoints, a cluster for each case; the first result decides at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from harness.lbd import Lbd
from harness.messages import chunked, head, ok, ok_chunked, ok_until_close
from harness.origin import (
    Blackhole,
    Origin,
    Refusing,
    close,
    recv_head,
    reset,
    send,
    send_forever,
    send_slowly,
    stall,
)
from harness.waiting import eventually
from health.watching import await_line, is_healthy, said

START = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", routes: [{respond: {status: 204}}]}]
clusters:
"""
CLUSTER = """
  - name: %s
    endpoints: [<%s>]
    health_check: {%s, interval: 10s, timeout: %s}
"""
NO_CONTENT = head("HTTP/1.1 204 No Content")
KIB64 = 65536


def status(code: int, *fields: str) -> bytes:
    return head(f"HTTP/1.1 {code} Said", "Content-Length: 0", *fields)


@dataclass
class Case:
    """why: None when the endpoint is well, else what the log says."""

    bytes_sent: bytes | None = None
    check: str = "path: /health"
    why: str | None = None
    endpoint: Any = None
    timeout: str = "5s"
    then: list[Any] = field(default_factory=list)

    def place(self) -> Any:
        """The endpoint to be asked."""
        if self.endpoint is not None:
            return self.endpoint()
        return Origin([recv_head, send(self.bytes_sent or b""), *self.then])


def expecting(what: str) -> str:
    return f"path: /health, expect: {{{what}}}"


SLOW = "300ms"
CASES = {
    # status codes
    "status_200": Case(ok()),
    "status_302": Case(status(302, "Location: /x")),
    "status_399": Case(status(399)),
    "status_400": Case(status(400), why="status 400"),
    "status_503": Case(status(503), why="status 503"),
    "listed": Case(NO_CONTENT, expecting("status: [200, 204]")),
    "not_listed": Case(status(201), expecting("status: [200, 204]"), why="status 201"),
    "single": Case(status(418), expecting("status: 418")),
    "not_single": Case(ok(), expecting("status: 418"), why="status 200"),
    "in_range": Case(status(299), expecting('status: "200-299"')),
    "out_of_range": Case(status(300), expecting('status: "200-299"'), why="status 300"),
    # bodies
    "text": Case(ok(b'{"state": "healthy"}'), expecting("body: healthy")),
    "no_text": Case(ok(b"sick"), expecting("body: healthy"), why="the expected text is not in the body"),
    "no_body": Case(NO_CONTENT, expecting("body: healthy"), why="the expected text is not in the body"),
    "text_utf8": Case(ok("gesünder".encode()), expecting("body: gesünder")),
    "text_in_pieces": Case(b"", expecting("body: healthy"),
                           then=[send_slowly(ok_chunked(b"hea", b"l", b"thy"))]),
    "text_last": Case(ok(b"x" * (KIB64 - 7) + b"healthy"), expecting("body: healthy")),
    "text_too_far": Case(ok(b"x" * (KIB64 - 6) + b"healthy"), expecting("body: healthy"), why="text"),
    "text_then_more": Case(ok(b"healthy" + b"x" * (1 << 20)), expecting("body: healthy")),
    "regex": Case(ok(b"load 17 %"), expecting("body_regex: 'load [0-9]+ %$'")),
    "no_regex": Case(ok(b"load high"), expecting("body_regex: 'load [0-9]+ %$'"), why="expression"),
    "regex_not_utf8": Case(ok(b"\xff\xfe state: ok"), expecting("body_regex: 'state: (ok|fine)'")),
    "text_and_status": Case(status(500) + b"", expecting("status: 500, body: healthy"), why="text"),
    # methods and framing
    "head": Case(head("HTTP/1.1 200 OK", "Content-Length: 5"), "method: HEAD"),
    "options": Case(status(200, "Allow: GET"), "method: OPTIONS"),
    "http10": Case(head("HTTP/1.0 200 OK") + b"healthy", expecting("body: healthy"), then=[close]),
    "until_close": Case(ok_until_close(b"healthy"), expecting("body: healthy"), then=[close]),
    "interim": Case(head("HTTP/1.1 103 Early Hints") + ok()),
    "slow_bytes": Case(b"", then=[send_slowly(ok())]),
    # what is no answer
    "ends": Case(endpoint=lambda: Origin([close]), why="upstream reset"),
    "ends_later": Case(b"", then=[close], why="upstream reset"),
    "resets": Case(b"", then=[reset], why="upstream reset"),
    "garbage": Case(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n", why="upstream invalid"),
    "two_lengths": Case(head("HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2") + b"xx",
                        why="upstream invalid"),
    "switches": Case(head("HTTP/1.1 101 Switching", "Upgrade: x", "Connection: upgrade"), why="upstream"),
    "bad_chunk": Case(head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b"zz\r\n", why="upstream"),
    "cut_body": Case(head("HTTP/1.1 200 OK", "Content-Length: 9") + b"heal", then=[close], why="upstream"),
    "cut_chunks": Case(head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + chunked(b"a")[:-5],
                       then=[close], why="upstream"),
    "endless_head": Case(b"HTTP/1.1 200 OK\r\n", then=[send_forever(b"X-Filler: " + b"y" * 4000 + b"\r\n")],
                         why="upstream invalid"),
    "endless_body": Case(head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), timeout=SLOW,
                         then=[send_forever(b"8000\r\n" + b"x" * 32768 + b"\r\n")], why="no answer within"),
    "silent": Case(b"", timeout=SLOW, then=[stall], why="no answer within 300 ms"),
    "stalls_in_head": Case(b"HTTP/1.1 200 OK\r\n", timeout=SLOW, then=[stall], why="no answer within"),
    "stalls_in_body": Case(head("HTTP/1.1 200 OK", "Content-Length: 9") + b"heal", timeout=SLOW,
                           then=[stall], why="no answer within"),
    "refuses": Case(endpoint=Refusing, why="connect failed"),
    "swallows": Case(endpoint=Blackhole, timeout=SLOW, why="no answer within"),
    # connections only
    "tcp": Case(check="type: tcp", endpoint=lambda: Origin([stall])),
    "tcp_refuses": Case(check="type: tcp", endpoint=Refusing, why="connect failed"),
    "tcp_swallows": Case(check="type: tcp", endpoint=Blackhole, timeout=SLOW, why="no answer within"),
}


@pytest.fixture(scope="module")
def lbd() -> Iterator[Lbd]:
    config = START + "".join(
        CLUSTER % (name, name, case.check, case.timeout) for name, case in CASES.items()
    )
    with ExitStack() as stack:
        places = {name: stack.enter_context(case.place()) for name, case in CASES.items()}
        yield stack.enter_context(Lbd(config, **places))


@pytest.mark.parametrize("name", CASES)
def test_verdict(lbd: Lbd, name: str) -> None:
    why = CASES[name].why
    if why is None:
        eventually(lambda: is_healthy(lbd, name) is not None, "the first result")
        assert not said(lbd, f"endpoint {name}/"), "nothing is to be said"
        assert is_healthy(lbd, name) == 1
    else:
        line = await_line(lbd, f" WARNING endpoint {name}/")
        assert why in line.split("down: ")[1]
        assert is_healthy(lbd, name) == 0
