"""Plays one row of the corpus against a server and judges what becomes of the stream and the connection.

Strategy: where the connection may go on, a good request behind the row must be answered; it also tells when
the server is done with the row, since frames are processed in order."""

from __future__ import annotations

from dataclasses import dataclass

from http2.corpus import Expect, Row
from http2.frames import NO_ERROR
from http2.wire import Answer, H2Client

PROBE = 101  # above every stream of the corpus


@dataclass(frozen=True)
class Outcome:
    kind: str  # "goaway", "dropped" (the end without GOAWAY), "reset", "status", "ignored"
    code: int = 0

    def fits(self, expect: Expect) -> bool:
        allowed = {"goaway": expect.connection, "reset": expect.stream, "status": expect.status}
        if self.kind in allowed:
            return self.code in allowed[self.kind] or (self.kind == "goaway" and expect.silent)
        return expect.ignored if self.kind == "ignored" else expect.silent


def play(address: tuple[str, int], row: Row) -> Outcome:
    """What became of the row; AssertionError when it does not allow that, TimeoutError when nothing came."""
    with H2Client(address) as client:
        if row.started:
            client.start()
        for step in row.steps:
            octets = step(client) if callable(step) else step
            client.send_quietly(octets or b"")
        outcome = (
            _dropped(client) if row.expect.ends_connection and row.expect.silent else _observe(client, row)
        )
        assert outcome.fits(row.expect), f"{outcome}, but {row.expect}; frames: {client.frames[-8:]}"
        return outcome


def _dropped(client: H2Client) -> Outcome:
    """The server may think that this is HTTP/1.1, and say so in it: anything, as long as it ends."""
    client.read_until_close()
    return Outcome("dropped")


def _observe(client: H2Client, row: Row) -> Outcome:
    if row.expect.ends_connection:
        client.read_to_end()
        assert not client.answer(row.stream).status or row.expect.connection, client.answer(row.stream)
    else:
        client.get(PROBE)
        if not row.expect.ignored:
            client.read_answer(row.stream)
        client.read_answer(PROBE)
    if client.end:
        return Outcome("dropped") if client.goaway is None else Outcome("goaway", client.goaway[1])
    probe = client.answer(PROBE)
    assert (probe.status, probe.complete, probe.reset) == (200, True, None), f"the stream behind: {probe}"
    return _of(client.answer(row.stream))


def _of(answer: Answer) -> Outcome:
    """RST_STREAM after a whole response: NO_ERROR only asks for no more of the request (RFC 9113 8.1)."""
    if answer.reset is not None and not (answer.complete and answer.reset == NO_ERROR):
        return Outcome("reset", answer.reset)
    return Outcome("status", answer.status) if answer.status else Outcome("ignored")
