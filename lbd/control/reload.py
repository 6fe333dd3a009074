"""Reloading: another configuration for what serves already, in the same process.

    load aside, ask discovery for what is new, compile aside, bind what is new: may fail, nothing has changed
    clusters, then listeners take their settings, members join and leave, what has gone drains

Whatever fails keeps the running configuration, and whoever asked is told why. Nothing that the new
configuration does not change is touched: not a connection, a pool, a tunnel, nor what is known of endpoints.
One reload at a time; who asks during one waits for a second one, which sees the newest files.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lbd.config import schema
from lbd.config.errors import ConfigErrors
from lbd.control import systemd
from lbd.control.admin_listener import AdminListener
from lbd.control.certs.offloop import off_loop
from lbd.control.compile import Compiled, Runtime, compile_steps
from lbd.control.draining import Deadlines
from lbd.control.freeing import Former, freed
from lbd.control.listening import Address, Sockets, discard
from lbd.control.loading import LoadFailed, Loading
from lbd.control.pieces import Known, Whole, known_of, put_together
from lbd.control.steps import Steps, unhurried
from lbd.control.worker import START_FAILURES, Worker, make_keeper
from lbd.engine.accesslog import LogWriter
from lbd.observe.departed import Identity
from lbd.observe.log import trace_of

if TYPE_CHECKING:
    from lbd.control.certs.keeper import CertificateKeeper

# what a process cannot change while it runs
FIXED = ("workers", "user", "group", "state_directory", "resolver")
NAMED = 20  # listeners and clusters in an entry of the audit log
PIECE = 100  # routes that are looked at a time
FAILURES = (*START_FAILURES, MemoryError, ValueError)


class Refused(Exception):
    """The running configuration stays. str(): why, a line for each reason."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a reload did. kept: connections of clients that went on undisturbed."""

    seconds: float
    kept_connections: int
    kept: dict[str, int] = field(default_factory=dict)  # kind -> how many are as they were
    changed: dict[str, list[str]] = field(default_factory=dict)  # kind -> names
    added: dict[str, list[str]] = field(default_factory=dict)
    removed: dict[str, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"kept {self.kept_connections} connections"]
        parts += [f"{count} {kind}" for kind, count in self.kept.items()]
        said = [", ".join(parts)]
        for verb, names in (("changed", self.changed), ("added", self.added), ("removed", self.removed)):
            counts = [f"{len(some)} {kind}" for kind, some in names.items() if some]
            said += [f"{verb} {', '.join(counts)}"] if counts else []
        return "; ".join(said)


