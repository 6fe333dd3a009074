"""Endpoints that follow the RFCs, by h11: they answer, and report what they saw.

EchoOrigin tells in JSON what reached it; HttpOrigin(answer) answers as the function says. Whatever h11
refuses is kept in connection.malformed: a proxy must never let that happen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import h11

from harness.client import Fields, text
from harness.origin import Connection, Origin


@dataclass
class Seen:
    """A request as the endpoint saw it; names in lower case, order kept."""

    method: str
    target: str
    version: str
    fields: Fields
    connection: int
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    complete: bool = False

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name.lower()]


@dataclass
class Answer:
    status: int = 200
    fields: Fields = field(default_factory=list)
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    chunked: bool = False
    informational: list[tuple[int, Fields]] = field(default_factory=list)


def echo(seen: Seen) -> Answer:
    """What was seen, as JSON."""
    report = {
        "method": seen.method, "target": seen.target, "version": seen.version, "headers": seen.fields,
        "length": len(seen.body), "sha256": hashlib.sha256(seen.body).hexdigest(), "trailers": seen.trailers,
    }
    return Answer(fields=[("content-type", "application/json")], body=json.dumps(report).encode())


class HttpOrigin(Origin):
    def __init__(self, answer: Callable[[Seen], Answer] = echo):
        super().__init__([self._serve])
        self.answer = answer
        self.requests: list[Seen] = []  # every request whose head arrived; see .complete

    @property
    def complete(self) -> list[Seen]:
        return [seen for seen in list(self.requests) if seen.complete]

    @property
    def malformed(self) -> list[str]:
        return [item.malformed for item in list(self.connections) if item.malformed]

    def targets(self) -> list[str]:
        return [seen.target for seen in self.complete]

    def _serve(self, connection: Connection) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        while (seen := self._read(connection, http)) is not None:
            for event in _events(self.answer(seen), seen):
                if not connection.send(http.send(event) or b""):
                    return
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                connection.close()
                return
            http.start_next_cycle()

    def _read(self, connection: Connection, http: h11.Connection) -> Seen | None:
        seen: Seen | None = None
        while True:
            try:
                event = http.next_event()
            except h11.RemoteProtocolError as error:
                if not connection.ended:
                    connection.malformed = f"{error}: {bytes(connection.received[-400:])!r}"
                connection.close()
                return None
            if event is h11.NEED_DATA:
                if http.they_are_waiting_for_100_continue:
                    connection.send(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                data = connection.recv()
                if not data and not connection.ended:
                    return None
                http.receive_data(data)
            elif isinstance(event, h11.Request):
                seen = Seen(event.method.decode(), event.target.decode(), event.http_version.decode(),
                            text(event.headers), connection.index)
                self.requests.append(seen)
            elif isinstance(event, h11.Data) and seen:
                seen.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and seen:
                seen.trailers, seen.complete = text(event.headers), True
                return seen
            else:
                return None


class EchoOrigin(HttpOrigin):
    def __init__(self) -> None:
        super().__init__(echo)


def _events(answer: Answer, seen: Seen) -> list[h11.Event]:
    events: list[h11.Event] = [
        h11.InformationalResponse(status_code=status, headers=fields) for status,
        fields in answer.informational
    ]
    fields = list(answer.fields)
    if answer.chunked:
        fields.append(("transfer-encoding", "chunked"))
    elif answer.status not in (204, 304) and "content-length" not in dict(fields):
        fields.append(("content-length", str(len(answer.body))))
    events.append(h11.Response(status_code=answer.status, headers=fields, reason=b"Said so"))
    if answer.body and seen.method != "HEAD" and answer.status not in (204, 304):
        events.append(h11.Data(data=answer.body))
    events.append(h11.EndOfMessage(headers=answer.trailers if answer.chunked else []))
    return events
