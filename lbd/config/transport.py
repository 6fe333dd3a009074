"""Settings of what carries the protocols: sockets, TLS, certificates, HTTP/2. Part of `schema.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from lbd.config.messages import OFF, ON
from lbd.config.types import (
    AcmeHosts,
    AcmeUrl,
    CipherList,
    DurationOrNone,
    FilePath,
    HostName,
    HostPatterns,
    Identifier,
    Integer,
    Port,
    PositiveDuration,
    Size,
)


class Settings(BaseModel):
    """Base of all models: immutable, and a setting that does not exist is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __reduce__(self) -> tuple[Any, ...]:
        """Equal settings are equal bytes, in any process: the order of a set would differ."""
        given = sorted(self.__pydantic_fields_set__)
        return _restored, (type(self), self.__dict__, given, self.__pydantic_private__)


def _restored(
    kind: type[Settings], values: dict[str, Any], given: list[str], private: dict[str, Any] | None
) -> Settings:
    made = kind.__new__(kind)
    setting = object.__setattr__  # they are frozen
    setting(made, "__dict__", values)
    setting(made, "__pydantic_fields_set__", set(given))
    setting(made, "__pydantic_extra__", None)
    setting(made, "__pydantic_private__", private)
    return made


def _read_switch(value: Any) -> Any:
    """`true` for the defaults, `false` for nothing."""
    return {} if value is True else None if value is False else value


class Certificate(Settings):
    """A certificate of a TLS listener and its private key, PEM files that are read again on change."""

    cert: FilePath = Field(description="PEM file of the certificate, followed by its intermediates.")
    key: FilePath = Field(description="PEM file of the private key, without a passphrase.")
    hosts: HostPatterns = Field(
        default=(), description="Host names (SNI) that it serves; those in the certificate when absent."
    )


class ListenerAcme(Settings):
    """Certificates that this listener gets by ACME; the account is set up under the general `acme`."""

    hosts: AcmeHosts = Field(
        description="Host names: each gets a certificate of its own.", json_schema_extra={"minItems": 1}
    )


class ClientCertificate(Settings):
    """Certificates of clients (mutual TLS)."""

    ca: FilePath = Field(description="PEM file of the authorities whose client certificates are accepted.")
    mode: Literal["required", "optional"] = Field(
        default="required", description="Whether a client without a certificate is refused."
    )


class ListenerTls(Settings):
    """TLS termination on a listener."""

    certificates: tuple[Certificate, ...] = Field(
        default=(), description="Certificates; SNI chooses among them, the first one is the default."
    )
    acme: ListenerAcme | None = Field(
        default=None, description="Certificates from Let's Encrypt or another ACME authority."
    )
    min_version: Literal["1.2", "1.3"] = Field(default="1.2", description="Oldest TLS version accepted.")
    ciphers: CipherList | None = Field(
        default=None,
        description="Cipher suites of TLS 1.2, in OpenSSL's spelling; modern ones by default.",
    )
    strict_sni: bool = Field(
        default=False, description="Refuse the handshake when no certificate covers the SNI, or without SNI."
    )
    session_tickets: bool = Field(
        default=True, description="Let clients resume sessions, with keys that all workers share."
    )
    client_certificate: ClientCertificate | None = Field(
        default=None, description="Ask clients for a certificate; none by default."
    )
    ocsp_stapling: bool = Field(
        default=False,
        description="Accepted for the sake of other balancers' users, with a warning: it does nothing.",
    )


class HttpsRedirect(Settings):
    """Every request is answered with a redirect to https."""

    port: Port = Field(default=443, description="Port of the https listener that clients see.")
    status: Literal[301, 302, 307, 308] = Field(default=308, description="Status of the redirect.")


class Hsts(Settings):
    """Strict-Transport-Security (RFC 6797) on each response over TLS."""

    max_age: PositiveDuration = Field(default=31536000.0, description="How long browsers insist on https.")
    include_subdomains: bool = Field(default=False, description="Also for all names below this host.")
    preload: bool = Field(default=False, description="Consent to the browsers' built-in lists.")


HttpsRedirectSetting = Annotated[HttpsRedirect | None, BeforeValidator(_read_switch)]
HstsSetting = Annotated[Hsts | None, BeforeValidator(_read_switch)]


