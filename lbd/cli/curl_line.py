"""A curl command line, as far as it says what request is made, not what curl does with the answer."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

# What has no bearing on the request: options without a value, and with one.
IGNORED = frozenset(
    (
        "-s",
        "--silent",
        "-S",
        "--show-error",
        "-v",
        "--verbose",
        "-i",
        "--include",
        "-k",
        "--insecure",
        "-L",
        "--location",
        "-f",
        "--fail",
        "-N",
        "--no-buffer",
        "-O",
        "--remote-name",
        "-J",
        "-#",
        "--progress-bar",
        "-4",
        "--ipv4",
        "-6",
        "--ipv6",
        "-g",
        "--globoff",
        "--path-as-is",
        "--http1.1",
        "--http2",
        "--http2-prior-knowledge",
        "--no-keepalive",
        "--tcp-nodelay",
        "--fail-with-body",
        "-q",
        "--disable",
        "--tlsv1.2",
        "--tlsv1.3",
    )
)
IGNORED_VALUES = frozenset(
    (
        "-o",
        "--output",
        "-w",
        "--write-out",
        "-m",
        "--max-time",
        "--connect-timeout",
        "--retry",
        "--retry-delay",
        "-c",
        "--cookie-jar",
        "--cacert",
        "--capath",
        "-E",
        "--cert",
        "--key",
        "--resolve",
        "--connect-to",
        "-x",
        "--proxy",
        "--interface",
        "--stderr",
        "--trace",
    )
)
DATA = ("-d", "--data", "--data-ascii", "--data-binary", "--data-raw", "--json", "--data-urlencode")
SHORT_WITH_VALUE = "XHdbAuoemwcExF"
FORM = "application/x-www-form-urlencoded"
PORTS = {"http": 80, "https": 443}


class NotUnderstood(Exception):
    """The line says no request; str() says why."""


@dataclass(slots=True)
class CurlLine:
    """The request, as Asked takes it, and what of the line was not understood."""

    request: dict[str, Any]
    unknown: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Said:
    url: str | None = None
    method: str | None = None
    fields: list[tuple[str, str]] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)  # fields of curl's own
    length: int | None = None  # of the body
    kind: str = FORM
    as_query: bool = False
    query: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def parse_curl(words: Sequence[str]) -> CurlLine:
    """The words behind `curl`, as a shell gives them. NotUnderstood."""
    said = _Said()
    for option, value in _options(words):
        _take(said, option, value)
    if said.url is None:
        raise NotUnderstood("the curl line has no URL")
    url = said.url if "://" in said.url else f"http://{said.url}"
    if said.as_query and said.query:
        url += ("&" if "?" in url else "?") + "&".join(said.query)
        said.length = None
    method = said.method or ("POST" if said.length is not None else "GET")
    request: dict[str, Any] = {"method": method, "url": _percent_encoded(url.partition("#")[0])}
    request["fields"] = _fields(said, method)
    if said.length:
        request["body"] = said.length
    return CurlLine(request, said.unknown)


def _options(words: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """(option, its value or None); URLs as option `--url`."""
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            yield from (("--url", one) for one in left)
            return
        if word.startswith("--"):
            takes = word in _LONG_WITH_VALUE or (word not in IGNORED and word not in _LONG_ALONE)
            known = word in _LONG_WITH_VALUE or word in IGNORED or word in _LONG_ALONE
            yield word, left.pop(0) if takes and known and left else None
        elif word.startswith("-") and len(word) > 1:
            yield from _short(word[1:], left)
        else:
            yield "--url", word


def _short(letters: str, left: list[str]) -> Iterator[tuple[str, str | None]]:
    """`-sXPOST`: letters may stand together, the last one with its value."""
    for at, letter in enumerate(letters):
        if letter in SHORT_WITH_VALUE:
            rest = letters[at + 1 :]
            yield f"-{letter}", rest or (left.pop(0) if left else "")
            return
        yield f"-{letter}", None


_LONG_WITH_VALUE = frozenset(
    {
        "--url",
        "--request",
        "--header",
        "--cookie",
        "--user-agent",
        "--user",
        "--referer",
        "--oauth2-bearer",
        *DATA,
    }
    | {word for word in IGNORED_VALUES if word.startswith("--")}
)
_LONG_ALONE = frozenset({"--head", "--get", "--compressed"})


def _take(said: _Said, option: str, value: str | None) -> None:
    text = value or ""
    if option == "--url":
        if said.url is not None:
            raise NotUnderstood("the curl line has several URLs; give one")
        said.url = text
    elif option in ("-X", "--request"):
        said.method = text
    elif option in ("-I", "--head"):
        said.method = said.method or "HEAD"
    elif option in ("-G", "--get"):
        said.as_query = True
    elif option in ("-H", "--header"):
        _take_field(said, text)
    elif option in ("-b", "--cookie"):
        if "=" not in text:
            said.unknown.append(f"{option} {text} (a file of cookies is not read)")
        else:
            said.fields.append(("cookie", text))
    elif option in ("-A", "--user-agent"):
        _take_field(said, f"user-agent: {text}" if text else "user-agent:")
    elif option in ("-e", "--referer"):
        said.fields.append(("referer", text))
    elif option in ("-u", "--user"):
        said.fields.append(("authorization", "Basic " + base64.b64encode(text.encode()).decode()))
    elif option == "--oauth2-bearer":
        said.fields.append(("authorization", f"Bearer {text}"))
    elif option == "--compressed":
        said.fields.append(("accept-encoding", "deflate, gzip, br, zstd"))
    elif option in DATA:
        _take_data(said, option, text)
    elif option not in IGNORED and option not in IGNORED_VALUES:
        said.unknown.append(option)


def _take_field(said: _Said, text: str) -> None:
    """`Name: value`; `Name:` takes away one of curl's own; `Name;` sends it empty."""
    if text.startswith("@"):
        said.unknown.append(f"-H {text} (a file of fields is not read)")
    elif text.endswith(";") and ":" not in text:
        said.fields.append((text[:-1].strip(), ""))
    else:
        name, colon, value = text.partition(":")
        if not colon:
            said.unknown.append(f"-H {text}")
        elif value.strip():
            said.fields.append((name.strip(), value.strip()))
        else:
            said.removed.add(name.strip().lower())


