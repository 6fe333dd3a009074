"""Hypothesis against h11: whatever our codec accepts, h11 accepts with the same meaning.

Messages are built from the grammar and then damaged at byte level. Our codec may refuse more than h11
(bare LF, folded lines, two lengths); it must never accept more, and never read the same bytes otherwise."""

from __future__ import annotations

import h11
import pytest
from codec.feeding import (
    decode,
    h11_chunked,
    h11_request,
    h11_response,
    inspect_every_way,
    is_refused,
    lower,
)
from codec.wire import chunked_bodies, mutated, request_heads, response_heads
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbd.engine.http1 import ProtocolError, inspect_request, inspect_response

fuzz = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow],
                derandomize=True, database=None)


def same_request(data: bytes) -> None:
    ours = inspect_every_way(inspect_request, data, underscore="keep")
    if ours is None or is_refused(ours):
        return
    used = data[: ours.consumed]
    theirs = h11_request(used.lstrip(b"\r\n"))
    assert theirs is not None, "h11 needs more bytes"
    event, framing, length = theirs
    assert (ours.method, ours.target) == (event.method, event.target)
    assert ours.version == tuple(int(part) for part in event.http_version.split(b"."))
    if ours.framing == "none":
        assert (framing, length) in (("none", 0), ("length", 0))
    else:
        assert (ours.framing, ours.content_length) == (framing, length)
    assert lower(ours.fields) == normal(lower(event.headers), ours.fields)
    assert used.endswith(b"\r\n\r\n") and b"\x00" not in used
    assert used.count(b"\n") == used.count(b"\r") == used.count(b"\r\n")


def normal(theirs: list[tuple[bytes, bytes]], ours: object) -> list[tuple[bytes, bytes]]:
    """The fields of h11 with Transfer-Encoding as received: h11 writes its value in lower case."""
    original = dict(lower(ours))  # type: ignore[arg-type]
    return [(name,
             original[name] if name == b"transfer-encoding" and value == original[name].lower() else value)
            for name, value in theirs]


@fuzz
@given(request_heads())
def test_valid_requests(data: bytes) -> None:
    same_request(data)


@fuzz
@given(mutated(request_heads()))
def test_damaged_requests(data: bytes) -> None:
    same_request(data)


@fuzz
@given(st.binary(max_size=200))
def test_noise_is_never_a_crash(data: bytes) -> None:
    same_request(data)
    same_response(data, b"GET")


def same_response(data: bytes, method: bytes) -> None:
    ours = inspect_every_way(inspect_response, data, method)
    if ours is None or is_refused(ours):
        return
    used = data[: ours.consumed]
    theirs = h11_response(used, method)
    assert theirs is not None, "h11 needs more bytes"
    event, framing, length = theirs
    assert (ours.status, ours.reason) == (event.status_code, event.reason)
    assert ours.version == tuple(int(part) for part in event.http_version.split(b"."))
    if ours.framing == "none":
        assert (framing, length) in (("none", 0), ("length", 0))
    else:
        assert ours.framing == framing
        assert framing != "length" or ours.content_length == length
    assert lower(ours.fields) == normal(lower(event.headers), ours.fields)


@fuzz
@given(response_heads(), st.sampled_from([b"GET", b"HEAD", b"POST"]))
def test_valid_responses(data: bytes, method: bytes) -> None:
    same_response(data, method)


@fuzz
@given(mutated(response_heads()), st.sampled_from([b"GET", b"HEAD", b"POST"]))
def test_damaged_responses(data: bytes, method: bytes) -> None:
    same_response(data, method)


@fuzz
@given(chunked_bodies(), st.lists(st.integers(0, 500), max_size=4), st.sampled_from([b"", b"GET /", b"\r\n"]))
def test_valid_chunked(data: bytes, cuts: list[int], tail: bytes) -> None:
    try:
        ours = decode(data + tail, cuts)
    except ProtocolError:
        pytest.fail(f"refused {data!r}")
    assert ours == h11_chunked(data + tail)
    assert ours[2]


@fuzz
@given(mutated(chunked_bodies()), st.lists(st.integers(0, 500), max_size=4))
def test_damaged_chunked(data: bytes, cuts: list[int]) -> None:
    results = []
    for pieces in ((), cuts, range(len(data))):
        try:
            results.append(decode(data, pieces))
        except ProtocolError:
            results.append(None)
    assert results[0] == results[1] == results[2], "how the bytes are cut changes nothing"
    if results[0] is not None and results[0][2]:
        try:
            theirs = h11_chunked(data)
        except h11.RemoteProtocolError as error:
            pytest.fail(f"h11 refuses what we accept: {error}: {data!r}")
        assert results[0] == theirs
