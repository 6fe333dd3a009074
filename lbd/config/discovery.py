"""Settings of where endpoints come from: name servers, files and their kin. Part of `schema.py`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from lbd.config import units
from lbd.config.transport import Settings
from lbd.config.types import (
    EndpointAddress,
    FilePath,
    HostName,
    Identifier,
    Integer,
    Label,
    PositiveDuration,
)
from lbd.config.units import BadValue

DNS_PORT = 53


def parse_name_server(value: object) -> str:
    """`10.0.0.53`, `10.0.0.53:5353` or `[fd00::53]:53` -> address with port."""
    if not isinstance(value, str):
        raise BadValue("must be the address of a name server, such as 10.0.0.53 or 10.0.0.53:53")
    text = value.strip()
    host, port = (text, DNS_PORT) if units.is_ip(text) else units.split_address(text)
    if not units.is_ip(host) or port == 0:
        raise BadValue(f"{units.shorten(text)} is not an IP address, or one with a port")
    return units.join_address(host, port)


NameServer = Annotated[str, PlainValidator(parse_name_server), WithJsonSchema({"type": "string"})]


class Resolver(Settings):
    """How host names of endpoints are resolved: the hosts file first, then name servers."""

    servers: tuple[NameServer, ...] = Field(
        default=(), description="Name servers, `ip` or `ip:port`; those of the system when absent."
    )
    timeout: PositiveDuration = Field(
        default=2.0, description="For an answer to the first try; later tries wait longer."
    )
    attempts: Annotated[Integer, Field(ge=1, le=10)] = Field(
        default=2, description="Tries with each name server."
    )
    min_ttl: PositiveDuration = Field(
        default=5.0, description="How long an answer is used at least, whatever its TTL."
    )
    max_ttl: PositiveDuration = Field(
        default=3600.0, description="How long an answer is used at most before it is asked for again."
    )
    negative_ttl: PositiveDuration = Field(
        default=5.0, description="Wait before asking again for a name without addresses."
    )


class Discover(Settings):
    """Where a cluster finds its endpoints: exactly one of `dns`, `srv` and `file`."""

    dns: EndpointAddress | None = Field(
        default=None, description="host:port; every address of the host is an endpoint."
    )
    srv: HostName | None = Field(
        default=None,
        description="Name of SRV records, such as `_http._tcp.app.internal`, with priorities and weights.",
    )
    file: FilePath | None = Field(
        default=None, description="YAML or JSON file with a list like `endpoints`; it is watched for changes."
    )
    labels: dict[Identifier, Label] = Field(
        default_factory=dict, description="Labels of all endpoints that are found."
    )
