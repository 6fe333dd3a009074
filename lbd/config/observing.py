"""Settings of what is written down: lbd's own log, the access log, the flight recorder, traces."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from lbd.config.messages import OFF, ON
from lbd.config.transport import Settings
from lbd.config.types import CollectorUrl, Integer, Percentage, PositiveDuration, RequestFields
from lbd.config.units import BadValue, parse_endpoint_address

JOURNAL = "journald"
SYSLOG = "syslog"

# in the order of a line; a test holds it against the engine's
LogField = Literal[
    "time",
    "environment",
    "request_id",
    "trace_id",
    "span_id",
    "client",
    "method",
    "host",
    "target",
    "path",
    "protocol",
    "tls",
    "status",
    "bytes_received",
    "bytes_sent",
    "duration",
    "queue",
    "connect",
    "first_byte",
    "grpc_status",
    "listener",
    "route",
    "cluster",
    "endpoint",
    "reason",
    "attempts",
    "referer",
    "user_agent",
]
RingSize = Annotated[Integer, Field(ge=1, le=65536)]
Facility = Literal[
    "user", "daemon", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"
]


class Log(Settings):
    """lbd's own log, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least important kind of event; `lbd log-level` changes it at run time."
    )
    format: Literal["text", "json"] = Field(
        default="text", description="`TIME LEVEL message`, or an object per line: time, level, message."
    )


def _target(value: str) -> str:
    """Where lines go, checked: `stdout`, `journald[:PATH]`, `syslog[:ADDRESS]`, or a path."""
    kind, colon, rest = value.partition(":")
    if not value:
        raise BadValue("must not be empty")
    if any(ord(c) < 32 for c in value):
        raise BadValue("must not hold control characters")
    if kind == JOURNAL and colon and not rest.startswith("/"):
        raise BadValue("what follows journald: must be the absolute path of a socket")
    if kind == SYSLOG and colon:
        return f"{SYSLOG}:{parse_endpoint_address(rest)}"
    return value


LogTarget = Annotated[str, AfterValidator(_target)]


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise BadValue("must name a field; leave the setting out for the usual ones")
    if twice := [name for index, name in enumerate(value) if name in value[:index]]:
        raise BadValue(f"names {twice[0]} twice")
    return value


class AccessLog(Settings):
    """One line per request, and per TCP connection."""

    to: LogTarget = Field(
        default="stdout",
        description="`stdout`, the path of a file, `journald`, `syslog` (at /dev/log), "
        "`syslog:unix:/path` or `syslog:host:port` (UDP).",
    )
    format: Literal["json", "combined"] = Field(
        default="json", description="One JSON object per line, or the combined format of Apache and nginx."
    )
    fields: Annotated[tuple[LogField, ...], AfterValidator(_distinct)] | None = Field(
        default=None, description="Fields of a JSON line, in their order; the usual ones when absent."
    )
    sample: Percentage = Field(
        default=1.0, description="Share of the requests that get a line; failed and slow ones always do."
    )
    slow: PositiveDuration = Field(default=1.0, description="What takes as long is slow, for `sample`.")
    facility: Facility = Field(default="local0", description="Of syslog messages.")
    tag: Annotated[str, Field(pattern=r"^[!-~]{1,48}$")] = Field(
        default="lbd", description="Name of the program in syslog messages and journal entries."
    )


class Recorder(Settings):
    """The flight recorder: the last exchanges, in memory of a fixed size for each worker."""

    size: RingSize = Field(default=1024, description="Exchanges that are remembered, whatever their outcome.")
    errors: RingSize = Field(default=512, description="Failed ones that are remembered beside these.")
    slow: RingSize = Field(default=256, description="Slow ones that are remembered beside these.")
    slow_after: PositiveDuration = Field(default=1.0, description="What takes as long is slow.")
    query: bool = Field(default=False, description="Remember queries of URLs, which may hold secrets.")


class Tracing(Settings):
    """Traces: W3C trace context for endpoints, spans for a collector by OTLP over HTTP."""

    endpoint: CollectorUrl = Field(
        description="URL of the collector, such as http://127.0.0.1:4318; /v1/traces without a path."
    )
    sample: Percentage = Field(default=0.1, description="Share of the traces that begin here.")
    parent: Literal["always", "trusted", "never"] = Field(
        default="always",
        description="Whose trace is taken up, with its decision to sample: any client's, that of trusted "
        "proxies, or nobody's.",
    )
    id_fields: bool = Field(
        default=False,
        description="Send endpoints X-Trace-ID, X-Span-ID, X-Parent-Span-ID and X-Route-Name, too.",
    )
    headers: RequestFields = Field(
        default_factory=dict, description="Further header fields for the collector, such as credentials."
    )
    timeout: PositiveDuration = Field(default=10.0, description="For the collector.")
    compression: Literal["gzip", "none"] = Field(default="gzip", description="Of what is sent to it.")
    queue: Annotated[Integer, Field(ge=1, le=65536)] = Field(
        default=2048, description="Exchanges that wait for export; more are dropped and counted."
    )
    service: Annotated[str, Field(min_length=1, max_length=256)] = Field(
        default="lbd", description="`service.name` of the spans."
    )
    resource: dict[str, Annotated[str, Field(max_length=1024)]] = Field(
        default_factory=dict, description="Further attributes of the resource, such as service.namespace."
    )


def _kind(value: Any) -> str:
    return OFF if isinstance(value, str) else ON


AccessLogSetting = Annotated[
    Annotated[AccessLog, Tag(ON)] | Annotated[Literal["off"], Tag(OFF)],
    Discriminator(_kind),
]
RecorderSetting = Annotated[
    Annotated[Recorder, Tag(ON)] | Annotated[Literal["off"], Tag(OFF)],
    Discriminator(_kind),
]
