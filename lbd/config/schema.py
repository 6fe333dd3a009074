"""The one place of every setting, its default and its description.

Pydantic models, frozen, unknown settings refused. Types in `types.py` read the human spellings; rules
between settings are in `rules.py` and run with `Config`, so that a Config built in code is as sound as
one from a file. All errors of a Config are found in one run, in plain words (`messages.py`).

Invariants: after validation durations are float seconds, sizes int bytes, every "one or many" setting is
a tuple, names and addresses are in canonical spelling, every cluster reference exists. The descriptions
feed the JSON Schema and docs/configuration.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    PlainValidator,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from lbd import registry
from lbd.config import rules
from lbd.config.balancer import BalancerChoice, BalancerSetting
from lbd.config.discovery import Discover, Resolver
from lbd.config.earlier import EARLIER, Earlier
from lbd.config.expectations import ConfigTest
from lbd.config.health import AdaptiveLimit, Breaker, HealthCheck, PassiveCheck, PassiveCheckSetting
from lbd.config.messages import merge_errors, suggest
from lbd.config.observing import AccessLogSetting, Log, LogTarget, Recorder, RecorderSetting, Tracing
from lbd.config.placement import Regions, Zones
from lbd.config.places import Places
from lbd.config.resilience import Retry, RetryBudget, Status
from lbd.config.sessions import Sticky
from lbd.config.transport import (
    Acme,
    ClusterHttp2,
    ClusterTlsSetting,
    HstsSetting,
    HttpsRedirectSetting,
    ListenerHttp2,
    ListenerHttp2Setting,
    ListenerTls,
    Settings,
    SocketOptions,
)
from lbd.config.types import (
    Authority,
    BindAddress,
    BindAddresses,
    CookieName,
    CountOrNone,
    Duration,
    DurationOrNone,
    EndpointAddress,
    FieldName,
    FieldValue,
    FilePath,
    Globs,
    HostPatterns,
    Identifier,
    Integer,
    Label,
    Methods,
    Networks,
    PathPatterns,
    Percentage,
    Port,
    PositiveDuration,
    QueryName,
    ResponseFieldName,
    Size,
    SizeCondition,
    SizeOrNone,
    Token,
    TrailerName,
    ValuePatterns,
)
from lbd.config.units import BadValue, shorten

KIB, MIB, GIB = 2**10, 2**20, 2**30


class Admin(Settings):
    """The admin listener: metrics, probes and the admin API."""

    bind: BindAddress = Field(
        default="127.0.0.1:9900",
        description="Address of the admin listener, or `unix:/path`; beyond loopback it needs `token`.",
    )
    token: Token | None = Field(
        default=None,
        description="What clients send as `Authorization: Bearer`, except for /live and /ready.",
    )
    gateway_metrics: bool = Field(
        default=False,
        description="Four metrics in /metrics once more, with the names `gateway_*` that other gateways use.",
    )
    audit_log: LogTarget | None = Field(
        default=None,
        description="Where each change is written as a line of JSON, besides lbd's log: as `access_log.to`.",
    )


class ListenerTimeouts(Settings):
    """How long a listener waits for a client."""

    handshake: PositiveDuration = Field(
        default=10.0, description="For the PROXY header and the TLS handshake, together."
    )
    head: PositiveDuration = Field(
        default=10.0, description="For the whole head of a request, from its first byte."
    )
    body: PositiveDuration = Field(default=30.0, description="Between two reads of a request body.")
    idle: PositiveDuration = Field(default=75.0, description="For the next request on a kept connection.")
    write: PositiveDuration = Field(default=30.0, description="For a client that does not read its response.")
    tunnel: PositiveDuration = Field(
        default=3600.0, description="Without a byte in either direction of a TCP or upgraded connection."
    )


class ListenerLimits(Settings):
    """What a listener accepts from a client."""

    request_line: Annotated[Size, Field(ge=64, le=64 * KIB)] = Field(
        default=8 * KIB, description="Longest request line; a longer one is answered with 414."
    )
    head: Annotated[Size, Field(ge=256, le=64 * KIB)] = Field(
        default=32 * KIB, description="Longest request head; a longer one is answered with 431."
    )
    fields: Annotated[Integer, Field(ge=1, le=1000)] = Field(
        default=100, description="Most header fields of a request; more are answered with 431."
    )
    body: SizeOrNone = Field(
        default=GIB, description="Longest request body; a longer one is answered with 413."
    )
    body_rate: Annotated[Size, Field(le=GIB)] = Field(
        default=100,
        description="Bytes per second that a request body must keep up on average, after 30 s; 0 = any rate.",
    )
    connections: Annotated[Integer, Field(ge=1)] = Field(
        default=20000, description="Most open client connections."
    )


class RouteTimeouts(Settings):
    """Timeouts of one route; they override those of the cluster."""

    response: PositiveDuration | None = Field(
        default=None, description="For the response head, in place of the cluster's."
    )
    body: PositiveDuration | None = Field(
        default=None, description="Between two reads of a response body, in place of the cluster's."
    )
    total: PositiveDuration | None = Field(
        default=None, description="For the whole exchange, further attempts included; then 504."
    )
    tunnel: PositiveDuration | None = Field(
        default=None, description="Without a byte on a WebSocket, in place of the listener's."
    )


class RouteLimits(Settings):
    """Limits of one route; they override those of the listener."""

    body: Size | None = Field(default=None, description="Longest request body, in place of the listener's.")
    tunnels: Annotated[Integer, Field(ge=1)] | None = Field(
        default=None, description="Most WebSockets open at a time on this route; more get 503."
    )


class MatchClientCertificate(Settings):
    """What the verified certificate of a client must be like."""

    subject: Globs | None = Field(
        default=None, description="Subject, such as `CN=alice,O=Example*` (RFC 4514)."
    )
    san: Globs | None = Field(
        default=None, description="Any of its alternative names: DNS name, address, e-mail or URI."
    )
    fingerprint: Globs | None = Field(
        default=None, description="SHA-256 of the certificate, 64 hexadecimal digits in lower case."
    )


class Match(Settings):
    """What a request must be like. All conditions that are given must hold; a list means any of."""

    host: HostPatterns = Field(
        default=(), description="Host: exact, or `*.example.com` for one or more labels."
    )
    path: PathPatterns = Field(
        default=(),
        description="Path: exact `/a/b`, prefix `/v1/*` or template `/users/:id`, `/models/:name:generate`.",
    )
    method: Methods = Field(default=(), description="Request method.")
    header: dict[FieldName, ValuePatterns] = Field(
        default_factory=dict,
        description="Header fields: name to glob, list of globs, true (present) or false (absent).",
    )
    query: dict[QueryName, ValuePatterns] = Field(
        default_factory=dict, description="Query parameters, like `header`."
    )
    cookie: dict[CookieName, ValuePatterns] = Field(
        default_factory=dict, description="Cookies, like `header`."
    )
    source: Networks = Field(default=(), description="IP address or network of the client.")
    client_certificate: MatchClientCertificate | None = Field(
        default=None, description="Verified certificate of the client."
    )
    body_size: SizeCondition | None = Field(
        default=None, description='Announced length of the request body, such as `"> 10MB"` or `"<= 1MiB"`.'
    )


class Respond(Settings):
    """A fixed answer by lbd itself."""

    status: Annotated[Integer, Field(ge=200, le=599)] = Field(default=200, description="Status code.")
    headers: dict[ResponseFieldName, FieldValue] = Field(
        default_factory=dict, description="Header fields of the answer."
    )
    body: str = Field(default="", description="Body of the answer.")


class Route(Settings):
    """Which requests go where."""

    name: Identifier | None = Field(
        default=None, description="Name in logs and metrics; `listener[index]` when absent."
    )
    match: Match = Field(default=Match(), description="Conditions; without any, every request matches.")
    priority: Integer = Field(default=0, description="Routes of higher priority are tried first.")
    cluster: Identifier | None = Field(default=None, description="Cluster that serves the request.")
    respond: Respond | None = Field(default=None, description="Fixed answer in place of a cluster.")
    timeouts: RouteTimeouts = Field(
        default=RouteTimeouts(), description="Timeouts that differ from the cluster's."
    )
    limits: RouteLimits = Field(default=RouteLimits(), description="Limits that differ from the listener's.")
    retry: Retry | None = Field(default=None, description="Further attempts, in place of the cluster's.")
    urgency: Literal["high", "normal", "low"] = Field(
        default="normal", description="Who waits, and who is refused, when a cluster is overloaded."
    )
    endpoint_labels: dict[Identifier, Label] = Field(
        default_factory=dict, description="Only endpoints with all of these labels serve; without any: 503."
    )


class Listener(Settings):
    """An accepting socket and its protocol."""

    name: Identifier = Field(description="Name in logs and metrics.")
    bind: BindAddresses = Field(
        description="Address or list of addresses: `0.0.0.0:8080`, `[::1]:8080`, `:8080` for all addresses."
    )
    protocol: Literal["http", "tcp"] = Field(
        default="http", description="What is spoken: HTTP, or any bytes over TCP."
    )
    cluster: Identifier | None = Field(
        default=None,
        description="Cluster that serves everything: required for tcp, for http in place of `routes`.",
    )
    routes: tuple[Route, ...] = Field(default=(), description="Routes, for http in place of `cluster`.")
    tls: ListenerTls | None = Field(default=None, description="TLS termination; plain text when absent.")
    http2: ListenerHttp2Setting = Field(
        default=ListenerHttp2(), description="`off`, or limits of HTTP/2 (by ALPN, or at once without TLS)."
    )
    https_redirect: HttpsRedirectSetting = Field(
        default=None,
        description="Answer everything with a redirect to https, in place of `routes`; or `true`.",
    )
    hsts: HstsSetting = Field(
        default=None, description="Strict-Transport-Security on each response over TLS; or `true`."
    )
    proxy_protocol: Networks = Field(
        default=(), description="Addresses of proxies in front that must send a PROXY header, v1 or v2."
    )
    socket: SocketOptions = Field(default=SocketOptions(), description="Options of the clients' sockets.")
    trusted_proxies: Networks = Field(
        default=(), description="Addresses of proxies in front whose forwarding fields are believed."
    )
    forwarded: bool = Field(
        default=False, description="Send endpoints `Forwarded` (RFC 7239) beside the `X-Forwarded-` fields."
    )
    timeouts: ListenerTimeouts = Field(
        default=ListenerTimeouts(), description="How long to wait for a client."
    )
    limits: ListenerLimits = Field(default=ListenerLimits(), description="What is accepted from a client.")
    path: Literal["normalize", "reject", "as_is"] = Field(
        default="normalize",
        description="A path not in normal form: take its normal form, answer 400, or take it as received.",
    )
    underscore_fields: Literal["drop", "keep"] = Field(
        default="drop", description="Header fields with `_` in their name."
    )
    trailers: tuple[TrailerName, ...] = Field(
        default=(), description="Trailer fields that may pass, beside a built-in short list."
    )
    backlog: Port = Field(
        default=4096, description="Connections that the kernel may hold before they are accepted."
    )
    access_log: AccessLogSetting | None = Field(
        default=None, description="Access log of this listener; the general one when absent."
    )


class Endpoint(Settings):
    """One server of a cluster."""

    address: EndpointAddress = Field(description="host:port of the server.")
    weight: Annotated[Integer, Field(ge=0, le=65535)] = Field(
        default=1, description="Share of the requests; 0 gets none."
    )
    labels: dict[Identifier, Label] = Field(
        default_factory=dict, description="Free labels such as zone or version."
    )
    name: Identifier | None = Field(
        default=None, description="Name in logs and metrics; the address when absent."
    )
    priority: Annotated[Integer, Field(ge=0, le=15)] = Field(
        default=0, description="Tier: those of 0 serve first, the next ones what these cannot."
    )
    health_check: bool = Field(default=True, description="Whether the cluster's `health_check` is for it.")


def _read_endpoint(value: Any) -> Any:
    return {"address": value} if isinstance(value, str) else value


EndpointSetting = Annotated[Endpoint, BeforeValidator(_read_endpoint)]


class ClusterTimeouts(Settings):
    """How long to wait for an endpoint."""

    connect: PositiveDuration = Field(default=2.0, description="For a new connection.")
    response: PositiveDuration = Field(
        default=30.0, description="For the response head, from the end of the request."
    )
    body: PositiveDuration = Field(default=30.0, description="Between two reads of a response body.")
    idle: PositiveDuration = Field(default=50.0, description="How long an unused connection is kept.")
    queue: PositiveDuration = Field(
        default=5.0, description="For a free connection when `connections.max` is reached."
    )


class Connections(Settings):
    """Connections to each endpoint."""

    max: CountOrNone = Field(default=1024, description="Most open connections per endpoint.")
    idle: Annotated[Integer, Field(ge=0)] = Field(
        default=256, description="Most unused connections kept per endpoint."
    )
    lifetime: DurationOrNone = Field(
        default=3600.0, description="Age at which a connection is not used again."
    )
    requests: CountOrNone = Field(
        default=None, description="Requests after which a connection is not used again."
    )
    pending: Annotated[Integer, Field(ge=0)] = Field(
        default=1024, description="Most exchanges that wait for a connection, per endpoint."
    )
    warm: Annotated[Integer, Field(ge=0, le=10000)] = Field(
        default=0, description="Unused connections kept open ahead of need, per usable endpoint."
    )
    learn_idle: bool = Field(
        default=True,
        description="Learn after how long an endpoint closes unused connections, and stay below that.",
    )


class Fallback(Settings):
    """What serves while a cluster takes none: its breaker is open, a limit reached, or no endpoint left."""

    cluster: Identifier | None = Field(default=None, description="Another cluster.")
    respond: Respond | None = Field(default=None, description="Fixed answer.")


class Cluster(Settings):
    """A named group of endpoints."""

    name: Identifier = Field(description="Name that routes, logs and metrics use.")
    balancer: BalancerSetting = Field(
        default=BalancerChoice(name="round_robin"),
        description="How an endpoint is chosen: a name, or a name with options.",
    )
    sticky: Sticky | None = Field(
        default=None, description="Sessions that stay with their endpoint; none when absent."
    )
    endpoints: tuple[EndpointSetting, ...] = Field(
        default=(),
        description="The servers: `host:port`, or a mapping of the settings below.",
        json_schema_extra={"minItems": 1},
    )
    discover: Discover | None = Field(
        default=None, description="Where more servers are found, in place of `endpoints` or beside them."
    )
    protocol: Literal["http1", "http2", "auto"] = Field(
        default="http1", description="What is spoken with the endpoints; auto: what ALPN chooses."
    )
    http2: ClusterHttp2 = Field(default=ClusterHttp2(), description="HTTP/2 to the endpoints.")
    tls: ClusterTlsSetting = Field(default=None, description="TLS to the endpoints; or `true`.")
    proxy_protocol: Literal["v1", "v2"] | None = Field(
        default=None, description="Send a PROXY header, so that endpoints learn the client's address."
    )
    socket: SocketOptions = Field(default=SocketOptions(), description="Options of the endpoints' sockets.")
    timeouts: ClusterTimeouts = Field(
        default=ClusterTimeouts(), description="How long to wait for an endpoint."
    )
    connections: Connections = Field(default=Connections(), description="Connections to each endpoint.")
    health_check: HealthCheck | None = Field(
        default=None, description="Active checks of the endpoints; none when absent."
    )
    passive_check: PassiveCheckSetting = Field(
        default=PassiveCheck(), description="`off`, or when endpoints are held back by how requests end."
    )
    breaker: Breaker | None = Field(default=None, description="Circuit breaker; none when absent.")
    fallback: Fallback | None = Field(
        default=None, description="What serves while this cluster cannot; 503 when absent."
    )
    failure_statuses: tuple[Status, ...] = Field(
        default=(502, 503, 504), description="Responses that count as failures of the endpoint."
    )
    adaptive_limit: AdaptiveLimit | None = Field(
        default=None, description="Limit of exchanges that finds itself; more are answered with 503."
    )
    slow_start: PositiveDuration | None = Field(
        default=None, description="How long an endpoint that comes up gets less than its share."
    )
    overprovision: Annotated[float, Field(ge=1, le=10)] = Field(
        default=1.4, description="A tier (or local zone) with this many times what it needs spills nothing."
    )
    zones: Zones | None = Field(default=None, description="How zones share; they do not matter when absent.")
    regions: Regions | None = Field(
        default=None, description="Which region serves; they do not matter when absent."
    )
    panic_threshold: Percentage | None = Field(
        default=None, description="With a smaller share of usable endpoints all of them serve; absent: never."
    )
    retry: Retry = Field(default=Retry(), description="When a request is sent again.")
    retry_budget: RetryBudget = Field(
        default=RetryBudget(), description="How many further attempts there may be."
    )
    max_requests: CountOrNone = Field(
        default=None, description="Most exchanges and connections under way; more are answered with 503."
    )
    host: Authority | None = Field(
        default=None, description="Host sent to the endpoints; the client's when absent."
    )


def _known_rule(value: Any) -> str:
    known = registry.names("lint")
    if value not in known:
        raise BadValue(f"there is no rule {shorten(value)}{suggest(str(value), known)}")
    return str(value)


class Lint(Settings):
    """What `lbd check` warns of beyond errors."""

    ignore: tuple[
        Annotated[str, PlainValidator(_known_rule), WithJsonSchema({"enum": list(registry.names("lint"))})],
        ...,
    ] = Field(default=(), description="Rules (docs/lint.md) that are not looked at.")


def _read_workers(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise BadValue("must be a whole number of at least 1, or auto")


class Config(Settings):
    """A whole configuration."""

    workers: Annotated[
        int | Literal["auto"],
        BeforeValidator(_read_workers),
        WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto"}]}),
    ] = Field(default=1, description="Processes that serve clients; `auto`: one for each core.")
    pin_workers: bool = Field(default=False, description="Whether each worker stays on a core of its own.")
    zone: Identifier | None = Field(default=None, description="The zone where lbd itself runs.")
    region: Identifier | None = Field(default=None, description="The region where lbd itself runs.")
    environment: str | None = Field(default=None, description="A label such as production or staging.")
    admin: Admin | None = Field(
        default=None, description="Admin listener with metrics, probes and the admin API; absent = none."
    )
    log: Log = Field(default=Log(), description="lbd's own log, on stderr.")
    access_log: AccessLogSetting = Field(
        default="off", description="`off`, or the access log of every listener."
    )
    recorder: RecorderSetting = Field(
        default=Recorder(), description="`off`, or the flight recorder of every listener."
    )
    tracing: Tracing | None = Field(default=None, description="Traces; none when absent.")
    drain_timeout: Duration = Field(
        default=30.0, description="How long a stop waits for exchanges in flight."
    )
    websocket_drain_timeout: Duration | None = Field(
        default=None,
        description="How long it waits for WebSockets; in the first half of it their clients are told to go "
        "away, one after the other; `drain_timeout` when absent.",
    )
    tcp_drain_timeout: Duration | None = Field(
        default=None,
        description="How long it waits for connections of tcp listeners; `drain_timeout` when absent.",
    )
    user: str | None = Field(
        default=None,
        min_length=1,
        description="Whom lbd becomes when it was started as root and its addresses are bound; root stays "
        "root when absent.",
    )
    group: str | None = Field(
        default=None, min_length=1, description="Its group; that of `user` when absent."
    )
    state_directory: FilePath = Field(
        default="/var/lib/lbd",
        description="Where lbd keeps what outlives it: ACME accounts and keys, states set for endpoints.",
    )
    acme: Acme = Field(default=Acme(), description="The authority for listeners with `tls.acme`.")
    resolver: Resolver = Field(default=Resolver(), description="How host names of endpoints are resolved.")
    listeners: tuple[Listener, ...] = Field(
        description="Where clients are accepted.", json_schema_extra={"minItems": 1}
    )
    clusters: tuple[Cluster, ...] = Field(default=(), description="Where requests are sent.")
    tests: tuple[ConfigTest, ...] = Field(
        default=(), description="Requests and where they must go; a reload that breaks one is refused."
    )
    lint: Lint = Field(default=Lint(), description="What `lbd check` warns of.")
    _places: Places = PrivateAttr(default_factory=Places)

    @property
    def places(self) -> Places:
        """Where its settings are written."""
        return self._places

    @property
    def drain_timeouts(self) -> tuple[float, float, float]:
        """Seconds, of requests, WebSockets and connections of tcp listeners."""
        websocket, tcp = (
            self.drain_timeout if given is None else given
            for given in (self.websocket_drain_timeout, self.tcp_drain_timeout)
        )
        return self.drain_timeout, websocket, tcp

    def written_at(self, places: Places) -> None:
        """For the loader: where it has read the settings."""
        self._places = places

    @model_validator(mode="wrap")
    @classmethod
    def _check_all(
        cls, data: Any, handler: ModelWrapValidatorHandler[Config], info: ValidationInfo
    ) -> Config:
        """Types and rules in one run: an error of the one does not hide those of the other."""
        earlier: Earlier | None = (info.context or {}).get(EARLIER)
        config: Config | None = None
        failure: ValidationError | None = None
        try:
            config = handler(data if earlier is None else earlier.put_in(data))
        except ValidationError as error:
            failure = error
        found = merge_errors(cls, failure, rules.check(data))
        if found:
            raise ValidationError.from_exception_data(cls.__name__, found)
        assert config is not None
        if earlier is not None:
            earlier.learn([config.clusters, *(listener.routes for listener in config.listeners)])
        return config
