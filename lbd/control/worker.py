"""Worker: one event loop that serves a Runtime, from sockets to drained.

In this version it is also the control plane's process (design, section 3): both share the loop.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lbd.config import schema
from lbd.control.certs.offloop import off_loop
from lbd.control.checks import Checks
from lbd.control.compile import Runtime, compile_runtime, pool_maker
from lbd.control.endpoint_states import EndpointStates
from lbd.control.events import ClusterEvents
from lbd.control.observing import Observing
from lbd.control.sockets import bound_address, listen, unlink_unix
from lbd.control.tls import TICKET_EPOCH_SECONDS, ticket_keys
from lbd.discovery.discovery import Discovery
from lbd.engine.acceptor import Acceptor
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.engine.reactor import Reactor
from lbd.engine.recorder import Recorder
from lbd.engine.shared import Shared
from lbd.engine.tls import ServerTls
from lbd.observe.log import Log

if TYPE_CHECKING:
    from lbd.control.certs.keeper import CertificateKeeper
    from lbd.observe.exporter import Exporter

DRAIN_POLL_SECONDS = 0.02
RESERVED_FDS = 192


class Worker:
    """Owns the reactor and the listening sockets of one process."""

    def __init__(
        self, config: schema.Config, log: Log, shared: Shared, *, state_directory: Path | None = None
    ) -> None:
        self.config = config
        self.log = log
        self.shared = shared
        self.reactor = Reactor(asyncio.get_running_loop(), self._on_fault)
        self.runtime: Runtime | None = None
        self.acceptors: list[Acceptor] = []
        self.draining = False
        self.observing = Observing(log)
        self.keeper = _keeper(config, log)
        self.checks: Checks | None = None
        self.discovery = Discovery(config, log, off_loop)
        self.states = EndpointStates(log, state_directory)
        self._rotating: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Worker listeners={len(self.acceptors)} {self.reactor!r}>"

    async def start(self) -> None:
        """Compile, bind everything, then accept; an error leaves nothing half open. Raises BindError."""
        # Every client may need a connection to an endpoint; the rest is for admin, logs and pipes.
        limit = raise_fd_limit(self.log)
        self.reactor.max_clients = max(1, (limit - min(RESERVED_FDS, limit // 4)) // 2)
        try:
            await self._start()
        except BaseException:
            await self.discovery.stop()
            raise

    async def _start(self) -> None:
        addresses = await self.discovery.begin()
        if self.keeper is not None:
            self.keeper.load()
        self.runtime = compile_runtime(
            self.config,
            self.reactor,
            self.shared,
            addresses,
            open_log=self.observing.open_log,
            ticket_secret=self.shared.secret,
            now=time.time(),
        )
        self.observing.attach(self.config, self.runtime.listeners.values())
        self._watch_problems(self.runtime)
        self._restore_states(self.runtime)
        self._bind(self.runtime)
        self._start_tls(self.runtime)
        self._start_checks(self.runtime)
        self.reactor.start()
        self.discovery.attach(
            self.runtime.clusters, self.runtime.makers, self.shared, on_added=self._on_added
        )

    def _watch_problems(self, runtime: Runtime) -> None:
        """Let the engine say what it can only say in passing."""
        self._watch_refusals()
        for cluster in runtime.clusters.values():
            for endpoint in cluster.endpoints:
                self._watch_endpoint(cluster, endpoint)
        for setting in self.config.clusters:
            if setting.tls is not None and setting.tls.insecure_skip_verify:
                self.log.warning(
                    f"cluster {setting.name}: certificates are not verified (insecure_skip_verify)"
                )
        for listener_setting in self.config.listeners:
            if listener_setting.tls is not None and listener_setting.tls.ocsp_stapling:
                self.log.warning(
                    f"listener {listener_setting.name}: ocsp_stapling does nothing: authorities end OCSP "
                    "in favour of short-lived certificates and CRLs (Let's Encrypt did in 2025)"
                )

    def set_log_level(self, level: str) -> str:
        """Log from this level on; what it was before."""
        before = self.log.set_level(level)
        self._watch_refusals()
        return before

    def _watch_refusals(self) -> None:
        """Refused connections are only told of when somebody wants to read it."""
        for listener in self.runtime.listeners.values() if self.runtime is not None else ():
            listener.on_refused = self._on_refused if self.log.shows("debug") else None

    def _restore_states(self, runtime: Runtime) -> None:
        """What operators set before the restart, before anything is served."""
        self.states.load()
        for cluster in runtime.clusters.values():
            restored = [self.states.restore(cluster, endpoint) for endpoint in cluster.endpoints]
            if any(restored):
                cluster.refresh()

    def _on_added(self, cluster: Cluster, endpoint: Endpoint) -> None:
        """Discovery has found it; it cannot be picked yet."""
        self._watch_endpoint(cluster, endpoint)
        self.states.restore(cluster, endpoint)

    def _start_checks(self, runtime: Runtime) -> None:
        checks = self.checks = Checks(self.reactor, pool_maker(self.reactor))
        for setting in self.config.clusters:
            cluster = runtime.clusters[setting.name]
            cluster.on_change = ClusterEvents(self.log, partial(checks.follow, setting))
            checks.follow(setting, cluster)

    def _watch_endpoint(self, cluster: Cluster, endpoint: Endpoint) -> None:
        endpoint.pool.on_problem = partial(self._on_tls_problem, f"{cluster.name}/{endpoint.name}")

    def _start_tls(self, runtime: Runtime) -> None:
        targets = {name: one.tls for name, one in runtime.listeners.items() if one.tls is not None}
        if self.keeper is not None:
            self.keeper.start(targets, self._publish)
            self._rotating = asyncio.create_task(self._rotate_tickets(list(targets.values())))

    def _publish(self, paths: Mapping[bytes, bytes]) -> None:
        """Answers to ACME's HTTP-01 challenges, on all http listeners."""
        assert self.runtime is not None
        for listener in self.runtime.listeners.values():
            listener.well_known = dict(paths) or None

    async def _rotate_tickets(self, targets: Sequence[ServerTls]) -> None:
        while True:
            await asyncio.sleep(TICKET_EPOCH_SECONDS - time.time() % TICKET_EPOCH_SECONDS)
            keys = ticket_keys(self.shared.secret, time.time())
            for target in targets:
                if target.has_tickets:
                    target.set_ticket_keys(keys)

    def _on_refused(self, listener: str, client: str, reason: str, why: str) -> None:
        self.log.debug(f"listener {listener}: {client}: {reason}: {why}")

    def _on_tls_problem(self, endpoint: str, why: str) -> None:
        self.log.warning(f"endpoint {endpoint}: TLS failed: {why}")

    def _bind(self, runtime: Runtime) -> None:
        made: list[tuple[schema.Listener, socket.socket]] = []
        try:
            for setting in self.config.listeners:
                made.extend(
                    (setting, listen(address, setting.backlog, setting.socket)) for address in setting.bind
                )
        except BaseException:
            for _, one in made:
                one.close()
            raise
        for setting, one in made:
            address = bound_address(one)
            self.acceptors.append(
                Acceptor(
                    runtime.listeners[setting.name],
                    one.detach(),
                    tcp=setting.protocol == "tcp",
                    on_problem=self._on_accept_problem,
                )
            )
            over = "+tls" if setting.tls is not None else ""
            self.log.info(f"listener {setting.name}: listening on {address} ({setting.protocol}{over})")

    def _on_fault(self, error: BaseException) -> None:
        """An exception left a handler: a defect of lbd that cost one connection."""
        where = "".join(traceback.format_exception(error)).strip().replace("\n", " | ")
        self.log.error(f"internal error, one connection closed: {where}")

    def _on_accept_problem(self, name: str, error: int) -> None:
        self.log.warning(f"listener {name}: accepting paused: {os.strerror(error)}")

    @property
    def recorder(self) -> Recorder | None:
        """What remembers the last exchanges."""
        return self.observing.recorder

    @property
    def exporter(self) -> Exporter | None:
        """What sends spans to the collector."""
        return self.observing.exporter

    def reopen_logs(self) -> None:
        """After a log rotation."""
        self.observing.reopen()

    async def drain(self, timeout: float | None) -> int:
        """Stop accepting, let exchanges finish for up to `timeout` seconds; how many connections are left."""
        assert self.runtime is not None
        self.draining = True
        for acceptor in self.acceptors:
            acceptor.close()
        for setting in self.config.listeners:
            for address in setting.bind:
                unlink_unix(address)
        listeners = self.runtime.listeners.values()
        left = sum(listener.start_drain() for listener in listeners)
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while left and (deadline is None or loop.time() < deadline):
            await asyncio.sleep(DRAIN_POLL_SECONDS)
            left = sum(listener.open_connections for listener in listeners)
        return left

    async def stop(self) -> None:
        """Let go of everything; what is still open is closed by the kernel."""
        if self._rotating is not None:
            self._rotating.cancel()
        self.states.stop()
        await self.discovery.stop()
        if self.keeper is not None:
            await self.keeper.stop()
        if self.checks is not None:
            self.checks.stop()
        self.reactor.stop()
        self.observing.close()


def _keeper(config: schema.Config, log: Log) -> CertificateKeeper | None:
    """Only for configurations with TLS: what it imports is a quarter of the memory at start."""
    if all(listener.tls is None for listener in config.listeners):
        return None
    from lbd.control.certs.keeper import CertificateKeeper

    return CertificateKeeper(config, log)


def raise_fd_limit(log: Log) -> int:
    """Use all fds that the hard limit allows; returns how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:
        log.warning(f"cannot raise the limit of open files from {soft} to {hard}: {error}")
        return soft
    return hard
