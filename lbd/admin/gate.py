"""Gate: what stands before the pages and the admin API, and lets no request of a stranger through.

    Host, token -> method -> pages, or: origin, content type, length of the body -> admin API

A web page in an operator's browser can send requests to addresses that only that browser reaches. So the Host
must be an address, not a name that somebody made point here (DNS rebinding); what changes something must not
come from another origin, and must be JSON, which no form can send (cross-site request forgery).
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

from lbd.admin.pages import OPEN_PATHS, PATHS, TEXT, Pages
from lbd.admin.slices import Message, Receive, Send, Slices, send_sliced
from lbd.config import schema
from lbd.config.units import split_address

LONGEST_BODY = 64 * 1024
BAD_HOST = "the Host of an admin request must be localhost or a loopback address, or there must be a token"
READING = ("GET", "HEAD")
CHANGING = ("PATCH", "POST", "PUT")
# None of these shows anything of this lbd, and a browser that opens them has no token yet.
DASHBOARD = "/dashboard"
OPEN_DOCUMENTS = ("/docs", "/openapi.json", DASHBOARD)

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Fields = list[tuple[bytes, bytes]]


class ClientGone(Exception):
    """The connection ended inside a request: nothing of it counts."""


class Refusal(NamedTuple):
    """Why a request goes no further. fields: of the response, beside the usual."""

    status: int
    why: str
    fields: tuple[tuple[bytes, bytes], ...] = ()


class Gate:
    """An ASGI application."""

    def __init__(self, settings: schema.Admin, pages: Pages, api: App) -> None:
        self._pages = pages
        self._api = api
        self._slices = Slices()
        self.configure(settings)

    def configure(self, settings: schema.Admin) -> None:
        """Whom it lets in, from the next request on."""
        self._token = settings.token.get_secret_value().encode() if settings.token is not None else None
        self._bind_host = split_address(settings.bind)[0]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Still percent-encoded: names of endpoints may have slashes.
        path = scope["path"] = scope["raw_path"].decode("ascii")
        refusal = self._refusal_at_all(path, scope)
        if refusal is not None:
            await _refuse(path, scope, refusal, send)
        elif path.startswith("/api/") or path in OPEN_DOCUMENTS:
            await self._to_api(path, scope, receive, send)
        elif is_browser_at_root(path, scope):
            await _answer(302, TEXT, b"", send, ((b"Location", DASHBOARD.encode()),))
        elif scope["method"] not in READING:
            allow = ((b"Allow", b"GET, HEAD"),)
            await _refuse(path, scope, Refusal(405, "only GET and HEAD", allow), send)
        else:
            await self._to_pages(path, scope, receive, send)

    async def _to_pages(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        status, kind, body = self._pages.answer(path)
        if isinstance(body, bytes):
            await _answer(status, kind, body, send)
            return
        fields = [(b"Content-Type", kind.encode()), (b"Cache-Control", b"no-store")]
        start = {"type": "http.response.start", "status": status, "headers": fields}
        if scope["method"] == "HEAD":  # without a length: it is not known before the page is made
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        await send_sliced(start, self._slices, body, receive, send)

    def _refusal_at_all(self, path: str, scope: Scope) -> Refusal | None:
        """Length, Host and token."""
        if values_of(scope, b"content-length") and values_of(scope, b"transfer-encoding"):
            return Refusal(400, "the length of the body could be read in two ways", CLOSE)
        known = self._token is not None and self._presents_token(scope)
        host = values_of(scope, b"host")
        if not known and (len(host) != 1 or not self._is_good_host(path, host[0])):
            return Refusal(403, BAD_HOST)
        is_open = path in (*OPEN_PATHS, *OPEN_DOCUMENTS) or is_browser_at_root(path, scope)
        if self._token is not None and not known and not is_open:
            return Refusal(
                401, "needs the admin token, as Authorization: Bearer", ((b"WWW-Authenticate", b"Bearer"),)
            )
        return None

    def _presents_token(self, scope: Scope) -> bool:
        given = values_of(scope, b"authorization")
        if len(given) != 1 or self._token is None:
            return False
        scheme, _, token = given[0].partition(" ")
        # in constant time: how long it takes must not say how much of a guess is right
        return scheme.lower() == "bearer" and hmac.compare_digest(
            token.strip().encode("latin-1"), self._token
        )

    def _is_good_host(self, path: str, host: str) -> bool:
        """Pages are for scrapers and probes, which use any address of this machine. Of the dashboard only the
        bare page passes without the token, by whatever name lbd may have."""
        if path in (DASHBOARD, "/") and self._token is not None:
            return True
        if path in PATHS or not path.startswith(("/api/", *OPEN_DOCUMENTS)):
            return is_address(host)
        return is_address(host) and (is_loopback(host) or name_of(host) == self._bind_host)

    async def _to_api(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        body: bytes | None = b""
        refusal = None
        if scope["method"] not in READING:
            refusal = refusal_of_change(scope)
            if refusal is None:
                try:
                    body = await read_body(receive)
                except ClientGone:
                    return
                if body is None:
                    refusal = Refusal(413, f"the body is longer than {LONGEST_BODY} bytes", CLOSE)
        if refusal is not None:
            await _refuse(path, scope, refusal, send)
            return

        async def receive_body() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        await self._api(scope, receive_body, _not_stored(send))


CLOSE = ((b"Connection", b"close"),)  # the rest of the body is not read


def refusal_of_change(scope: Scope) -> Refusal | None:
    """Does a request that changes something come from where it may, and in the form that it must have?"""
    if scope["method"] not in CHANGING:
        return Refusal(405, "only GET, PATCH, POST and PUT", ((b"Allow", b"GET, PATCH, POST, PUT"), *CLOSE))
    own = {f"{scheme}://{host.lower()}" for host in values_of(scope, b"host") for scheme in ("http", "https")}
    for origin in values_of(scope, b"origin"):
        if origin.lower() not in own:
            return Refusal(403, "changes are not taken from pages of another origin", CLOSE)
    if any(site not in ("same-origin", "none") for site in values_of(scope, b"sec-fetch-site")):
        return Refusal(403, "changes are not taken from pages of another site", CLOSE)
    kinds = values_of(scope, b"content-type")
    if [kind.partition(";")[0].strip().lower() for kind in kinds] != ["application/json"]:
        return Refusal(415, "the Content-Type must be application/json", CLOSE)
    length = values_of(scope, b"content-length")
    if length and int(length[0]) > LONGEST_BODY:  # h11 has seen that it is a number
        return Refusal(413, f"the body is longer than {LONGEST_BODY} bytes", CLOSE)
    return None


def is_browser_at_root(path: str, scope: Scope) -> bool:
    """Does somebody open the address of the admin listener, to look at it?"""
    wanted = ",".join(values_of(scope, b"accept"))
    return path == "/" and scope["method"] in READING and "text/html" in wanted


async def read_body(receive: Receive) -> bytes | None:
    """The whole body; None when it is too long. ClientGone."""
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > LONGEST_BODY:
            return None
    return body


def values_of(scope: Scope, name: bytes) -> list[str]:
    """The values of a field of the request."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def name_of(host: str) -> str | None:
    """The name in a Host value, without port and brackets; None when it is malformed."""
    if ":" not in host or host.endswith("]"):
        return host.strip("[]")
    try:
        return split_address(host)[0]
    except ValueError:
        return None


