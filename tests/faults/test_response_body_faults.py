"""Endpoints that fail after a valid response head: a truncated body is never taken for a whole one.

Matrix: what the endpoint does x how it framed the body x the version of the client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faults.stage import Stage, staged
from harness.messages import get, head, ok, ok_chunked, ok_until_close
from harness.origin import (
    Step,
    close,
    half_close,
    recv_head,
    recv_request,
    reset,
    send,
    send_slowly,
    stall,
)

BODY = b"0123456789" * 10
LENGTH = ok(BODY)
CHUNKED = ok_chunked(BODY[:50], BODY[50:], trailers=("A: b",))
UNTIL_CLOSE = ok_until_close(BODY)
BIG = ok(b"x" * (1 << 20))
BIG_CHUNKED = ok_chunked(*[b"x" * 65536] * 16)

CUTS: dict[str, bytes] = {  # everything the endpoint sends before it fails
    "length: no body": LENGTH[:-100],
    "length: half": LENGTH[:-50],
    "length: all but one": LENGTH[:-1],
    "length: half of 1 MiB": BIG[: 1 << 19],
    "length: 1 MiB but one": BIG[:-1],
    "chunked: no chunk": CHUNKED[: CHUNKED.index(b"\r\n\r\n") + 4],
    "chunked: in the size": CHUNKED[: CHUNKED.index(b"\r\n\r\n") + 5],
    "chunked: after the size": CHUNKED[: CHUNKED.index(b"\r\n\r\n") + 8],
    "chunked: in a chunk": CHUNKED[: CHUNKED.index(b"\r\n\r\n") + 20],
    "chunked: between CR and LF": CHUNKED[: CHUNKED.index(b"\r\n\r\n") + 59],
    "chunked: between chunks": CHUNKED[: CHUNKED.index(b"\r\n\r\n") + 60],
    "chunked: before the last chunk": CHUNKED[: CHUNKED.rindex(b"0\r\nA")],
    "chunked: in the last chunk": CHUNKED[: CHUNKED.rindex(b"0\r\nA") + 2],
    "chunked: in the trailers": CHUNKED[:-5],
    "chunked: before the last CR LF": CHUNKED[:-2],
    "chunked: before the last LF": CHUNKED[:-1],
    "chunked: half of 1 MiB": BIG_CHUNKED[: 1 << 19],
}
CLIENTS = {"1.1": get(), "1.0": head("GET / HTTP/1.0", "Host: a")}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


def assert_cut(stage: Stage, sent: bytes, step: Step, data: bytes) -> None:
    stage.play([recv_request, send(sent), step])
    with stage.lbd.connect() as client:
        response = client.ask(data)
        if response.status == 200:
            # close-delimited, as to a 1.0 client: only a reset can tell that it was cut
            assert not response.complete and response.end, response
        else:  # the failure was seen before the response head went out
            assert response.status in (502, 504) and response.complete
    stage.assert_recovered()


@pytest.mark.parametrize("version", CLIENTS)
@pytest.mark.parametrize("end", [close, reset], ids=["fin", "rst"])
@pytest.mark.parametrize("cut", CUTS)
def test_dies_in_the_body(stage: Stage, cut: str, end: Step, version: str) -> None:
    assert_cut(stage, CUTS[cut], end, CLIENTS[version])


@pytest.mark.parametrize("cut",
                         ["length: half", "length: half of 1 MiB", "chunked: in a chunk",
                          "chunked: in the trailers"])
def test_stalls_in_the_body(stage: Stage, cut: str) -> None:
    assert_cut(stage, CUTS[cut], stall, CLIENTS["1.1"])


def test_half_close_in_the_body_is_an_end(stage: Stage) -> None:
    assert_cut(stage, CUTS["length: half"], half_close, CLIENTS["1.1"])


@pytest.mark.parametrize("version", CLIENTS)
def test_reset_of_a_body_until_close_is_passed_on(stage: Stage, version: str) -> None:
    assert_cut(stage, UNTIL_CLOSE[:-1], reset, CLIENTS[version])


def test_stall_of_a_body_until_close(stage: Stage) -> None:
    assert_cut(stage, UNTIL_CLOSE, stall, CLIENTS["1.1"])


@pytest.mark.parametrize("wire", [LENGTH, CHUNKED, UNTIL_CLOSE, BIG, BIG_CHUNKED],
                         ids=["length", "chunked", "until-close", "big", "big-chunked"])
@pytest.mark.parametrize("version", CLIENTS)
def test_whole_body_then_close_is_whole(stage: Stage, wire: bytes, version: str) -> None:
    """The counterpart: what is complete stays complete."""
    stage.play([recv_request, send(wire), close])
    with stage.lbd.connect() as client:
        response = client.ask(CLIENTS[version])
        assert response.complete and response.status == 200
        assert response.body in (BODY, b"x" * (1 << 20))
    stage.assert_recovered()


@pytest.mark.parametrize("wire", [LENGTH, CHUNKED, UNTIL_CLOSE], ids=["length", "chunked", "until-close"])
def test_one_byte_at_a_time(stage: Stage, wire: bytes) -> None:
    stage.play([recv_head, send_slowly(wire), close])
    response = stage.lbd.ask(get())
    assert (response.body, response.complete) == (BODY, True)
    stage.assert_recovered()


def test_head_request_gets_no_body_error(stage: Stage) -> None:
    """A HEAD answer with a Content-Length has no body to be cut."""
    stage.play([recv_head, send(LENGTH[:-100]), close])
    response = stage.lbd.ask(head("HEAD / HTTP/1.1", "Host: a"))
    assert (response.status, response.one("content-length"), response.complete) == (200, "100", True)
    stage.assert_recovered()
