"""Checks of patterns and names: hosts, paths, globs, methods, field names, identifiers.

Each parse_x takes what the user wrote and returns its canonical text, or raises ValueError with a
sentence for the user. What a pattern *matches* is decided by the engine's router; here is only what may
be written.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address

from lbd.config.units import BadValue, shorten

IDENTIFIER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
TOKEN_PATTERN = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST_PATTERN = re.compile(r"(?:\*\.)?[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_CAPTURE = re.compile(r":([A-Za-z_][A-Za-z0-9_]*)((?::[^:]+)*)")
_CAPTURE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATH_TEXT = re.compile(r"/[\x21-\x7e]*")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# What the engine's router looks at (MAX_DEPTH, MAX_CAPTURES in engine/router.pxd).
MOST_SEGMENTS = 64
MOST_CAPTURES = 16

# RFC 9110 section 6.5.1: fields of framing, routing, authentication and content must not be trailers.
_NEVER_TRAILERS = frozenset(
    [
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "max-forwards",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "www-authenticate",
    ]
)
_NEVER_IN_RESPONSE = frozenset(
    [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)


def parse_identifier(value: object) -> str:
    """The name of a listener, route, cluster, endpoint or label."""
    text = _text(value)
    if not _IDENTIFIER.fullmatch(text):
        raise BadValue(
            f"{shorten(text)} is not a valid name; use up to 64 letters, digits, '_', '.' and '-', "
            "beginning with a letter or a digit"
        )
    return text


def parse_host_pattern(value: object) -> str:
    """`api.example.com` or `*.example.com`, lower-cased, without a port."""
    text = _text(value).lower()
    if not text.isascii():
        raise BadValue(f"{shorten(text)} is not ASCII; write an international name in its xn-- form")
    if text in ("*", ""):
        raise BadValue("to match every host leave out 'host'")
    if text.startswith("["):
        return _parse_ipv6_host(text)
    if ":" in text:
        raise BadValue(f"{shorten(text)}: write the host without a port")
    if "*" in text.removeprefix("*."):
        raise BadValue(f"{shorten(text)}: '*' may only stand for the first labels, like *.example.com")
    if not _HOST_PATTERN.fullmatch(text):
        raise BadValue(f"{shorten(text)} is not a host name; write it like api.example.com or *.example.com")
    return text


def _parse_ipv6_host(text: str) -> str:
    if not text.endswith("]"):
        raise BadValue(f"{shorten(text)}: write the host without a port")
    try:
        return f"[{IPv6Address(text[1:-1])}]"
    except ValueError:
        raise BadValue(f"{shorten(text)} is not an IPv6 address") from None


def parse_plain_path(value: object) -> str:
    """A path pattern without captures: `/a/b` or `/v1/*`."""
    text = parse_path_pattern(value)
    if "/:" in text:
        raise BadValue(f"{shorten(text)}: captures have no meaning here; write /a/b or /a/*")
    return text


def parse_path_pattern(value: object) -> str:
    """`/a/b`, `/v1/*`, `/:uuid/items/:item:publish`: checked segment by segment."""
    text = _text(value)
    if not text.startswith("/"):
        raise BadValue(f"{shorten(text)} must begin with '/'")
    if "?" in text or "#" in text:
        raise BadValue(f"{shorten(text)}: a path has no '?' or '#'; match the query with 'query'")
    if not _PATH_TEXT.fullmatch(text):
        raise BadValue(f"{shorten(text)}: write spaces and characters outside ASCII as %XX")
    segments = text[1:].split("/")
    if len(segments) > MOST_SEGMENTS:
        raise BadValue(f"{shorten(text)}: a path pattern has at most {MOST_SEGMENTS} segments")
    captures: set[str] = set()
    for index, segment in enumerate(segments):
        if segment in (".", ".."):
            raise BadValue(f"{shorten(text)}: a '.' or '..' segment never matches")
        if segment == "*" and index == len(segments) - 1:
            continue
        if "*" in segment:
            raise BadValue(f"{shorten(text)}: '*' may only be the last segment, like /v1/*")
        if segment.startswith(":"):
            _check_capture(text, segment, captures)
    if len(captures) > MOST_CAPTURES:
        raise BadValue(f"{shorten(text)}: a path pattern has at most {MOST_CAPTURES} captures")
    return text


def _check_capture(text: str, segment: str, captures: set[str]) -> None:
    match = _CAPTURE.fullmatch(segment)
    if match is None:
        raise BadValue(
            f"{shorten(text)}: {shorten(segment)} is not a capture; write :name or :name:suffix "
            "(letters, digits, '_')"
        )
    if match[1] in captures:
        raise BadValue(f"{shorten(text)}: ':{match[1]}' is captured twice")
    captures.add(match[1])


def parse_method(value: object) -> str:
    """A request method; methods are case-sensitive and nearly always upper-case."""
    text = _text(value)
    if not _TOKEN.fullmatch(text):
        raise BadValue(f"{shorten(text)} is not a request method")
    if text != text.upper():
        raise BadValue(f"methods are case-sensitive; did you mean {text.upper()!r}?")
    if text == "CONNECT":
        raise BadValue("CONNECT is always refused by lbd and never reaches a route")
    return text


def parse_field_name(value: object) -> str:
    """The name of a header field or cookie-like token, lower-cased (field names are case-insensitive)."""
    text = _text(value)
    if not _TOKEN.fullmatch(text):
        raise BadValue(f"{shorten(text)} is not a valid header name")
    return text.lower()


def parse_cookie_name(value: object) -> str:
    """The name of a cookie; case-sensitive."""
    text = _text(value)
    if not _TOKEN.fullmatch(text):
        raise BadValue(f"{shorten(text)} is not a valid cookie name")
    return text


def parse_query_name(value: object) -> str:
    """The name of a query parameter, as it is after decoding; case-sensitive."""
    text = _text(value)
    if not text or _CONTROL.search(text):
        raise BadValue(f"{shorten(text)} is not a valid query parameter name")
    return text


def parse_capture_name(value: object) -> str:
    """The name of a capture of a route's path, as in /users/:id, without the colon."""
    text = _text(value)
    if not _CAPTURE_NAME.fullmatch(text):
        raise BadValue(f"{shorten(text)} is not the name of a capture (letters, digits, '_'; no ':')")
    return text