class Reloader:
    """Reloads the configuration of one worker from where it was loaded."""

    refused = Refused

    def __init__(self, worker: Worker, admin: AdminListener, path: Path) -> None:
        self._worker = worker
        self._admin = admin
        self._path = path
        self._turn = asyncio.Lock()
        self._loading = Loading()
        self._known: Known | None = None  # pieces of the running configuration
        self.counts = {"ok": 0, "failed": 0}
        self.last_ok = True
        self.last_change = time.time()

    async def reload(self) -> Report:
        """Load the files again and put them in force. Refused."""
        async with self._turn:
            try:
                report = await self._reload()
            except Exception as error:
                self.counts["failed"] += 1
                self.last_ok = False
                if isinstance(error, Refused):
                    raise
                raise self._broken(error) from error
            self.counts["ok"] += 1
            self.last_ok = True
            self.last_change = time.time()
            return report

    async def reload_and_say(self, *, via: str = "SIGHUP", who: str | None = None) -> Report:
        """The same, told to the logs and the service manager. via, who: see Audit.note. Refused."""
        systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            report = await self.reload()
        except Refused as refusal:
            for line in str(refusal).splitlines():
                self._worker.log.error(f"reload refused: {line}")
            first = str(refusal).partition("\n")[0]
            details = {"why": str(refusal)}
            self._worker.audit.note("reload", via=via, who=who, outcome="refused", details=details)
            systemd.notify("READY=1", f"STATUS=serving; last reload refused: {first}")
            raise
        for line in report.warnings:
            self._worker.log.warning(f"reload: {line}")
        self._worker.log.info(f"reloaded in {report.seconds:.2f} s: {report}")
        names = {verb: _some(getattr(report, verb)) for verb in ("changed", "added", "removed")}
        self._worker.audit.note("reload", via=via, who=who, details={"summary": str(report), **names})
        systemd.notify("READY=1", "STATUS=serving")
        return report

    def _broken(self, error: Exception) -> Refused:
        """A defect of lbd, which may have come at any point; what can be undone is."""
        self._worker.log.error(f"internal error, a reload was not completed: {trace_of(error)}")
        if self._worker.fleet is not None:
            self._worker.fleet.abort()
        return Refused("internal error, the reload was not completed, see the log; restart lbd when you can")

    async def _reload(self) -> Report:
        began = time.monotonic()
        try:
            pieces, _ = await asyncio.gather(self._loading.load(self._path), self._know())
        except (LoadFailed, OSError) as error:
            raise Refused(str(error)) from error
        gc.collect()  # little: what was there at the start is frozen
        gc.disable()  # what is made now stays; to look at it again and again would hold up the loop
        try:
            whole = await _whole(pieces, self._known)
            before = self._worker.runtime
            assert before is not None
            coming = await self._prepare(whole, pieces, before)
            return await self._adopt(coming, before, began)
        finally:
            gc.freeze()
            gc.enable()

    async def stop(self) -> None:
        """No more reloads."""
        await self._loading.stop()

    async def _know(self) -> None:
        """Which pieces the running configuration has: once, while the other one is loaded."""
        if self._known is None:
            self._known = await unhurried(known_of(self._worker.config))

    async def _prepare(self, whole: Whole, pieces: bytes, before: Runtime) -> _Coming:
        """All that may fail. Refused, and then all is as it was."""
        config = whole.config
        coming = _Coming(whole, pieces)
        worker = self._worker
        try:
            _check_fixed(before.config, config)
            await unhurried(worker.discovery.want(config))
            addresses = await worker.discovery.addresses_of(config)
            steps = compile_steps(config, before, worker.place, addresses, time.time())
            coming.compiled = await unhurried(steps)
            if _certificates(before.config) != _certificates(config):
                coming.keeper = make_keeper(config, worker.log)
                if coming.keeper is not None:
                    await off_loop(coming.keeper.load)
                    coming.keeper.rehearse()
            coming.sockets = worker.listening.prepare(config)
            coming.admin = self._admin.prepare(config.admin)
            coming.audit = worker.audit.prepare(coming.audit_log)
            if worker.fleet is not None:
                await worker.fleet.prepare(pieces)
        except FAILURES as error:
            coming.discard()
            worker.observing.settle(before.log_writers)
            worker.discovery.forget()
            raise Refused(str(error)) from error
        return coming

    async def _adopt(self, coming: _Coming, before: Runtime, began: float) -> Report:
        worker, config, compiled = self._worker, coming.config, coming.compiled
        assert compiled is not None
        runtime = compiled.runtime
        report = _report(compiled, before)
        former = Former.of(before, self._known or {})
        self._known = coming.whole.known
        told = await unhurried(_told_of(before, compiled))
        await unhurried(compiled.adopt())
        worker.runtime, worker.config = runtime, config
        if config.log != before.config.log:  # else what was set at run time stands
            worker.set_log_level(config.log.level)
        worker.log.form = config.log.format
        worker.log.hide(coming.whole.secrets)
        worker.departed.follow(told, await unhurried(_told_of(runtime, compiled)))
        worker.take_over(compiled)
        worker.listening.adopt(config, runtime.listeners, coming.sockets)
        await self._adopt_certificates(coming, before, report)
        await self._admin.adopt(config.admin, coming.admin)
        worker.audit.adopt(coming.audit_log, coming.audit)
        await unhurried(worker.discovery.follow(config, runtime.clusters, runtime.makers))
        await unhurried(worker.follow_again((*compiled.new_clusters, *compiled.clusters), before))
        if worker.fleet is not None:
            kept = await worker.fleet.adopt(coming.pieces)
            report = replace(report, kept_connections=kept)
        self._let_go(before, runtime)
        await unhurried(freed(former))
        return replace(report, seconds=time.monotonic() - began)

    async def _adopt_certificates(self, coming: _Coming, before: Runtime, report: Report) -> None:
        worker = self._worker
        if _certificates(before.config) == _certificates(coming.config):
            if worker.keeper is not None:
                report.warnings.extend(await worker.keeper.reload_aside())
            return
        if worker.keeper is not None:
            await worker.keeper.stop()
        worker.keeper = coming.keeper
        worker.start_tls()

    def _let_go(self, before: Runtime, runtime: Runtime) -> None:
        """What the new Runtime does not have."""
        worker = self._worker
        for name, listener in before.listeners.items():
            if runtime.listeners.get(name) is not listener:
                worker.leaving.add(listener, Deadlines.of(runtime.config))
        for name, cluster in before.clusters.items():
            if runtime.clusters.get(name) is not cluster:
                worker.checks.forget(cluster)
        worker.observing.settle(runtime.log_writers)


