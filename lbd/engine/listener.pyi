from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from lbd.engine.cluster import Cluster
from lbd.engine.observer import Observer
from lbd.engine.reactor import Reactor
from lbd.engine.router import Respond, Router
from lbd.engine.shared import Shared
from lbd.engine.tls import ServerTls
from lbd.engine.trace import Tracer

Kind = Literal["request", "websocket", "tcp"]

class Listener:
    name: str
    reactor: Reactor
    router: Router | None
    cluster: Cluster | None
    access_log: Observer | None
    recorder: Observer | None
    tracer: Tracer | None
    observed: bool
    draining: bool
    tls: ServerTls | None
    well_known: dict[bytes, bytes] | None
    on_refused: Callable[[str, str, str, str], None] | None
    def __init__(
        self, name: str, reactor: Reactor, *, shared: Shared, worker: int = 0, **settings: Any
    ) -> None: ...
    def configure(
        self,
        *,
        router: Router | None = None,
        cluster: Cluster | None = None,
        access_log: Observer | None = None,
        head_ms: int = ...,
        body_ms: int = ...,
        idle_ms: int = ...,
        write_ms: int = ...,
        tunnel_ms: int = ...,
        request_line: int = ...,
        head: int = ...,
        fields: int = ...,
        body: int = ...,
        connections: int = ...,
        body_rate: int = ...,
        keep_underscore: bool = False,
        path_mode: int = 0,
        trusted: Iterable[str] = (),
        trailers: Iterable[str] = (),
        authority: bytes = ...,
        tls: ServerTls | None = None,
        proxy_sources: Iterable[str] = (),
        handshake_ms: int = ...,
        hsts: bytes | None = None,
        redirect: Respond | None = None,
        http2: Mapping[str, int] | None = None,
        rfc7239: bool = False,
    ) -> None: ...
    @property
    def open_connections(self) -> int: ...
    def observe(self, recorder: Observer | None = None, tracer: Tracer | None = None) -> None: ...
    def start_drain(self) -> int: ...
    def close_idle(self, fresh: bool = True) -> None: ...
    @property
    def websockets(self) -> int: ...
    def send_away(self, most: int) -> None: ...
    def cut(self, kind: Kind | None = None) -> None: ...
