"""Settings of `tests`: requests, and where they must go. Part of `schema.py`."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from lbd.config import units
from lbd.config.transport import Settings
from lbd.config.types import Authority, FieldName, FieldValue, Identifier, Integer, Label, Method, Size
from lbd.config.units import BadValue


def parse_url(value: object) -> str:
    """`http://host[:port]/path?query`, or https; BadValue."""
    text = value if isinstance(value, str) else ""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise BadValue(f"{units.shorten(text)} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise BadValue("must be a URL such as http://api.example.com/v1/users?page=2")
    if parts.username is not None:
        raise BadValue("must not hold a user or password; give the Authorization field instead")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise BadValue("may have printable ASCII only; percent-encode the rest")
    return text


def parse_client(value: object) -> str:
    """An IP address."""
    if not isinstance(value, str) or not units.is_ip(value):
        raise BadValue("must be an IP address")
    return value


def _parse_target(value: object) -> str:
    if not isinstance(value, str) or not value.startswith(("/", "*")):
        raise BadValue("must be a path such as /v1/users?page=2")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise BadValue("may have printable ASCII only; percent-encode the rest")
    return value


class AskedRequest(Settings):
    """A request. Give `url`, or `host` and `path`."""

    method: Method = Field(default="GET", description="Request method.")
    url: Annotated[str, PlainValidator(parse_url), WithJsonSchema({"type": "string"})] | None = Field(
        default=None, description="`http://host[:port]/path?query`, or https."
    )
    host: Authority | None = Field(default=None, description="Host, in place of `url`.")
    path: (
        Annotated[str, PlainValidator(_parse_target), WithJsonSchema({"type": "string", "pattern": "^[/*]"})]
        | None
    ) = Field(default=None, description="Path and query, in place of `url`; `/` when absent.")
    headers: dict[FieldName, FieldValue] = Field(default_factory=dict, description="Header fields.")
    client: Annotated[str, PlainValidator(parse_client), WithJsonSchema({"type": "string"})] = Field(
        default="127.0.0.1", description="IP address that it comes from."
    )
    body: Size = Field(default=0, description="Announced length of its body.")
    listener: Identifier | None = Field(
        default=None,
        description="Listener that it reaches; found by the port or scheme of `url` when absent.",
    )


def _read_request(value: Any) -> Any:
    """`POST http://host/path` -> its parts."""
    if not isinstance(value, str):
        return value
    method, blank, url = value.strip().rpartition(" ")
    return {"method": method.strip(), "url": url} if blank else {"url": url}


class Expected(Settings):
    """What must come of a request. What is not given does not matter."""

    route: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Name of the route, or `listener[index]`; `none` for no route."
    )
    cluster: Identifier | None = Field(
        default=None, description="Cluster that the route leads to, in whatever state it is."
    )
    endpoint: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Endpoint (name or address) while all are well; where a key decides."
    )
    status: Annotated[Integer, Field(ge=200, le=599)] | None = Field(
        default=None, description="Status of an answer by lbd itself: fixed, redirect or refusal."
    )
    captures: dict[Identifier, str] = Field(
        default_factory=dict, description="What the path of the route captures."
    )
    labels: dict[Identifier, Label] = Field(
        default_factory=dict, description="Labels that the route wants of endpoints (`endpoint_labels`)."
    )


class ConfigTest(Settings):
    """A request, and where it must go: run by `lbd check`, by `lbd plan` and before every reload."""

    name: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        default=None, description="What it is about."
    )
    request: Annotated[AskedRequest, BeforeValidator(_read_request)] = Field(
        description="The request: `METHOD URL`, or a mapping."
    )
    expect: Expected = Field(description="What must come of it.")
