"""The judge itself: against servers that do the wrong thing on cue, a row must fail."""

from __future__ import annotations

import pytest
from harness.origin import Origin, close, recv_at_least, send
from http2.corpus import DROPPED, IGNORED, MALFORMED, SERVED, Expect, connection, row, stream
from http2.frames import (
    DATA,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    MAGIC,
    PROTOCOL_ERROR,
    SETTINGS_ACK,
    data,
    frame,
    goaway,
    headers,
    indexed,
    ping,
    request,
    rst_stream,
    settings,
)
from http2.judge import PROBE, Outcome, play

OK, REFUSED = indexed(8), indexed(12)  # :status 200 and 400, RFC 7541 appendix A
HELLO = settings() + SETTINGS_ACK
BEHIND = headers(PROBE, OK)  # the answer to the good request behind the row
REQUEST = headers(1, request("/bad"))
PROTOCOL, BROKEN = connection(PROTOCOL_ERROR), stream(PROTOCOL_ERROR)


def judged(expect: Expect, answer: bytes) -> Outcome:
    """A server that greets, takes the row (and the request behind it, if any comes), says this and closes."""
    size = len(MAGIC + settings() + SETTINGS_ACK + REQUEST)
    if not expect.ends_connection:
        size += len(headers(PROBE, request("/probe")))
    with Origin([send(HELLO), recv_at_least(size), send(answer), close]) as server:
        return play(("127.0.0.1", server.port), row("case", "0", expect, REQUEST))


GOOD: dict[str, tuple[Expect, bytes, Outcome]] = {
    "goaway": (PROTOCOL, goaway(PROTOCOL_ERROR), Outcome("goaway", PROTOCOL_ERROR)),
    "reset": (BROKEN, rst_stream(1, PROTOCOL_ERROR) + BEHIND, Outcome("reset", PROTOCOL_ERROR)),
    "status": (MALFORMED, headers(1, REFUSED) + BEHIND, Outcome("status", 400)),
    "status-then-no-error": (
        MALFORMED,
        headers(1, REFUSED) + rst_stream(1, 0) + BEHIND,
        Outcome("status", 400),
    ),
    "served": (SERVED, headers(1, OK) + BEHIND, Outcome("status", 200)),
    "ignored": (IGNORED, BEHIND, Outcome("ignored")),
    "dropped": (DROPPED, b"", Outcome("dropped")),
    "one-of-two": (PROTOCOL | SERVED, headers(1, OK) + BEHIND, Outcome("status", 200)),
}
WRONG: dict[str, tuple[Expect, bytes]] = {
    "goaway-other-code": (PROTOCOL, goaway(FLOW_CONTROL_ERROR)),
    "goaway-no-error": (PROTOCOL, goaway(0)),
    "end-without-goaway": (PROTOCOL, b""),
    "end-instead-of-reset": (BROKEN, goaway(PROTOCOL_ERROR)),
    "reset-other-code": (BROKEN, rst_stream(1, FLOW_CONTROL_ERROR) + BEHIND),
    "reset-no-error": (MALFORMED, rst_stream(1, 0) + BEHIND),
    "served-though-malformed": (MALFORMED, headers(1, OK) + BEHIND),
    "served-then-reset": (SERVED, headers(1, OK) + rst_stream(1, PROTOCOL_ERROR) + BEHIND),
    "refused-though-good": (SERVED, headers(1, REFUSED) + BEHIND),
    "reset-instead-of-ignored": (IGNORED, rst_stream(1, PROTOCOL_ERROR) + BEHIND),
    "next-one-refused": (BROKEN, rst_stream(1, PROTOCOL_ERROR) + headers(PROBE, REFUSED)),
    "next-one-reset": (MALFORMED, headers(1, REFUSED) + rst_stream(PROBE, PROTOCOL_ERROR)),
}
# What the client refuses of any server, RFC 9113 4.2, 5.1, 6.9, 8.1, 8.3.2, 8.4.
FALSE: dict[str, bytes] = {
    "frame-too-long": frame(DATA, END_STREAM, 1, bytes(16385)),
    "even-stream": headers(2, OK) + BEHIND,
    "data-before-head": data(1, b"abc") + BEHIND,
    "data-after-end": headers(1, OK) + data(1, b"abc") + BEHIND,
    "window-exceeded": headers(1, OK, end=False) + data(1, bytes(16384), end=False) * 4 + BEHIND,
    "upper-case-name": headers(1, OK + b"\x00\x01X\x01y") + BEHIND,
    "connection-field": headers(1, OK + b"\x00\x0aconnection\x05close") + BEHIND,
    "no-status": headers(1, b"\x00\x01x\x01y") + BEHIND,
    "two-statuses": headers(1, OK + OK) + BEHIND,
    "push": frame(5, 4, 1, b"\0\0\0\2" + request("/x")) + BEHIND,
    "ping-on-stream": ping(stream=1) + BEHIND,
}


@pytest.mark.parametrize("name", GOOD)
def test_right_outcome_passes(name: str) -> None:
    expect, answer, outcome = GOOD[name]
    assert judged(expect, answer) == outcome


@pytest.mark.parametrize("name", WRONG)
def test_wrong_outcome_fails(name: str) -> None:
    with pytest.raises(AssertionError):
        judged(*WRONG[name])


@pytest.mark.parametrize("name", FALSE)
def test_false_server_fails(name: str) -> None:
    with pytest.raises(AssertionError):
        judged(SERVED, FALSE[name])


def test_first_frame_must_be_settings() -> None:
    with Origin([send(ping() + HELLO), recv_at_least(1), close]) as server, pytest.raises(AssertionError):
        play(("127.0.0.1", server.port), row("case", "0", PROTOCOL, REQUEST))