def _take_data(said: _Said, option: str, text: str) -> None:
    if text.startswith("@") and option not in ("--data-raw", "--data-urlencode"):
        said.unknown.append(f"{option} {text} (the file is not read: its length is not known)")
        text = ""
    if option == "--json":
        said.kind = "application/json"
    if option == "--data-urlencode":
        name, equals, value = text.partition("=")
        text = f"{name}{equals}{quote(value, safe='')}" if equals else quote(name, safe="")
    said.query.append(text)
    more = len(text.encode()) + (1 if said.length and option != "--json" else 0)  # joined by &
    said.length = (said.length or 0) + more


def _fields(said: _Said, method: str) -> list[list[str]]:
    """Those of curl's own first, unless they are given or taken away."""
    own = [("user-agent", "curl"), ("accept", "*/*")]
    if said.length is not None and not said.as_query:
        own.append(("content-type", said.kind))
        if said.kind == "application/json":
            own[1] = ("accept", said.kind)
    given = {name.lower() for name, _ in said.fields} | said.removed
    return [[name, value] for name, value in [*(pair for pair in own if pair[0] not in given), *said.fields]]


def _percent_encoded(url: str) -> str:
    """Blanks and what is not ASCII, as clients write them; user and password stay out."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    rest = url.split(parts.netloc, 1)[1] if parts.netloc else ""
    return f"{parts.scheme}://{host}{quote(rest, safe=_SAFE)}"


_SAFE = "".join(chr(code) for code in range(0x21, 0x7F))
