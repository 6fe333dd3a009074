"""HAProxy as an expert sets it up: see `proxies` for what holds for all."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.compare.origin import Site
from bench.compare.proxies import ON_REQUEST, Proxy, first_version

CONFIG = """\
global
    maxconn {maxconn}
    nbthread 1
    {settings}
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
    timeout http-keep-alive 1h
    option http-keep-alive
    http-reuse always
    no log
    backlog 4096
backend origin
    server origin 127.0.0.1:{origin} pool-max-conn 256
backend origin-tcp
    mode tcp
    {splice}
    server origin 127.0.0.1:{origin}
backend origin-large
    {splice}
    server origin 127.0.0.1:{origin} pool-max-conn 256
frontend web
    bind 127.0.0.1:{http}
    option forwardfor
    http-request set-header X-Forwarded-Proto http
    default_backend origin
frontend web-large
    bind 127.0.0.1:{large}
    {splice}
    option forwardfor
    http-request set-header X-Forwarded-Proto http
    default_backend origin-large
frontend raw
    mode tcp
    bind 127.0.0.1:{tcp}
    {splice}
    default_backend origin-tcp
"""

FRONTEND = """\
frontend {name}
    bind 127.0.0.1:{listen}
    option forwardfor
    http-request set-header X-Forwarded-Proto {scheme}
    default_backend {to}
"""

# Sessions are resumed by tickets, as with the others; a cache beside them would only be more work.
TLS = "ssl-default-bind-options ssl-min-ver TLSv1.2\n    tune.ssl.cachesize 0"


@dataclass
class Haproxy(Proxy):
    """Tuned: splices in TCP mode and, on a listener of its own, large HTTP bodies; small ones are copied.

    Not `splice-auto`: its heuristics hardly ever splice here, which costs twice the CPU of splicing always.
    """

    name: str = "haproxy"
    roles: tuple[str, ...] = ("http", "large", "tcp", *ON_REQUEST)
    config_name: str = "haproxy.cfg"
    program: str = "haproxy"

    def version(self) -> str:
        return first_version([self.find() or self.program, "-v"])

    def _more(self, ports: Mapping[str, int], site: Site) -> str:
        """Frontends and backends of the roles that are not always there."""
        text = ""
        if "tls" in ports:
            bind = f"{ports['tls']} ssl crt {site.certified().both} alpn h2,http/1.1"
            text += FRONTEND.format(name="tls", listen=bind, scheme="https", to="origin")
        if "h2c" in ports:
            text += FRONTEND.format(name="h2c", listen=f"{ports['h2c']} proto h2", scheme="http", to="origin")
        if "grpc" in ports:
            text += f"backend origin-grpc\n    server origin 127.0.0.1:{site.ports['grpc']} proto h2\n"
            listen = f"{ports['grpc']} proto h2"
            text += FRONTEND.format(name="grpc", listen=listen, scheme="http", to="origin-grpc")
        if "ws" in ports:
            text += f"backend origin-echo\n    server origin 127.0.0.1:{site.ports['echo']}\n"
            text += FRONTEND.format(name="ws", listen=ports["ws"], scheme="http", to="origin-echo")
        return text

    def config(self, directory: Path, ports: Mapping[str, int], site: Site) -> str:
        # Two descriptors per connection and per pipe; more than the limit allows is a fatal error.
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        settings = ["maxpipes 256\n    tune.pipesize 262144"] if self.tuned else []
        settings += [TLS] if "tls" in ports else []
        base = CONFIG.format(
            origin=site.http, maxconn=min(9000, (descriptors - 1000) // 2), settings="\n    ".join(settings),
            splice="option splice-request\n    option splice-response" if self.tuned else "",
            http=ports["http"], large=ports["large"], tcp=ports["tcp"],
        )  # fmt: skip
        return base + self._more(ports, site)

    def command(self, directory: Path, config: Path) -> list[str]:
        return [self.find() or self.program, "-db", "-f", str(config)]
