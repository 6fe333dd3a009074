"""A corpus of requests and responses that proxies were fooled by, one file per family.

A row is raw bytes, the hazard it belongs to (shared/hazards.md) and what must become of it:
  refuse  answered with one of the statuses, connection closed, nothing complete reaches the endpoint
  accept  reaches the endpoint as exactly one well-formed request, and the next one on the connection too
  either  one of the two: the RFC leaves it open and lbd may take the stricter reading"""

from __future__ import annotations

from dataclasses import dataclass

Pairs = tuple[tuple[str, str], ...]

REASONS = {
    400: "bad_request", 405: "method_refused", 413: "body_too_large", 414: "target_too_long",
    431: "head_too_large", 501: "not_implemented", 505: "version_refused",
}


@dataclass(frozen=True)
class Row:
    id: str
    hazard: int
    raw: bytes
    expect: str
    status: tuple[int, ...] = (400,)
    target: str = "/"
    absent: tuple[str, ...] = ()  # field names that the endpoint must not see (row 9: in the trailers)
    present: Pairs = ()  # fields that it must see
    body: bytes | None = None  # the body that it must see

    def __str__(self) -> str:
        return f"{self.hazard:02d}-{self.id}"


def latin(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")


def raw(*lines: str | bytes, body: bytes = b"", host: bool = True) -> bytes:
    """A head: the request line, Host unless told otherwise, the fields; then the body as given."""
    first, *rest = map(latin, lines)
    fields = [b"Host: example.test", *rest] if host else rest
    return b"\r\n".join((first, *fields, b"", b"")) + body


def refuse(id: str, hazard: int, data: bytes, *status: int) -> Row:
    return Row(id, hazard, data, "refuse", status or (400,))


def accept(id: str, hazard: int, data: bytes, **expectations: object) -> Row:
    return Row(id, hazard, data, "accept", **expectations)  # type: ignore[arg-type]


def either(id: str, hazard: int, data: bytes, *status: int, **expectations: object) -> Row:
    return Row(id, hazard, data, "either", status or (400,), **expectations)  # type: ignore[arg-type]
