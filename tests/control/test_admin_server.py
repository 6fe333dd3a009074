"""The admin listener on its own: methods, paths, hosts, garbage, connections that last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from control.worlds import Lines, port_of, serving, talk
from harness.messages import head

from lbd.admin import server
from lbd.admin.gate import is_address
from lbd.control.draining import Deadlines
from lbd.control.worker import Worker

CLOSE = "Connection: close"
JSON = "Content-Type: application/json"


def ask(*pieces: bytes) -> bytes:
    async def run() -> bytes:
        async with serving() as (_, admin):
            return await talk(port_of(admin), *pieces)

    return asyncio.run(run())


def statuses(answer: bytes) -> list[int]:
    """Of one or more responses, in order."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def request(path: str, *fields: str, method: str = "GET", host: str = "127.0.0.1") -> bytes:
    return head(f"{method} {path} HTTP/1.1", f"Host: {host}", *fields)


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/live", 200, b"live\n"),
        ("/ready", 200, b"ready\n"),
        ("/live?verbose", 200, b"live\n"),
        ("/", 404, b"not found"),
        ("/metrics/", 404, b"not found"),
        ("/live/../metrics", 404, b"not found"),
        ("http://127.0.0.1/live", 404, b"not found"),
    ],
)
def test_pages(path: str, status: int, body: bytes) -> None:
    answer = ask(request(path, CLOSE))
    assert statuses(answer) == [status]
    assert body in answer and b"Cache-Control: no-store" in answer


def test_metrics_page() -> None:
    answer = ask(request("/metrics", CLOSE))
    assert statuses(answer) == [200] and b"\r\nContent-Type: text/plain" in answer
    fields, _, body = answer.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in fields and b"lbd_build_info" in body


@pytest.mark.parametrize("path", ["/live", "/metrics", "/nothing"])
def test_head_has_the_fields_without_the_body(path: str) -> None:
    full, _, body = ask(request(path, CLOSE)).partition(b"\r\n\r\n")
    fields, _, rest = ask(request(path, CLOSE, method="HEAD")).partition(b"\r\n\r\n")
    assert rest == b"" and body != b""
    assert statuses(fields) == statuses(full)
    if path != "/metrics":  # its length changes with its numbers
        assert fields == full


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get"])
def test_other_methods(method: str) -> None:
    answer = ask(request("/live", CLOSE, method=method))
    assert statuses(answer) == [405] and b"\r\nAllow: GET, HEAD\r\n" in answer


def test_connect() -> None:
    assert statuses(ask(request("127.0.0.1:22", method="CONNECT"))) == [405]


def test_body_is_read_past() -> None:
    pieces = (request("/live", "Content-Length: 5", method="POST"), b"hello", request("/ready", CLOSE))
    assert statuses(ask(*pieces)) == [405, 200]


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:9900", True),
        ("10.1.2.3", True),
        ("[::1]", True),
        ("[::1]:9900", True),
        ("localhost", True),
        ("LOCALHOST:9900", True),
        ("evil.example", False),
        ("evil.example:9900", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        (":9900", False),
        ("127.0.0.1:x", False),
        ("[::1", False),
        ("127.0.0.1:9900:1", False),
        ("[evil]", False),
        ("user@127.0.0.1", False),
    ],
)
def test_host_must_be_an_address(host: str, good: bool) -> None:
    """A page in a browser reaches the listener under a name that it made point here (DNS rebinding)."""
    assert is_address(host) is good
    (status,) = statuses(ask(request("/metrics", CLOSE, host=host)))
    assert (status == 200) is good
    assert good or status in (400, 403)


def test_request_without_a_host() -> None:
    assert statuses(ask(head("GET /metrics HTTP/1.1", CLOSE))) == [400]
    assert statuses(ask(head("GET /metrics HTTP/1.0"))) == [403]


