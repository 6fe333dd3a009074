"""Worker: the control plane's process, from sockets to drained.

With `workers: 1` its event loop serves the Runtime as well; else a fleet of processes does (fleet.py), and
what this one compiles is for checks, names, the admin API and explain.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbd.config import schema
from lbd.control.certs.errors import CertificateError
from lbd.control.certs.offloop import off_loop
from lbd.control.checks import Checks
from lbd.control.clusters import pool_maker
from lbd.control.compile import Compiled, Place, Runtime, compile_steps
from lbd.control.descriptors import share_of_clients
from lbd.control.draining import Deadlines, drain
from lbd.control.endpoint_states import EndpointStates
from lbd.control.events import ClusterEvents
from lbd.control.fleet import Fleet, TlsOfAll, WorkersFailed
from lbd.control.inheritance import Inheritance
from lbd.control.leaving import Leaving
from lbd.control.listening import HeldSockets, Listening, discard
from lbd.control.observing import Observing
from lbd.control.pieces import taken_apart
from lbd.control.privileges import Identity, PrivilegesKept, drop
from lbd.control.sockets import BindError
from lbd.control.steps import Steps, finish
from lbd.control.tls import TlsSettingError, rotate_tickets
from lbd.discovery.discovery import Discovery
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.engine.foreign import MissingLibrary
from lbd.engine.reactor import Reactor
from lbd.engine.recorder import Recorder
from lbd.engine.shared import Shared
from lbd.observe.audit import Audit
from lbd.observe.departed import Departed
from lbd.observe.log import Log, trace_of

if TYPE_CHECKING:
    from lbd.control.certs.keeper import CertificateKeeper, Target
    from lbd.control.orders import Told
    from lbd.control.reload import Reloader
    from lbd.observe.exporter import Exporter

# what `Worker.start` raises when the configuration asks for something that cannot be had
START_FAILURES = (
    BindError, CertificateError, MissingLibrary, OSError, PrivilegesKept, TlsSettingError, WorkersFailed,
)  # fmt: skip


class Worker:
    """Owns the reactor and the listening sockets of one process."""

    def __init__(
        self,
        config: schema.Config,
        log: Log,
        shared: Shared,
        *,
        state_directory: Path | None = None,
        inheritance: Inheritance | None = None,
    ) -> None:
        self.config = config
        self.log = log
        self.shared = shared
        self.reactor = Reactor(asyncio.get_running_loop(), self._on_fault)
        self.runtime: Runtime | None = None
        self.inheritance = inheritance if inheritance is not None else Inheritance()
        inherited = self.inheritance.sockets_for
        self.listening: HeldSockets = Listening(log, inherited=inherited)
        self.fleet: Fleet | None = None
        if shared.workers > 1:
            self.listening = HeldSockets(log, shared.workers, inherited)
            self.fleet = Fleet(
                shared.workers,
                log,
                shared,
                self.listening,
                pins=config.pin_workers,
                told=self._told,
                recorder=lambda: self.observing.recorder,
                on_event=self._on_event,
                on_connect_failed=self._on_connect_failed,
            )
        self.draining = False
        self.observing = Observing(log)
        self.audit = Audit(log)
        self.departed = Departed()
        self.keeper = make_keeper(config, log)
        self.checks = Checks(self.reactor, pool_maker(self.reactor))
        self.discovery = Discovery(config, log, off_loop)
        self._state_directory = state_directory
        self.states = EndpointStates(log, state_directory, self._close_unused)
        self.leaving = Leaving(log)
        self.reloader: Reloader | None = None  # set by whoever knows where the configuration comes from
        self._rotating: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Worker {self.listening!r} {self.reactor!r}>"

    @property
    def place(self) -> Place:
        """Where Runtimes are compiled for."""
        return Place(
            self.reactor, self.shared, self.observing.open_log, ticket_secret=self.shared.secret
        )

    async def start(self) -> None:
        """Compile, bind everything, then accept; an error leaves nothing half open. Raises BindError."""
        self.reactor.max_clients = share_of_clients(self.log)
        if self.fleet is not None:
            self.reactor.watch(self.shared, self._look)
        try:
            await self._start()
        except BaseException:
            await self.discovery.stop()
            raise

    async def _start(self) -> None:
        audit_log = self.config.admin.audit_log if self.config.admin is not None else None
        self.audit.adopt(audit_log, self.audit.prepare(audit_log))
        addresses = await self.discovery.begin()
        if self.keeper is not None:
            self.keeper.load()
        sockets = self.listening.prepare(self.config)
        try:
            self._drop_privileges()  # after what only root may do, before anything is written
            compiled = finish(compile_steps(self.config, None, self.place, addresses, time.time()))
        except BaseException:
            discard(sockets)
            raise
        finish(compiled.adopt())
        self.runtime = compiled.runtime
        self.states.load()
        self.take_over(compiled)
        self.listening.adopt(self.config, self.runtime.listeners, sockets)
        self.start_tls()
        self.reactor.start()
        self.discovery.attach(
            self.runtime.clusters, self.runtime.makers, self.shared, on_added=self._on_added
        )
        self.inheritance.health.clear()  # who joins later is not whom the former process knew
        for cluster in self.runtime.clusters.values():
            self._follow(cluster)
        self._rotating = asyncio.create_task(self._rotate_tickets())
        if self.fleet is not None:
            await self.fleet.start(taken_apart(self.config), self.config.log.level)

    def _drop_privileges(self) -> None:
        config = self.config
        if config.user is None:
            return
        identity = Identity.of(config.user, config.group)
        if not identity.is_ours():
            binds = [bind for listener in config.listeners for bind in listener.bind]
            drop(identity, [*binds, *([config.admin.bind] if config.admin else [])], self._state_directory)
            self.log.info(f"user {config.user} from now on")
            for pair in self.keeper.pairs if self.keeper is not None else ():
                for path in (pair.setting.cert, pair.setting.key):
                    if not os.access(path, os.R_OK):
                        self.log.warning(f"{path}: user {config.user} may not read it: changes go unnoticed")

    def explain(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Where the request would go and why, or the past one that it names by id. BadValue."""
        from lbd.control.explain import explain, recalled  # when it is asked for

        assert self.runtime is not None
        return explain(self.runtime, recalled(request, self.recorder))

    def obstacles(self, cluster: Cluster) -> dict[str, list[str]]:
        """Its endpoints that get no new requests now, by name, and why."""
        from lbd.control.explain_endpoints import obstacles_of  # when somebody looks

        return obstacles_of(cluster)

    async def connections(self, **wanted: Any) -> dict[str, Any]:
        """Open connections of clients, in all workers; for the names of `wanted` see connected.Wanted."""
        from lbd.control.connected import Wanted, connections_of  # when somebody looks

        return await connections_of(self, Wanted(**wanted))

    def take_over(self, compiled: Compiled) -> None:
        """Look after what a Runtime that serves from now on has brought."""
        runtime = compiled.runtime
        if self.fleet is None:
            self.observing.attach(runtime.config, runtime.listeners.values())
        else:
            self.observing.prepare(runtime.config, self.shared.workers)
        self._watch_refusals(runtime)
        for name in compiled.new_clusters:
            cluster = runtime.clusters[name]
            for endpoint in cluster.endpoints:
                self._watch_endpoint(cluster, endpoint)
            # what operators set before the restart, before anything is served
            restored = [self.states.restore(cluster, endpoint) for endpoint in cluster.endpoints]
            if any(restored) or self.inheritance.health:
                for endpoint in cluster.endpoints:
                    self._inherit_health(cluster, endpoint)
                cluster.refresh()
        for setting in runtime.config.clusters:
            if setting.tls is not None and setting.tls.insecure_skip_verify:
                self.log.warning(
                    f"cluster {setting.name}: certificates are not verified (insecure_skip_verify)"
                )
        for listener_setting in runtime.config.listeners:
            if listener_setting.tls is not None and listener_setting.tls.ocsp_stapling:
                self.log.warning(
                    f"listener {listener_setting.name}: ocsp_stapling does nothing: authorities end OCSP "
                    "in favour of short-lived certificates and CRLs (Let's Encrypt did in 2025)"
                )

    def set_log_level(self, level: str) -> str:
        """Log from this level on, in all processes; what it was before."""
        before = self.log.set_level(level)
        if self.runtime is not None:
            self._watch_refusals(self.runtime)
        if self.fleet is not None:
            self.fleet.tell_level(level)
        return before

    def _watch_refusals(self, runtime: Runtime) -> None:
        """Refused connections are only told of when somebody wants to read it."""
        for listener in runtime.listeners.values():
            listener.on_refused = self._on_refused if self.log.shows("debug") else None

    @property
    def recorder(self) -> Recorder | None:
        """What remembers the last exchanges."""
        return self.observing.recorder

    @property
    def exporter(self) -> Exporter | None:
        """What sends spans to the collector; that of workers of their own is theirs."""
        return self.observing.exporter

    def _inherit_health(self, cluster: Cluster, endpoint: Endpoint) -> None:
        """As the process knew it that this one replaces, until checks say otherwise."""
        health = self.inheritance.health.get(f"{cluster.name}/{endpoint.name}")
        if health is not None and self._is_checked(cluster.name):
            endpoint.set_health(health)

    def _is_checked(self, cluster: str) -> bool:
        return any(one.name == cluster and one.health_check is not None for one in self.config.clusters)

    def healths(self) -> dict[str, str]:
        """What is known of endpoints, for a process that replaces this one."""
        return {
            f"{cluster.name}/{endpoint.name}": endpoint.health
            for cluster in (self.runtime.clusters.values() if self.runtime is not None else ())
            for endpoint in cluster.endpoints
            if endpoint.health != "unknown"
        }

    def _on_added(self, cluster: Cluster, endpoint: Endpoint) -> None:
        """It has joined the cluster; it cannot be picked yet."""
        self._inherit_health(cluster, endpoint)
        self._watch_endpoint(cluster, endpoint)
        self.states.restore(cluster, endpoint)

    def _follow(self, cluster: Cluster) -> None:
        """Hear of what happens to the cluster, and check its endpoints."""
        assert self.runtime is not None
        setting = self.runtime.makers[cluster.name].setting
        cluster.on_change = ClusterEvents(self.log, partial(self._on_members, setting))
        self.checks.follow(setting, cluster)

    def _on_members(self, setting: schema.Cluster, cluster: Cluster) -> None:
        self.checks.follow(setting, cluster)
        if self.fleet is not None:
            self.fleet.tell_members(cluster.name, partial(self.discovery.told, cluster.name))

    def _close_unused(self, cluster: str, endpoint: Endpoint) -> None:
        """Nothing is to go there: neither are its pooled connections of use."""
        endpoint.pool.close_unused()
        if self.fleet is not None:
            self.fleet.tell("close_unused", (cluster, endpoint.name))

    # with workers of its own

    def is_alive(self) -> bool:
        """Do the loops of all workers turn?"""
        return self.fleet is None or self.fleet.is_alive()

    @property
    def worker_deaths(self) -> int:
        """How many worker processes ended without being told to."""
        return self.fleet.deaths if self.fleet is not None else 0

    def _told(self) -> dict[str, Told]:
        assert self.runtime is not None
        return {name: self.discovery.told(name) for name in self.runtime.clusters}

    def _look(self) -> None:
        """A worker has changed the state of endpoints."""
        for cluster in self.runtime.clusters.values() if self.runtime is not None else ():
            cluster.look()

    def _on_event(self, cluster: str, kind: str, endpoint: str | None) -> None:
        """What has happened in a worker."""
        found = self.runtime.clusters.get(cluster) if self.runtime is not None else None
        if found is not None and found.on_change is not None:
            named = [one for one in found.endpoints if one.name == endpoint]
            found.on_change(found, kind, named[0] if named else None)

    def _on_connect_failed(self, cluster: str, endpoint: str) -> None:
        self.discovery.on_connect_failed(cluster, endpoint)

    def follow_again(self, names: Iterable[str], before: Runtime) -> Steps[None]:
        """Clusters that a reload has brought or changed."""
        assert self.runtime is not None
        for name in names:
            cluster, old = self.runtime.clusters[name], before.makers.get(name)
            setting = self.runtime.makers[name].setting
            if old is not None and _checks_differ(old.setting, setting):
                self.checks.forget(cluster)
            if old is not None and old.setting.health_check is not None and setting.health_check is None:
                for endpoint in cluster.endpoints:  # nobody would ever say otherwise
                    endpoint.set_health("unknown")
                cluster.changed()
            self._follow(cluster)
            yield

    def _watch_endpoint(self, cluster: Cluster, endpoint: Endpoint) -> None:
        endpoint.pool.on_problem = partial(self._on_tls_problem, f"{cluster.name}/{endpoint.name}")

    def start_tls(self) -> None:
        """Put certificates in force in the listeners that serve. CertificateError."""
        assert self.runtime is not None
        if self.keeper is not None:
            targets: dict[str, Target] = {}
            for name, listener in self.runtime.listeners.items():
                if listener.tls is not None:
                    targets[name] = (
                        listener.tls if self.fleet is None else TlsOfAll(name, listener.tls, self.fleet)
                    )
            self.keeper.start(targets, self._publish)

    def _publish(self, paths: Mapping[bytes, bytes]) -> None:
        """Answers to ACME's HTTP-01 challenges, on all http listeners."""
        assert self.runtime is not None
        for listener in self.runtime.listeners.values():
            listener.well_known = dict(paths) or None
        if self.fleet is not None:
            self.fleet.tell("well_known", dict(paths))

    async def _rotate_tickets(self) -> None:
        while True:
            assert self.runtime is not None
            await asyncio.sleep(rotate_tickets(self.runtime.listeners.values(), self.shared.secret))

    def _on_refused(self, listener: str, client: str, reason: str, why: str) -> None:
        self.log.debug(f"listener {listener}: {client}: {reason}: {why}")

    def _on_tls_problem(self, endpoint: str, why: str) -> None:
        self.log.warning(f"endpoint {endpoint}: TLS failed: {why}")

    def _on_fault(self, error: BaseException) -> None:
        """An exception left a handler: a defect of lbd that cost one connection."""
        self.log.error(f"internal error, one connection closed: {trace_of(error)}")

    def reopen_logs(self) -> None:
        """After a log rotation."""
        self.observing.reopen()
        self.audit.reopen()
        if self.fleet is not None:
            self.fleet.tell("reopen")

    async def drain(self, deadlines: Deadlines, *, is_replaced: bool = False) -> int:
        """Stop accepting, let exchanges finish; how many connections were cut."""
        assert self.runtime is not None
        self.draining = True
        self.listening.close(unlink=not is_replaced)
        if self.fleet is not None:
            return await self.fleet.drain(deadlines, is_succeeded=is_replaced)
        listeners = [*self.runtime.listeners.values(), *self.leaving.listeners]
        return await drain(listeners, deadlines, is_succeeded=is_replaced)

    async def stop(self) -> None:
        """Let go of everything; what is still open is closed by the kernel."""
        if self._rotating is not None:
            self._rotating.cancel()
        if self.reloader is not None:
            await self.reloader.stop()
        self.states.stop()
        await self.discovery.stop()
        if self.keeper is not None:
            await self.keeper.stop()
        if self.fleet is not None:
            await self.fleet.stop()
        self.leaving.stop()
        self.checks.stop()
        self.reactor.stop()
        self.observing.close()
        self.audit.close()


def _checks_differ(old: schema.Cluster, new: schema.Cluster) -> bool:
    """Does anything that a check goes by?"""
    return any(
        getattr(old, name) != getattr(new, name)
        for name in ("health_check", "protocol", "tls", "host", "socket", "http2", "proxy_protocol")
    )


def make_keeper(config: schema.Config, log: Log) -> CertificateKeeper | None:
    """Only for configurations with TLS: what it imports is a quarter of the memory at start."""
    if all(listener.tls is None for listener in config.listeners):
        return None
    from lbd.control.certs.keeper import CertificateKeeper

    return CertificateKeeper(config, log)