def is_address(host: str) -> bool:
    """Is a Host value an IP literal or localhost, with or without a port?"""
    name = name_of(host)
    if name is None:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.lower() == "localhost"
    return True


def is_loopback(host: str) -> bool:
    """Is a Host value that `is_address` one of this machine's own?"""
    name = name_of(host) or ""
    return name.lower() == "localhost" or ipaddress.ip_address(name).is_loopback


async def _refuse(path: str, scope: Scope, refusal: Refusal, send: Send) -> None:
    if path.startswith("/api/"):
        kind, body = "application/json", json.dumps({"error": refusal.why}).encode() + b"\n"
    else:
        kind, body = TEXT, refusal.why.encode() + b"\n"
    await _answer(refusal.status, kind, body, send, refusal.fields)


async def _answer(
    status: int, kind: str, body: bytes, send: Send, fields: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    usual = [
        (b"Content-Type", kind.encode()),
        (b"Content-Length", str(len(body)).encode()),
        (b"Cache-Control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": [*usual, *fields]})
    await send({"type": "http.response.body", "body": body})


def _not_stored(send: Send) -> Send:
    """Nothing of the API is kept by caches, or taken for another type than it is."""

    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            more = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
            message["headers"] = [*message.get("headers", []), *more]
        await send(message)

    return send_marked
