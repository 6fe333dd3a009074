"""The active checks of all clusters: made from the settings, and kept in step with the clusters' endpoints.

They run in one worker, whatever the number of workers; the results stand in the shared block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lbd.config import health, schema
from lbd.config.units import join_address, split_address
from lbd.control.clusters import PoolMaker, milliseconds
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.engine.listener import Listener
from lbd.engine.reactor import Reactor
from lbd.engine.shared import Shared
from lbd.engine.upstream_http1 import Http1
from lbd.engine.upstream_http2 import Http2
from lbd.health.check import Check
from lbd.health.exec import Runner

PRIVATE_BLOCK = 1 << 16
SPREAD_MS = 1000  # over which first checks are spread at most



class Checks:
    """One Check per endpoint of clusters with a `health_check`. `new_pool`: a pool like a cluster's own."""

    def __init__(self, reactor: Reactor, new_pool: PoolMaker) -> None:
        self.reactor = reactor
        self.new_pool = new_pool
        # what exchanges need of a listener; its figures are of no interest
        self.block = Shared(size=PRIVATE_BLOCK)
        self.listener = Listener("checks", reactor, shared=self.block)
        self.runner = Runner()
        self.settings: dict[str, schema.Cluster] = {}
        self.running: dict[Endpoint, Check] = {}

    def follow(self, setting: schema.Cluster, cluster: Cluster) -> None:
        """Check the cluster's endpoints from now on; again when its endpoints have changed."""
        check = setting.health_check
        if check is None:
            self.forget(cluster)
            return
        unchecked = {e.name or e.address for e in setting.endpoints if not e.health_check}
        wanted = [endpoint for endpoint in cluster.endpoints if endpoint.name not in unchecked]
        members = set(wanted)
        for endpoint, running in list(self.running.items()):
            if running.cluster is cluster and endpoint not in members:
                running.stop()
                del self.running[endpoint]
        fresh = [endpoint for endpoint in wanted if endpoint not in self.running]
        spread = min(SPREAD_MS, milliseconds(check.interval), len(fresh))
        for number, endpoint in enumerate(fresh):
            made = self.running[endpoint] = self._make(setting, check, cluster, endpoint)
            made.start(spread * number // len(fresh))
        cluster.changed()

    def forget(self, cluster: Cluster) -> None:
        """Check its endpoints no more."""
        for endpoint, running in list(self.running.items()):
            if running.cluster is cluster:
                running.stop()
                del self.running[endpoint]

    def stop(self) -> None:
        """End all checks."""
        for check in self.running.values():
            check.stop()
        self.running.clear()

    def _make(
        self, setting: schema.Cluster, check: health.HealthCheck, cluster: Cluster, endpoint: Endpoint
    ) -> Check:
        common: dict[str, Any] = {
            "interval_ms": milliseconds(check.interval),
            "fast_ms": milliseconds(check.fast_interval),
            "timeout_ms": milliseconds(check.timeout),
            "jitter": check.jitter,
            "healthy": check.healthy,
            "unhealthy": check.unhealthy,
            "initially_down": check.initial == "down",
        }
        start = partial(_MAKERS[check.type], self, setting, check, cluster, endpoint)
        made: Check = start(common)
        return made

    def _copy(self, setting: schema.Cluster, check: health.HealthCheck, endpoint: Endpoint) -> Endpoint:
        """The endpoint with figures and a pool for checks only, which keeps one connection."""
        plain = setting.model_copy(
            update={
                "protocol": "http2" if check.type == "grpc" else setting.protocol,
                "tls": None if check.tls is False else setting.tls,
                "connections": schema.Connections(idle=1),
                "timeouts": setting.timeouts.model_copy(
                    update={"connect": check.timeout, "idle": check.interval * 3 + check.timeout}
                ),
            }
        )
        pool = self.new_pool(plain, endpoint.address)
        return Endpoint(endpoint.name, endpoint.address, pool=pool)

    def _tcp(
        self,
        setting: schema.Cluster,
        check: health.HealthCheck,
        cluster: Cluster,
        endpoint: Endpoint,
        common: Mapping[str, Any],
    ) -> Check:
        from lbd.health.tcp import TcpCheck

        asked = self._copy(setting, check, endpoint)
        return TcpCheck(self.reactor, cluster, endpoint, asked=asked, port=check.port or 0, **common)

    def _http(
        self,
        setting: schema.Cluster,
        check: health.HealthCheck,
        cluster: Cluster,
        endpoint: Endpoint,
        common: Mapping[str, Any],
    ) -> Check:
        from lbd.health.http import HttpCheck

        fields = {"user-agent": "lbd-health-check", "accept": "*/*", **check.headers}
        return HttpCheck(
            self.reactor,
            cluster,
            endpoint,
            **self._request(setting, check, endpoint),
            method=check.method,
            head=_head(check.method, check.path, _host(setting, check, endpoint), fields),
            ranges=check.expect.status,
            text=check.expect.body.encode() if check.expect.body is not None else None,
            search=_searcher(check.expect.body_regex),
            **common,
        )

    def _grpc(
        self,
        setting: schema.Cluster,
        check: health.HealthCheck,
        cluster: Cluster,
        endpoint: Endpoint,
        common: Mapping[str, Any],
    ) -> Check:
        from lbd.health.http import GrpcCheck, health_request

        message = health_request(check.service)
        fields = {
            "te": "trailers",
            "content-type": "application/grpc",
            "user-agent": "lbd-health-check",
            **check.headers,
            "content-length": str(len(message)),
        }
        return GrpcCheck(
            self.reactor,
            cluster,
            endpoint,
            **self._request(setting, check, endpoint),
            method="POST",
            head=_head("POST", "/grpc.health.v1.Health/Check", _host(setting, check, endpoint), fields),
            body=message,
            **common,
        )

    def _request(
        self, setting: schema.Cluster, check: health.HealthCheck, endpoint: Endpoint
    ) -> dict[str, Any]:
        """What checks by a request need: a cluster that holds only this endpoint, with a pool of its own."""
        from lbd.balance.round_robin import RoundRobin

        auto = setting.protocol == "auto" and check.tls is not False
        http2 = check.type == "grpc" or setting.protocol == "http2"
        asked = Cluster(
            setting.name,
            [self._copy(setting, check, endpoint)],
            balancer_class=RoundRobin,
            protocol=Http2(streams=1, may_be_http1=auto) if http2 or auto else Http1(),
            reactor=self.reactor,
        )
        return {"listener": self.listener, "asked": asked, "port": check.port or 0}

    def _exec(
        self,
        setting: schema.Cluster,
        check: health.HealthCheck,
        cluster: Cluster,
        endpoint: Endpoint,
        common: Mapping[str, Any],
    ) -> Check:
        from lbd.health.external import ExternalCheck

        host, port = split_address(endpoint.address)
        environment = {
            "LBD_CLUSTER": cluster.name,
            "LBD_ENDPOINT": endpoint.name,
            "LBD_HOST": host,
            "LBD_PORT": str(check.port or port),
        }
        launch = self.runner.launcher(check.command, environment)
        return ExternalCheck(self.reactor, cluster, endpoint, launch=launch, **common)


_MAKERS: dict[str, Any] = {
    "tcp": Checks._tcp,
    "http": Checks._http,
    "grpc": Checks._grpc,
    "exec": Checks._exec,
}


def _host(setting: schema.Cluster, check: health.HealthCheck, endpoint: Endpoint) -> str:
    if check.host or setting.host:
        return check.host or setting.host or ""
    host, port = split_address(endpoint.address)
    return "localhost" if host.startswith("unix:") else join_address(host, check.port or port)


def _head(method: str, path: str, host: str, fields: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", *(f"{n}: {v}" for n, v in fields.items())]
    return "\r\n".join((*lines, "", "")).encode("utf-8")


def _searcher(pattern: str | None) -> Callable[[bytes], Any] | None:
    if pattern is None:
        return None
    import re2

    search: Callable[[bytes], Any] = re2.compile(pattern.encode()).search
    return search
