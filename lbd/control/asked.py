"""Asked: a request as somebody describes it (by flags, as JSON, in a config test), and the head it makes.

The head is what a client would send, so that the parser, the router and the rest see nothing else than they
do in service. Which listener it reaches follows from the URL, unless it is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lbd.config import schema, units
from lbd.config.expectations import AskedRequest, parse_client, parse_url
from lbd.config.patterns import parse_field_name, parse_field_value, parse_method
from lbd.config.units import BadValue

DEFAULT_PORTS = {"http": 80, "https": 443}
MOST_FIELDS = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `url` is None for one that names its listener; then `host` and `target` count.

    `body` is the announced length of its body, 0 for none; -1 for one of unknown length."""

    method: str = "GET"
    url: str | None = None
    host: str | None = None
    target: str = "/"
    fields: tuple[tuple[str, str], ...] = ()
    client: str = "127.0.0.1"
    listener: str | None = None
    body: int = 0

    @classmethod
    def of(cls, setting: AskedRequest) -> Asked:
        """The request of a config test."""
        return cls(
            method=setting.method,
            url=setting.url,
            host=setting.host,
            target=setting.path or "/",
            fields=tuple(setting.headers.items()),
            client=setting.client,
            listener=setting.listener,
            body=setting.body,
        )

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Asked:
        """From plain data, as `to_data` gives it, of whatever origin; BadValue."""
        known = {"method", "url", "host", "target", "fields", "client", "listener", "body"}
        if unknown := sorted(set(map(str, data)) - known):
            raise BadValue(f"unknown member {units.shorten(unknown[0])}")
        body, listener, target = data.get("body", 0), data.get("listener"), data.get("target") or "/"
        if isinstance(body, bool) or not isinstance(body, int) or not -1 <= body < 2**62:
            raise BadValue("body must be the length of the body in bytes, or -1")
        if listener is not None and not isinstance(listener, str):
            raise BadValue("listener must be text")
        if not isinstance(target, str) or not target.isascii() or not target.isprintable() or " " in target:
            raise BadValue("the path may have printable ASCII only; percent-encode the rest")
        return cls(
            method=parse_method(data.get("method") or "GET"),
            url=parse_url(data["url"]) if data.get("url") is not None else None,
            host=parse_field_value(data["host"]) if data.get("host") is not None else None,
            target=target,
            fields=_fields_of(data.get("fields") or ()),
            client=parse_client(data.get("client") or "127.0.0.1"),
            listener=listener,
            body=body,
        )

    def to_data(self) -> dict[str, Any]:
        """For JSON; what is not given is left out."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value for name, value in found.items() if value not in (None, (), 0)}

    @property
    def is_secure(self) -> bool | None:
        """Whether it comes over TLS; None when that is up to the listener."""
        return None if self.url is None else self.url.startswith("https:")

    @property
    def is_http(self) -> bool:
        """Whether it says more than where it connects to."""
        return self.url is not None or self.host is not None or bool(self.fields) or self.target != "/"

    def request_target(self) -> str:
        """Path and query as they stand in the request line."""
        if self.url is None:
            return self.target
        parts = urlsplit(self.url)
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def authority(self) -> str | None:
        """The value of Host, unless a field says another."""
        return self.host if self.url is None else urlsplit(self.url).netloc

    def head(self) -> bytes:
        """The head that a client would send, in HTTP/1.1."""
        given = {name.lower() for name, _ in self.fields}
        lines = [f"{self.method} {self.request_target()} HTTP/1.1"]
        authority = self.authority()
        if "host" not in given and authority is not None:
            lines.append(f"Host: {authority}")
        lines += [f"{name}: {value}" for name, value in self.fields]
        if self.body > 0 and not given & {"content-length", "transfer-encoding"}:
            lines.append(f"Content-Length: {self.body}")
        elif self.body < 0 and "transfer-encoding" not in given:
            lines.append("Transfer-Encoding: chunked")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _fields_of(given: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) > MOST_FIELDS:
        raise BadValue(f"fields must be a list of at most {MOST_FIELDS} pairs of name and value")
    found = []
    for pair in given:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise BadValue("fields must be a list of pairs of name and value")
        found.append((parse_field_name(pair[0]), parse_field_value(pair[1])))
    return tuple(found)


def choose_listener(asked: Asked, config: schema.Config) -> tuple[schema.Listener, str]:
    """The listener that the request reaches, and why that one. BadValue when it cannot be known."""
    listeners = config.listeners
    if asked.listener is not None:
        for one in listeners:
            if one.name == asked.listener:
                return one, "named"
        raise BadValue(
            f"there is no listener {units.shorten(asked.listener)}; there are {_listed(listeners)}"
        )
    if asked.url is None:
        if len(listeners) == 1:
            return listeners[0], "the only one"
        raise BadValue(f"several listeners could be meant; name one of {_listed(listeners)}")
    parts = urlsplit(asked.url)
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    at_port = [one for one in listeners if one.protocol == "http" and _is_bound(one, parts.hostname, port)]
    if len(at_port) == 1:
        return at_port[0], f"bound to port {port}"
    speaking = [
        one
        for one in at_port or listeners
        if one.protocol == "http" and (one.tls is not None) == (parts.scheme == "https")
    ]
    if len(speaking) == 1 and (at_port or parts.port is None):
        return speaking[0], f"the only one that speaks {parts.scheme}"
    if parts.port is not None and not at_port:
        raise BadValue(f"no http listener is bound to port {port}; name one of {_listed(listeners)}")
    raise BadValue(f"several listeners could be meant; name one of {_listed(speaking or listeners)}")


def _is_bound(listener: schema.Listener, host: str | None, port: int) -> bool:
    """Is there a bind with this port, and perhaps this address?"""
    for bind in listener.bind:
        bound, bound_port = units.split_address(bind)
        anywhere = bound in ("", "0.0.0.0", "::") or host is None or not units.is_ip(host)
        if bound_port == port and (anywhere or bound == host):
            return True
    return False


def _listed(listeners: Sequence[schema.Listener]) -> str:
    names = [one.name for one in listeners]
    return ", ".join(names if len(names) <= 20 else [*names[:20], f"{len(names) - 20} more"])