@dataclass(slots=True)
class _Coming:
    """What has been made for a configuration that is not in force yet."""

    whole: Whole
    pieces: bytes  # the configuration, for other processes
    compiled: Compiled | None = None
    keeper: CertificateKeeper | None = None
    sockets: Sockets = field(default_factory=dict)
    admin: socket.socket | None = None
    audit: LogWriter | None = None

    @property
    def config(self) -> schema.Config:
        return self.whole.config

    @property
    def audit_log(self) -> str | None:
        return self.config.admin.audit_log if self.config.admin is not None else None

    def discard(self) -> None:
        discard(self.sockets)
        if self.audit is not None:
            self.audit.close(timeout=0)
        if self.admin is not None and self.config.admin is not None:
            discard({Address(self.config.admin.bind): [self.admin]})


async def _whole(pieces: bytes, known: Known | None) -> Whole:
    """What was loaded. Refused, for errors of the configuration."""
    try:
        return await unhurried(put_together(pieces, known))
    except ConfigErrors as errors:
        raise Refused(str(errors)) from errors


def _check_fixed(before: schema.Config, config: schema.Config) -> None:
    """Refused for settings that a process cannot change while it runs."""
    changed = [name for name in FIXED if getattr(before, name) != getattr(config, name)]
    if changed:
        raise Refused(
            "\n".join(f"{name} cannot change while lbd runs; restart it for that" for name in changed)
        )


def _certificates(config: schema.Config) -> object:
    """All that a CertificateKeeper goes by."""
    return [(one.name, one.tls) for one in config.listeners if one.tls is not None], config.acme


def _report(compiled: Compiled, before: Runtime) -> Report:
    runtime = compiled.runtime
    gone = {name for name in before.listeners if runtime.listeners.get(name) is not before.listeners[name]}
    connections = sum(
        one.open_connections for name, one in before.listeners.items() if name not in gone
    )
    report = Report(0.0, connections)
    for kind, now, old, changed, new in (
        ("listeners", runtime.listeners, before.listeners, compiled.listeners, compiled.new_listeners),
        ("clusters", runtime.clusters, before.clusters, compiled.clusters, compiled.new_clusters),
    ):
        report.changed[kind] = sorted(changed)
        report.added[kind] = sorted(new - set(old))
        report.changed[kind] += sorted(new & set(old))  # another one of that name
        report.removed[kind] = sorted(set(old) - set(now))
        report.kept[kind] = len(now) - len(changed) - len(new)
    return report


def _told_of(runtime: Runtime, compiled: Compiled) -> Steps[set[Identity]]:
    """Records that metrics tell of, those of listeners apart that the reload leaves as they are."""
    found: set[Identity] = {("cluster", name) for name in runtime.clusters}
    stays = compiled.runtime.listeners.keys() - compiled.listeners.keys() - compiled.new_listeners
    for name, listener in runtime.listeners.items():
        if name in stays and compiled.runtime.listeners[name] is listener:
            continue
        found.add(("listener", name))
        for number, route in enumerate(listener.router.routes if listener.router is not None else ()):
            found.add(("route", f"{name}/{route.name}/{route.cluster.name if route.cluster else ''}"))
            if number % PIECE == 0:
                yield
    return found


def _some(names: dict[str, list[str]]) -> dict[str, list[str]]:
    """The first of each kind, for a line that stays readable; how many there are the summary says."""
    return {kind: some[:NAMED] for kind, some in names.items() if some}