def parse_trailer_name(value: object) -> str:
    """A field that may pass as a trailer; fields that steer framing or routing never may."""
    name = parse_field_name(value)
    if name in _NEVER_TRAILERS:
        raise BadValue(f"{name!r} must never be a trailer (RFC 9110 section 6.5.1)")
    return name


def parse_response_field_name(value: object) -> str:
    """A header of a fixed response; those of framing are set by lbd itself."""
    name = parse_field_name(value)
    if name in _NEVER_IN_RESPONSE:
        raise BadValue(f"{name!r} is set by lbd itself and cannot be given")
    return name


def parse_field_value(value: object) -> str:
    """The value of a header: one line that latin-1 can carry."""
    text = _text(value)
    if _CONTROL.search(text):
        raise BadValue("a header value cannot contain control characters or line ends")
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        raise BadValue("a header value cannot contain characters outside Latin-1") from None
    return text.strip(" \t")


def parse_authority(value: object) -> str:
    """The Host that endpoints get to see: a name or IP address, with an optional port."""
    text = _text(value)
    if not _AUTHORITY.fullmatch(text):
        raise BadValue(f"{shorten(text)} is not a host; write it like app.internal or app.internal:8080")
    return text


def parse_value_patterns(value: object) -> tuple[str, ...] | bool:
    """The condition on a value: glob, list of globs, true (present), false (absent)."""
    if isinstance(value, bool):
        return value
    globs = list(value) if isinstance(value, (list, tuple)) else [value]
    if not globs:
        raise BadValue("must not be an empty list; write true for 'present' or false for 'absent'")
    return tuple(_parse_glob(glob) for glob in globs)


def _parse_glob(value: object) -> str:
    if not isinstance(value, str):
        raise BadValue(
            "must be text with optional '*', a list of such texts, true (present) or false (absent)"
            + ("; put numbers in quotes" if isinstance(value, (int, float)) else "")
        )
    if _CONTROL.search(value):
        raise BadValue(f"{shorten(value)}: control characters never match")
    if "**" in value:
        raise BadValue(f"{shorten(value)}: write one '*'; it already stands for any run of characters")
    return value


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        raise BadValue("must be text; put the value in quotes")
    raise BadValue("must be text")