def test_two_hosts() -> None:
    assert statuses(ask(request("/metrics", "Host: evil.example", CLOSE))) == [400]


def test_host_is_checked_before_the_method() -> None:
    assert statuses(ask(request("/live", CLOSE, method="POST", host="evil.example"))) == [403]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n\0\r\n\r\n",
        b"GET /" + b"x" * 20000,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000,
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["tls", "short", "version", "nul", "target", "fields", "length", "h2"],
)
def test_garbage(garbage: bytes) -> None:
    """Refused, whatever it was taken for; no page is given out."""
    found = statuses(ask(garbage))
    assert found and set(found) <= {400, 403, 431, 505}


def test_garbage_after_a_request() -> None:
    assert statuses(ask(request("/live"), b"\x00\x01\x02\r\n\r\n")) == [200, 400]


def test_bad_chunk_in_a_body() -> None:
    """Whether or not the answer is on its way already, there is one, the connection ends, nothing follows."""
    answer = ask(request("/live", "Transfer-Encoding: chunked", method="POST"), b"zz\r\n" + request("/live"))
    assert statuses(answer) in ([400], [405])


def test_nothing_and_gone() -> None:
    assert ask() == b""
    assert ask(b"GET /li") == b""


def test_one_byte_at_a_time() -> None:
    assert statuses(ask(*(bytes([byte]) for byte in request("/live", CLOSE)))) == [200]


def test_pipelined_requests() -> None:
    answer = ask(
        request("/live") + request("/nothing") + request("/ready", method="HEAD") + request("/ready", CLOSE)
    )
    assert statuses(answer) == [200, 404, 200, 200]


def test_many_connections_at_once() -> None:
    async def run() -> list[bytes]:
        async with serving() as (_, admin):
            return await asyncio.gather(*(talk(port_of(admin), request("/live", CLOSE)) for _ in range(50)))

    assert [statuses(answer) for answer in asyncio.run(run())] == [[200]] * 50


def test_a_request_that_does_not_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its first byte, inside the head, inside the body, and between two requests."""
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.2)

    async def run(data: bytes) -> bytes:
        async with serving() as (_, admin):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(admin))
            writer.write(data)
            try:
                return await asyncio.wait_for(reader.read(), 10)
            except ConnectionResetError:
                return b""
            finally:
                writer.close()

    body = head("PATCH /api/info HTTP/1.1", "Host: localhost", JSON, "Content-Length: 9")
    for data in (b"", b"GET /live HTT", body):
        assert asyncio.run(run(data)) == b""
    assert statuses(asyncio.run(run(request("/live")))) == [200]


def test_a_defect_is_a_line_of_the_log_and_an_answer() -> None:
    async def run() -> tuple[bytes, list[str]]:
        async with serving() as (worker, admin):
            worker.shared, shared = None, worker.shared  # type: ignore[assignment]
            answer = await talk(port_of(admin), request("/api/info", CLOSE))
            worker.shared = shared
            assert isinstance(worker.log, Lines)
            return answer, [message for level, message in worker.log.lines if level == "error"]

    answer, errors = asyncio.run(run())
    assert statuses(answer) == [500] and b"NoneType" not in answer
    (error,) = errors
    assert "internal error of the admin listener" in error and "NoneType" in error


def with_worker(change: Callable[[Worker], Awaitable[object]], *pieces: bytes) -> bytes:
    async def run() -> bytes:
        async with serving() as (worker, admin):
            await change(worker)
            return await talk(port_of(admin), *pieces)

    return asyncio.run(run())


def test_ready_says_draining_while_live_stays() -> None:
    """A load balancer in front looks elsewhere, and nobody restarts a process that is about to end well."""
    at_once = Deadlines(0.0, 0.0, 0.0)
    answer = with_worker(lambda worker: worker.drain(at_once), request("/ready"), request("/live", CLOSE))
    assert statuses(answer) == [503, 200] and b"draining\n" in answer
