"""A worker process of several: the data plane and nothing else, told what to do by the supervisor.

Run as a program, by fleet.py, with the descriptors of its channel and of the shared block. What it serves
comes over the channel: the configuration, who the members of clusters are, certificates, listening sockets.
The health and weights of endpoints, breakers and counters stand in the shared block. When the supervisor
goes away without a word it drains and ends.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import uvloop

from lbd.config.units import split_address
from lbd.control.channel import Channel
from lbd.control.compile import Compiled, Place, Runtime, compile_steps
from lbd.control.connected import Found, Wanted
from lbd.control.descriptors import share_of_clients
from lbd.control.draining import Deadlines, drain
from lbd.control.freeing import Former, freed
from lbd.control.leaving import Leaving
from lbd.control.listening import Listening
from lbd.control.observing import Observing
from lbd.control.orders import Orders, Told
from lbd.control.pieces import Known, Whole, put_together
from lbd.control.signals import ignore_signals
from lbd.control.steps import Steps, unhurried
from lbd.control.tls import rotate_tickets
from lbd.discovery.member import Member
from lbd.discovery.membership import Membership
from lbd.discovery.names import is_name
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.engine.reactor import Reactor
from lbd.engine.shared import Shared
from lbd.observe.log import Log, trace_of

BEAT_SECONDS = 1.0
PROMPT_SECONDS = 1.0  # between two words about the same endpoint that cannot be connected to
OWN_EVENTS = ("panic", "region", "members", "address")  # which the supervisor finds out by itself


class DataWorker:
    """One per process."""

    def __init__(self, index: int, shared: Shared, end: socket.socket, level: str) -> None:
        self.index = index
        self.shared = shared
        self.log = Log(level)
        self.reactor = Reactor(asyncio.get_running_loop(), self._on_fault)
        self.listening = Listening(self.log, is_owner=False)  # the supervisor is
        self.leaving = Leaving(self.log)
        self.observing = Observing(self.log)
        self.runtime: Runtime | None = None
        self.memberships: dict[str, Membership] = {}
        self.pieces: Known = {}  # of the configuration told last
        self.known: dict[str, str] = {}  # host -> address, as the supervisor knows it
        self.secrets: list[str] = []
        self.coming: tuple[Compiled, Whole] | None = None
        self.over = asyncio.Event()
        self._prompted: dict[str, float] = {}
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.channel = Channel(end, self._on_message, self._on_orphaned)
        self._loop = asyncio.get_running_loop()
        self.log.on_kept = self._tell_line

    @property
    def place(self) -> Place:
        return Place(self.reactor, self.shared, self.observing.open_log, self.index, self.shared.secret)

    # what the supervisor says

    def _on_message(self, kind: str, content: Any, descriptors: list[int]) -> None:
        if kind == "question":
            self._answer(*content)
            return
        handler: Callable[..., Coroutine[Any, Any, None]] = getattr(self, f"_do_{kind}")
        task = asyncio.create_task(self._in_turn(kind, handler(content, descriptors)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _in_turn(self, kind: str, doing: Coroutine[Any, Any, None]) -> None:
        """One order after the other, in the order in which they came (locks are fair)."""
        async with self._turn:
            try:
                await doing
            except Exception as error:
                self.log.error(f"worker {self.index}: internal error, {kind}: {trace_of(error)}")
                self.channel.send("failed", f"{type(error).__name__}: {error}")

    def _answer(self, number: int, question: str, content: Any) -> None:
        """At once, whatever order is being carried out: nothing is changed by it."""
        answer = None
        try:
            answer = getattr(self, f"_say_{question}")(content)
        except Exception as error:
            self.log.error(f"worker {self.index}: internal error, {question}: {trace_of(error)}")
        self.channel.send("answer", (number, answer))

    def _say_connections(self, wanted: Wanted) -> Found:
        return wanted.of([*self._listeners(), *self.leaving.listeners])

    async def _do_start(self, orders: Orders, descriptors: list[int]) -> None:
        self.reactor.max_clients = share_of_clients(self.log)
        await self._do_prepare(orders, [])
        self.reactor.watch(self.shared, self._look)
        await self._do_adopt(orders, descriptors)
        self.reactor.start()
        self._beat()
        self._rotate_tickets()
        gc.collect()
        gc.freeze()

    async def _do_prepare(self, orders: Orders, descriptors: list[int]) -> None:
        """Compile beside what serves."""
        gc.disable()
        self.shared.learn(orders.places)
        self._note_addresses(orders.members)
        whole = await unhurried(put_together(orders.pieces, self.pieces))
        self.log.hide([*self.secrets, *whole.secrets])
        steps = compile_steps(whole.config, self.runtime, self.place, self.known, time.time())
        self.coming = await unhurried(steps), whole
        self.channel.send("prepared")

    async def _do_abort(self, content: None, descriptors: list[int]) -> None:
        """It is not put in force after all."""
        self.coming = None
        self.log.hide(self.secrets)
        self.observing.settle(self.runtime.log_writers if self.runtime is not None else {})
        gc.enable()

    async def _do_adopt(self, orders: Orders, descriptors: list[int]) -> None:
        """Put it in force."""
        assert self.coming is not None
        (compiled, whole), before, self.coming = self.coming, self.runtime, None
        former = Former.of(before, self.pieces) if before is not None else None
        self.pieces, self.secrets = whole.known, whole.secrets
        runtime = compiled.runtime
        self.shared.learn(orders.places)
        self._note_addresses(orders.members)
        for name, entries in orders.certificates.items():
            self._install(runtime, compiled, name, entries)
        await unhurried(compiled.adopt())
        self.runtime = runtime
        await unhurried(self._follow_members(compiled, orders.members))
        sockets = {
            address: [socket.socket(fileno=one)]
            for address, one in zip(orders.addresses, descriptors, strict=not orders.has_recorder)
        }
        config = runtime.config
        self.log.form = config.log.format
        self.log.hide(self.secrets)
        self.observing.share(
            config.recorder, descriptors[-1] if orders.has_recorder else -1, self.index, self.shared.workers
        )
        self.observing.attach(config, runtime.listeners.values())
        self.listening.adopt(runtime.config, runtime.listeners, sockets)
        if before is not None:
            self._let_go(before, runtime)
        gc.freeze()
        gc.enable()
        self.channel.send("adopted", sum(one.open_connections for one in runtime.listeners.values()))
        if former is not None:
            await unhurried(freed(former))

    async def _do_members(self, content: tuple[str, Told, Any], descriptors: list[int]) -> None:
        name, told, places = content
        self.shared.learn(places)
        self._note_addresses({name: told})
        if self.runtime is not None and name in self.memberships:
            self._settle(name, told)

    async def _do_certificates(self, content: tuple[str, list[Any]], descriptors: list[int]) -> None:
        name, entries = content
        tls = self.runtime.listeners[name].tls if self.runtime is not None else None
        if tls is not None:
            tls.install(entries)

    async def _do_challenges(self, content: tuple[str, Any], descriptors: list[int]) -> None:
        name, challenges = content
        tls = self.runtime.listeners[name].tls if self.runtime is not None else None
        if tls is not None:
            tls.set_challenges(challenges)

    async def _do_well_known(self, paths: dict[bytes, bytes], descriptors: list[int]) -> None:
        for listener in self.runtime.listeners.values() if self.runtime is not None else ():
            listener.well_known = paths or None

    async def _do_close_unused(self, content: tuple[str, str], descriptors: list[int]) -> None:
        cluster, name = content
        for endpoint in self.runtime.clusters[cluster].endpoints if self.runtime is not None else ():
            if endpoint.name == name:
                endpoint.pool.close_unused()

    async def _do_level(self, level: str, descriptors: list[int]) -> None:
        self.log.set_level(level)

    async def _do_reopen(self, content: None, descriptors: list[int]) -> None:
        self.observing.reopen()

    async def _do_drain(self, content: tuple[Deadlines, bool], descriptors: list[int]) -> None:
        deadlines, is_succeeded = content
        self.listening.close()
        listeners = [*self._listeners(), *self.leaving.listeners]
        left = await drain(listeners, deadlines, is_succeeded=is_succeeded)
        self.channel.send("drained", left)
        self.over.set()

    def _on_orphaned(self) -> None:
        self.log.error(f"worker {self.index}: the supervisor has gone; draining")
        task = asyncio.create_task(self._do_drain((self._deadlines(), False), []))
        self._tasks.add(task)

    def _deadlines(self) -> Deadlines:
        return Deadlines.of(self.runtime.config) if self.runtime is not None else Deadlines(0.0, 0.0, 0.0)

    # the data plane

    def _listeners(self) -> Iterable[Any]:
        return self.runtime.listeners.values() if self.runtime is not None else ()

    def _look(self) -> None:
        """Another process has changed the state of endpoints."""
        for cluster in self.runtime.clusters.values() if self.runtime is not None else ():
            cluster.look()

    def _install(self, runtime: Runtime, compiled: Compiled, name: str, entries: list[Any]) -> None:
        settings, listener = compiled.listeners.get(name), runtime.listeners.get(name)
        tls = settings["tls"] if settings is not None else listener.tls if listener is not None else None
        if tls is not None:
            tls.install(entries)

    def _follow_members(self, compiled: Compiled, members: dict[str, Told]) -> Steps[None]:
        runtime = compiled.runtime
        for name in [name for name in self.memberships if name not in runtime.clusters]:
            self.memberships.pop(name).leave()
        for name, cluster in runtime.clusters.items():
            if name not in self.memberships:
                fixed = tuple(Member.of(endpoint) for endpoint in runtime.makers[name].setting.endpoints)
                self.memberships[name] = Membership(
                    cluster, runtime.makers[name], fixed, self, _Gone(), Log("error"),
                    prompt=None, on_added=self._on_added,
                )  # fmt: skip
                for endpoint in cluster.endpoints:
                    self._on_added(cluster, endpoint)
                cluster.on_change = self._on_change
            if name in members:
                self._settle(name, members[name])
            yield

    def _settle(self, name: str, told: Told) -> None:
        assert self.runtime is not None
        membership = self.memberships[name]
        membership.reconfigure(
            self.runtime.makers[name], tuple(member for member, _ in told), (), prompt=None
        )
        known = {member.identity: address for member, address in told}
        for endpoint in membership.cluster.endpoints:
            address = known.get(endpoint.name)
            if address is not None:
                endpoint.resolve(address, split_address(endpoint.address)[1])
        membership.cluster.refresh()

    def _note_addresses(self, members: dict[str, Told]) -> None:
        for told in members.values():
            self.known.update(
                {split_address(member.address)[0]: address for member, address in told if address is not None}
            )

    def _on_added(self, cluster: Cluster, endpoint: Endpoint) -> None:
        name = f"{cluster.name}/{endpoint.name}"
        endpoint.pool.on_problem = lambda why: self.log.warning(f"endpoint {name}: TLS failed: {why}")

    def _on_connect_failed(self, cluster: str, endpoint: str) -> None:
        now, name = time.monotonic(), f"{cluster}/{endpoint}"
        if now - self._prompted.get(name, 0.0) >= PROMPT_SECONDS:
            self._prompted[name] = now
            self.channel.send("connect_failed", (cluster, endpoint))

    def _on_change(self, cluster: Cluster, kind: str, endpoint: Endpoint | None) -> None:
        if not kind.startswith(OWN_EVENTS):
            self.channel.send("event", (cluster.name, kind, endpoint.name if endpoint is not None else None))

    def _let_go(self, before: Runtime, runtime: Runtime) -> None:
        for name, listener in before.listeners.items():
            if runtime.listeners.get(name) is not listener:
                self.leaving.add(listener, Deadlines.of(runtime.config))
        self.observing.settle(runtime.log_writers)

    def _tell_line(self, when: float, level: str, text: str) -> None:
        """The supervisor shows it among the events. Called by any thread."""
        self._loop.call_soon_threadsafe(self.channel.send, "line", (when, level, text))

    def _on_fault(self, error: BaseException) -> None:
        self.log.error(f"worker {self.index}: internal error, one connection closed: {trace_of(error)}")

    def _beat(self) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        writers, exporter = self.observing.writers.values(), self.observing.exporter
        self.shared.beat(
            self.index,
            lag=self.reactor.lag,
            faults=self.reactor.faults,
            cpu=usage.ru_utime + usage.ru_stime,
            log=(sum(writer.lines for writer in writers), sum(writer.dropped for writer in writers)),
            traces=(exporter.exported, exporter.tracer.dropped, exporter.failed) if exporter else (0, 0, 0),
        )
        asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)

    def _rotate_tickets(self) -> None:
        rest = rotate_tickets(self._listeners(), self.shared.secret)
        asyncio.get_running_loop().call_later(rest, self._rotate_tickets)

    # what Membership asks of Names

    def address_of(self, address: str) -> str | None:
        """As the supervisor has told."""
        host, _ = split_address(address)
        return self.known.get(host, None if is_name(host) else host)

    def follow(self, endpoint: Endpoint, cluster: Cluster) -> Callable[[], None]:
        """The supervisor follows names; it wants to hear when connecting fails."""
        return lambda: self._on_connect_failed(cluster.name, endpoint.name)

    def unfollow(self, endpoint: Endpoint) -> None:
        """See follow."""


class _Gone:
    """What Membership asks of Retired: the supervisor looks after records."""

    def add(self, cluster: str, endpoints: Iterable[Endpoint]) -> None:
        """Nothing to do."""

    def sweep(self) -> None:
        """Nothing to do."""


async def _serve(
    index: int, workers: int, shared_fd: int, channel_fd: int, secret: bytes, level: str
) -> None:
    shared = Shared(workers, size=os.fstat(shared_fd).st_size, fd=shared_fd, secret=secret)
    worker = DataWorker(index, shared, socket.socket(fileno=channel_fd), level)
    await worker.over.wait()
    await worker.channel.sent.wait()
    worker.observing.close()
    os._exit(0)  # connections that are left are the kernel's to close; nothing else is worth the time


def _main() -> None:
    index, workers, shared_fd, channel_fd = (int(text) for text in sys.argv[1:5])
    level, core = sys.argv[5], sys.argv[6]
    ignore_signals()  # the supervisor says what they mean
    if core != "-":
        os.sched_setaffinity(0, {int(core)})
    secret = sys.stdin.buffer.read(32)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(index, workers, shared_fd, channel_fd, secret, level))


if __name__ == "__main__":
    _main()