class SocketOptions(Settings):
    """Options of TCP sockets; what is not given stays with the system's defaults."""

    keepalive: DurationOrNone = Field(
        default=75.0, description="Silence after which TCP asks whether the peer is alive; none = never."
    )
    user_timeout: PositiveDuration | None = Field(
        default=None, description="How long sent data may stay unacknowledged (TCP_USER_TIMEOUT)."
    )
    congestion: Identifier | None = Field(
        default=None, description="Congestion control such as cubic or bbr; the kernel must offer it."
    )
    fast_open: Annotated[Integer, Field(ge=0, le=65535)] = Field(
        default=0,
        description="TCP Fast Open: length of a listener's queue, any number for a cluster; 0 = off.",
    )


class ListenerHttp2(Settings):
    """Limits of HTTP/2 connections of clients; each guards against one known attack."""

    streams: Annotated[Integer, Field(ge=1, le=10000)] = Field(
        default=128, description="Most requests at a time on one connection."
    )
    window: Annotated[Size, Field(ge=65535, le=16 * 2**20)] = Field(
        default=256 * 2**10, description="Request body bytes that a stream may have in flight."
    )
    header_table: Annotated[Size, Field(le=64 * 2**10)] = Field(
        default=4 * 2**10, description="Memory of the header compression (HPACK) in each direction."
    )
    continuations: Annotated[Integer, Field(ge=0, le=1000)] = Field(
        default=8, description="Most CONTINUATION frames of one head."
    )
    settings: Annotated[Integer, Field(ge=1, le=1000)] = Field(
        default=32, description="Most entries of one SETTINGS frame."
    )
    pending_acks: Annotated[Integer, Field(ge=1, le=100000)] = Field(
        default=1000, description="Most answers to PING and SETTINGS that wait for the client to read."
    )
    resets: Annotated[Integer, Field(ge=1)] = Field(
        default=200, description="Streams that may be reset in a row, by either side; then 33 per second."
    )
    glitches: Annotated[Integer, Field(ge=1)] = Field(
        default=1000,
        description="Useless frames (empty DATA, PRIORITY, PING, ...) in a row; then 100 per second.",
    )


def _http2_kind(value: Any) -> str:
    return OFF if isinstance(value, str) else ON


ListenerHttp2Setting = Annotated[
    Annotated[ListenerHttp2, Tag(ON)] | Annotated[Literal["off"], Tag(OFF)],
    Discriminator(_http2_kind),
]


class ClusterTls(Settings):
    """TLS to the endpoints; their certificates are verified."""

    ca: FilePath | None = Field(
        default=None, description="PEM file of the authorities trusted; the system's when absent."
    )
    sni: HostName | None = Field(
        default=None,
        description="Name to ask for and to verify; the host of the endpoint's address when absent.",
    )
    cert: FilePath | None = Field(
        default=None, description="PEM file of lbd's own certificate, if one is asked for."
    )
    key: FilePath | None = Field(default=None, description="PEM file of its private key.")
    min_version: Literal["1.2", "1.3"] = Field(default="1.2", description="Oldest TLS version accepted.")
    insecure_skip_verify: bool = Field(
        default=False,
        description="Do not verify certificates: anybody on the way can read and change everything.",
    )


ClusterTlsSetting = Annotated[ClusterTls | None, BeforeValidator(_read_switch)]


class ClusterHttp2(Settings):
    """HTTP/2 to the endpoints."""

    streams: Annotated[Integer, Field(ge=1, le=10000)] = Field(
        default=100, description="Most requests at a time on one connection; the endpoint may allow fewer."
    )


class Acme(Settings):
    """The ACME authority (RFC 8555) that certificates come from, and how its challenges are answered."""

    directory: AcmeUrl = Field(
        default="https://acme-v02.api.letsencrypt.org/directory",
        description="URL of the authority's directory.",
    )
    email: str | None = Field(default=None, description="Where the authority may write to.")
    ca: FilePath | None = Field(
        default=None,
        description="PEM file of the authority's own https certificate; the system's when absent.",
    )
    challenge: Literal["tls-alpn-01", "http-01"] = Field(
        default="tls-alpn-01",
        description="How control of a host is proven: on port 443 by TLS, or on port 80 by an http listener.",
    )
    renew_before: PositiveDuration = Field(
        default=2592000.0,
        description="How long before its end a certificate is renewed; at most a third of its life.",
    )
