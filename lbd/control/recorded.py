"""Recorded: an exchange as the flight recorder tells it, read back so that it can be decided once more.

It may come from a file that anybody wrote or cut off, so every member is looked at. What the recorder does
not keep, or has cut, is said here and nowhere guessed: fields of the request are never kept, its query only
with `recorder.query`, of its body no more than the bytes that came.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lbd.config.units import BadValue, shorten
from lbd.control.asked import Asked

METHOD_KEPT, HOST_KEPT, PATH_KEPT, NAME_KEPT = 16, 64, 192, 48  # bytes, as in engine/recorder.pxd
BODILESS = ("GET", "HEAD")
LONGEST = 4096  # characters of any text that is read
UNROUTED = "-"  # the route of requests that reach none


@dataclass(frozen=True, slots=True)
class Recorded:
    """`gap`: what is missing of it, so that nothing can be decided; "" when nothing is. `head`: as the client
    sent it, as far as it is known.

    `body`: its length in bytes, where `body_known`; else at least so many. `query`: whether it is known to
    have this one. Names are cut to NAME_KEPT bytes."""

    asked: Asked
    is_http: bool
    head: bytes
    query: bool
    body: int
    body_known: bool
    route: str | None
    cluster: str | None
    status: int | None
    reason: str | None
    ended: float
    example: Mapping[str, Any]
    gap: str = ""

    @property
    def bodiless(self) -> bool:
        return self.body_known and self.body == 0


def read_record(data: Any) -> Recorded:
    """From plain data, as `lbd recorder --json` and the admin API give it. BadValue with what is wrong."""
    if not isinstance(data, Mapping):
        raise BadValue("must be an object, as `lbd recorder --json` prints them")
    protocol, listener = _text(data, "protocol"), _text(data, "listener")
    if protocol is None or listener is None:
        raise BadValue("has no 'protocol' or no 'listener': it is no record of the flight recorder")
    is_http = protocol != "tcp"
    method, host, path = (_text(data, name) if is_http else None for name in ("method", "host", "path"))
    received, status, reason = _count(data, "bytes_received"), _count(data, "status"), _text(data, "reason")
    gap = _gap(method, host, path, reason) if is_http else ""
    target, _, query = (path or "/").partition("?")
    keeps_query = bool(query) and _bytes(path) != PATH_KEPT
    asked = _asked({
        "method": method if not gap else None,
        "host": host if not gap else None,
        "target": (path if keeps_query else target) if not gap else "/",
        "client": _text(data, "client"),
        "listener": listener,
        "body": (received or 0) if is_http else 0,
    })  # fmt: skip
    is_over = _text(data, "endpoint") is not None and reason is None and status is not None and status < 400
    return Recorded(
        asked=asked,
        is_http=is_http,
        head=_head(asked),
        query=keeps_query,
        body=received or 0,
        body_known=is_over or (not received and method in BODILESS),
        route=_name(data, "route"),
        cluster=_name(data, "cluster"),
        status=status,
        reason=reason,
        ended=_ended(data),
        example=_example(data, target if is_http and path is not None else None),
        gap=gap,
    )


def _head(asked: Asked) -> bytes:
    """HTTP/1.0 and HTTP/2 may come without a host."""
    head = asked.head()
    return head if asked.host is not None else head.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)


def _asked(request: dict[str, Any]) -> Asked:
    return Asked.from_data({name: value for name, value in request.items() if value is not None})


def _gap(method: str | None, host: str | None, path: str | None, reason: str | None) -> str:
    if method is None or path is None:
        return f"the request, which could not be read ({reason or 'no reason is recorded'})"
    if _bytes(method) == METHOD_KEPT:
        return f"the method beyond {METHOD_KEPT} bytes"
    if host is not None and _bytes(host) == HOST_KEPT:
        return f"the host beyond {HOST_KEPT} bytes"
    if _bytes(path) == PATH_KEPT and "?" not in path:
        return f"the path beyond {PATH_KEPT} bytes"
    return ""


def _bytes(text: str | None) -> int:
    return len((text or "").encode("utf-8", "surrogatepass"))


def _text(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    if value is not None and not isinstance(value, str):
        raise BadValue(f"{name} must be text, not {shorten(value)}")
    if value is not None and len(value) > LONGEST:
        raise BadValue(f"{name} is longer than {LONGEST} characters")
    return value


def _name(data: Mapping[str, Any], name: str) -> str | None:
    value = _text(data, name)
    return None if value in (None, UNROUTED) else value


def _count(data: Mapping[str, Any], name: str) -> int | None:
    value = data.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
        raise BadValue(f"{name} must be a whole number, not {shorten(value)}")
    return value


def _ended(data: Mapping[str, Any]) -> float:
    value = data.get("ended", 0.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise BadValue(f"ended must be Unix time, not {shorten(value)}")
    return float(value)


def _example(data: Mapping[str, Any], path: str | None) -> dict[str, Any]:
    """How it is shown: without its query, which may hold secrets."""
    names = ("request_id", "time", "client", "method", "host")
    shown = {name: _text(data, name) for name in names} | {"path": path}
    if shown["request_id"] is None:
        shown["id"] = _text(data, "id")
    return {name: value for name, value in shown.items() if value is not None}
