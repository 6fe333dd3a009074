"""Everything that a client can do wrong in HTTP/2, one file per family, one row per rule.

A row is steps after the connection preface (bytes, or a function of the client that gives bytes or waits)
and the outcomes that RFC 9113 and its companions leave a server. The paths in the rows tell what the endpoint
may see of them: /setup anything, /cut a head but never a complete request, all else nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from http2.frames import PROTOCOL_ERROR
from http2.wire import H2Client

Step = bytes | Callable[[H2Client], bytes | None]
Codes = frozenset[int]
NONE: Codes = frozenset()


@dataclass(frozen=True)
class Expect:
    """The outcomes that are fine; several may be given. `|` joins two."""

    connection: Codes = NONE  # GOAWAY with one of these codes, then the end of the connection
    stream: Codes = NONE  # RST_STREAM with one of these codes, all else goes on
    status: Codes = NONE  # an HTTP response with one of these, all else goes on
    ignored: bool = False  # nothing on the stream, all else goes on
    silent: bool = False  # the end of the connection without GOAWAY; any bytes before it are fine

    def __or__(self, other: Expect) -> Expect:
        return Expect(
            self.connection | other.connection,
            self.stream | other.stream,
            self.status | other.status,
            self.ignored or other.ignored,
            self.silent or other.silent,
        )

    @property
    def ends_connection(self) -> bool:
        """No outcome leaves the connection open, so that nothing can be asked after it."""
        return not (self.stream or self.status or self.ignored)


def connection(*codes: int) -> Expect:
    return Expect(connection=frozenset(codes))


def stream(*codes: int) -> Expect:
    return Expect(stream=frozenset(codes))


def status(*codes: int) -> Expect:
    return Expect(status=frozenset(codes))


SERVED = status(200)
IGNORED = Expect(ignored=True)
DROPPED = Expect(silent=True)
# RFC 9113 8.1.1: a stream error PROTOCOL_ERROR; a response before it is allowed. Ending the connection is
# too, but would take the requests of others behind the same intermediary with it.
MALFORMED = stream(PROTOCOL_ERROR) | status(400)


@dataclass(frozen=True)
class Row:
    id: str
    section: str  # of RFC 9113, or "7541 5.1", "8441 4", "9110 8.6", "7838 4"
    steps: tuple[Step, ...]
    expect: Expect
    stream: int = 1  # where the outcome shows
    started: bool = True  # the preface was done properly before the steps

    def __str__(self) -> str:
        return f"{self.section.replace(' ', '-')}-{self.id}"


def row(id: str, section: str, expect: Expect, *steps: Step, stream: int = 1) -> Row:
    return Row(id, section, steps, expect, stream)


def raw(id: str, section: str, expect: Expect, *steps: Step) -> Row:
    """From the first byte on."""
    return Row(id, section, steps, expect, started=False)


def answered(number: int) -> Step:
    """Wait for the answer on that stream."""

    def step(client: H2Client) -> None:
        assert client.read_answer(number).status == 200, client.answer(number)

    return step
