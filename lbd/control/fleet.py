"""The fleet: worker processes of one lbd, and the supervisor's side of what passes between them.

Each worker has a listening socket of its own for every address (SO_REUSEPORT), of which the supervisor keeps
a duplicate: what waits in the queue of a worker that dies is served by the one that replaces it. Programs are
started anew, not forked, so that nothing of the supervisor (its loop, its threads) is in them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lbd.control.channel import Channel
from lbd.control.draining import Deadlines
from lbd.control.listening import Address, HeldSockets
from lbd.control.orders import Orders, Told
from lbd.control.questions import Questions
from lbd.engine.recorder import Recorder
from lbd.engine.shared import Shared
from lbd.engine.tls import ServerTls
from lbd.observe.log import Log

START_SECONDS = 60.0
SILENT_SECONDS = 60.0  # without a beat, after which a worker is killed
LOOK_SECONDS = 1.0
STILL_SECONDS = 15.0  # without a beat, after which systemd is not told that all is well
STEADY_SECONDS = 10.0  # a worker that lived for so long did not die of its start
SHORTEST_REST, LONGEST_REST = 0.05, 10.0  # before another one is started


class WorkersFailed(Exception):
    """The workers could not do what they were told; str() says why."""


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """One worker process."""

    index: int
    process: subprocess.Popen[bytes]
    channel: Channel
    started: float
    answers: asyncio.Queue[tuple[str, Any]] = field(default_factory=asyncio.Queue)
    addresses: set[Address] = field(default_factory=set)  # whose sockets it has
    begun: asyncio.Event = field(default_factory=asyncio.Event)  # it serves, or never will

    async def answer(self, kind: str, seconds: float = START_SECONDS) -> Any:
        """What it says to an order. WorkersFailed."""
        try:
            async with asyncio.timeout(seconds):
                said, content = await self.answers.get()
        except TimeoutError:
            self.process.kill()  # what it says later would answer another order; another one replaces it
            raise WorkersFailed(f"worker {self.index} does not answer") from None
        if said != kind:
            raise WorkersFailed(f"worker {self.index}: {content or said}")
        return content


class Fleet:
    """told(): the members of all clusters; on_event(cluster, kind, endpoint), on_connect_failed(cluster,
    endpoint): what workers say."""

    def __init__(
        self,
        count: int,
        log: Log,
        shared: Shared,
        sockets: HeldSockets,
        *,
        pins: bool,
        told: Callable[[], dict[str, Told]],
        recorder: Callable[[], Recorder | None],
        on_event: Callable[[str, str, str | None], None],
        on_connect_failed: Callable[[str, str], None],
    ) -> None:
        self.count = count
        self.sockets = sockets
        self.deaths = 0
        self._log = log
        self._shared = shared
        self._pins = pins
        self._told = told
        self._recorder = recorder
        self._on_event = on_event
        self._on_connect_failed = on_connect_failed
        self._processes: dict[int, WorkerProcess] = {}
        self._questions = Questions()
        self._pieces = b""
        self._level = "info"
        self._certificates: dict[str, list[Any]] = {}
        self._rests: dict[int, float] = {}
        self._watching: asyncio.Task[None] | None = None
        self._starting: set[asyncio.Task[None]] = set()
        self.stopping = False
        self._late_certificates: set[str] = set()  # listeners and clusters of which there is something new
        self._late_members: set[str] = set()
        self.changing = False  # a reload is under way: what is new is told with it, or after it

    def __repr__(self) -> str:
        return f"<Fleet {sorted(self._processes)} of {self.count}>"

    # life

    async def start(self, pieces: bytes, level: str) -> None:
        """All workers; returns when they serve. WorkersFailed."""
        self._pieces, self._level = pieces, level
        workers = [self._spawn(index) for index in range(self.count)]
        for worker in workers:
            await self._begin(worker)
        self._watching = asyncio.create_task(self._watch())

    def _spawn(self, index: int) -> WorkerProcess:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._shared.clear_gauges(index)
        cores = sorted(os.sched_getaffinity(0))
        core = str(cores[index % len(cores)]) if self._pins else "-"
        with theirs:
            arguments = (index, self.count, self._shared.fd, theirs.fileno(), self._level, core)
            process = subprocess.Popen(
                [sys.executable, "-m", "lbd.control.data_worker", *map(str, arguments)],
                stdin=subprocess.PIPE,
                pass_fds=(self._shared.fd, theirs.fileno()),
            )
        assert process.stdin is not None
        process.stdin.write(self._shared.secret)
        process.stdin.close()
        channel = Channel(
            ours,
            lambda kind, content, _: self._on_message(worker, kind, content),
            lambda: self._on_closed(worker),
        )
        worker = WorkerProcess(index, process, channel, time.monotonic())
        self._processes[index] = worker
        return worker

    async def _begin(self, worker: WorkerProcess) -> None:
        """What it serves, and until it does. WorkersFailed, OSError."""
        try:
            held = self._new_sockets(worker)
            orders = Orders(
                self._pieces,
                self._told(),
                self._certificates,
                self._shared.export(everything=True),
                tuple(held),
                self._recorder() is not None,
            )
            worker.channel.send("start", orders, self._descriptors(held))
            await worker.answer("prepared")
            await worker.answer("adopted")
        finally:
            worker.begun.set()

    def _descriptors(self, held: dict[Address, socket.socket]) -> list[int]:
        """Of listening sockets, and last of the recorder's memory."""
        recorder = self._recorder()
        return [*(one.fileno() for one in held.values()), *([recorder.fd] if recorder is not None else [])]

    def _new_sockets(self, worker: WorkerProcess) -> dict[Address, socket.socket]:
        """Those that it has not got yet."""
        held = self.sockets.of(worker.index)
        before, worker.addresses = worker.addresses, set(held)
        return {address: one for address, one in held.items() if address not in before}

    def _on_message(self, worker: WorkerProcess, kind: str, content: Any) -> None:
        if kind == "event":
            self._on_event(*content)
        elif kind == "line":
            self._log.keep(*content)
        elif kind == "connect_failed":
            self._on_connect_failed(*content)
        elif kind == "answer":
            self._questions.on_answer(*content)
        else:
            worker.answers.put_nowait((kind, content))

    def _on_closed(self, worker: WorkerProcess) -> None:
        """It has ended, or is about to."""
        self._questions.on_closed(worker.channel)
        worker.answers.put_nowait(("ended", "it has ended"))
        task = asyncio.create_task(self._bury(worker))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _bury(self, worker: WorkerProcess) -> None:
        code = await _end_of(worker.process)
        if self._processes.get(worker.index) is worker:
            del self._processes[worker.index]
        self._shared.clear_gauges(worker.index)
        if self.stopping:
            return
        self.deaths += 1
        lived = time.monotonic() - worker.started
        rest = 0.0 if lived >= STEADY_SECONDS else max(self._rests.get(worker.index, 0.0), SHORTEST_REST) * 2
        self._rests[worker.index] = min(rest, LONGEST_REST)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        who = f"worker {worker.index} (pid {worker.process.pid})"
        self._log.error(f"{who} ended with {how}; starting another")
        await self._replace(worker.index)

    async def _replace(self, index: int) -> None:
        """Start another one; when even that cannot be done, try again."""
        while True:
            await asyncio.sleep(self._rests[index])
            while self.changing:
                await asyncio.sleep(0.05)
            if self.stopping:
                return
            try:
                another = self._spawn(index)
                break
            except OSError as error:
                self._rests[index] = min(2 * max(self._rests[index], SHORTEST_REST), LONGEST_REST)
                self._log.error(f"worker {index} cannot be started: {error.strerror}; trying again")
        try:
            await self._begin(another)
        except (WorkersFailed, OSError) as error:
            if not self.stopping:
                self._log.error(f"worker {index} does not start: {error}")
            another.process.kill()
        else:
            self._log.info(f"worker {another.index} (pid {another.process.pid}) serves")

    async def _watch(self) -> None:
        """Kill workers whose loop stands still: they would hold their clients for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for index, beat in enumerate(self._shared.beats()):
                worker = self._processes.get(index)
                if worker is None or beat["pid"] != worker.process.pid or beat["silent"] is None:
                    continue
                if beat["silent"] > SILENT_SECONDS:
                    self._log.error(f"worker {index} (pid {beat['pid']}) does not react: killed")
                    worker.process.kill()

    def is_alive(self) -> bool:
        """Has every worker that serves ticked of late?"""
        return all((beat["silent"] or 0.0) < STILL_SECONDS for beat in self._shared.beats())

    async def ask(self, question: str, content: Any) -> dict[int, Any]:
        """What each worker answers, by index; None for one that does not, or is not there."""
        channels = {index: worker.channel for index, worker in self._processes.items()}
        return dict.fromkeys(range(self.count)) | await self._questions.ask(channels, question, content)

    # orders

    def tell(self, kind: str, content: Any = None) -> None:
        """To all workers."""
        for worker in self._processes.values():
            worker.channel.send(kind, content)

    def tell_members(self, cluster: str, told: Callable[[], Told]) -> None:
        """They have changed; told(): who they are now."""
        if self.changing:  # then it may be about to go
            self._late_members.add(cluster)
        else:
            self.tell("members", (cluster, told(), self._shared.export()))

    def tell_certificates(self, listener: str, entries: list[Any]) -> None:
        """Those in force from now on."""
        self._certificates[listener] = entries
        if self.changing:
            self._late_certificates.add(listener)
        else:
            self.tell("certificates", (listener, entries))

    def _settle(self) -> None:
        """A reload is over; what came meanwhile has not been told."""
        self.changing = False
        told = self._told() if self._late_members else {}
        for cluster in self._late_members & told.keys():
            self.tell("members", (cluster, told[cluster], self._shared.export()))
        for listener in self._late_certificates:
            self.tell("certificates", (listener, self._certificates[listener]))
        self._late_members.clear()
        self._late_certificates.clear()

    def tell_level(self, level: str) -> None:
        """Of the log."""
        self._level = level
        self.tell("level", level)

    async def prepare(self, pieces: bytes) -> None:
        """All workers compile another configuration beside the present one. WorkersFailed: none has."""
        while starting := [one for one in self._processes.values() if not one.begun.is_set()]:
            await starting[0].begun.wait()  # its answers until then are to other orders
        self.changing = True
        orders = Orders(pieces, self._told(), {}, self._shared.export())
        workers = list(self._processes.values())
        for worker in workers:
            worker.channel.send("prepare", orders)
        failures: list[WorkersFailed] = []
        for worker in workers:  # all of them: an answer that nobody waits for would be taken for the next one
            try:
                await worker.answer("prepared")
            except WorkersFailed as error:
                failures.append(error)
        if failures:
            self.abort()
            raise failures[0]

    def abort(self) -> None:
        """What was prepared is forgotten, if something was."""
        if self.changing:
            self.tell("abort")
            self._settle()

    async def adopt(self, pieces: bytes) -> int:
        """What was prepared is put in force; how many connections of clients go on. A worker that cannot is
        replaced."""
        self._pieces = pieces
        self._late_members.clear()
        self._late_certificates.clear()
        kept = 0
        workers, places = list(self._processes.values()), self._shared.export()
        for worker in workers:
            held = self._new_sockets(worker)
            has_recorder = self._recorder() is not None
            orders = Orders(b"", self._told(), self._certificates, places, tuple(held), has_recorder)
            worker.channel.send("adopt", orders, self._descriptors(held))
        for worker in workers:
            try:
                kept += await worker.answer("adopted")
            except WorkersFailed as error:
                self._log.error(f"{error}; it is replaced")
                worker.process.kill()
        self._settle()
        return kept

    async def drain(self, deadlines: Deadlines, *, is_succeeded: bool) -> int:
        """All workers finish what they have, and end; how many connections were cut."""
        self.stopping = True
        if self._watching is not None:
            self._watching.cancel()
        for worker in self._processes.values():
            if not worker.begun.is_set():
                worker.process.kill()
        workers = [worker for worker in self._processes.values() if worker.begun.is_set()]
        for worker in workers:
            worker.channel.send("drain", (deadlines, is_succeeded))
        left, longest = 0, deadlines.longest
        for worker in workers:
            try:
                left += await worker.answer("drained", 1e9 if longest is None else longest + 10)
            except WorkersFailed as error:
                self._log.warning(str(error))
        return left

    async def stop(self) -> None:
        """Whoever is still there is killed."""
        self.stopping = True
        if self._watching is not None:
            self._watching.cancel()
        for worker in list(self._processes.values()):
            if worker.process.poll() is None:
                try:
                    async with asyncio.timeout(1.0):
                        await _end_of(worker.process)
                except TimeoutError:
                    worker.process.kill()
                    await _end_of(worker.process)
            worker.channel.close()


class TlsOfAll:
    """The TLS of a listener in all workers, as a CertificateKeeper sees it; `own` finds out what is wrong."""

    def __init__(self, name: str, own: ServerTls, fleet: Fleet) -> None:
        self._name = name
        self._own = own
        self._fleet = fleet

    def install(self, certificates: Sequence[tuple[Sequence[str], bytes, bytes]]) -> None:
        """TlsError: nothing is changed anywhere."""
        self._own.install(certificates)
        self._fleet.tell_certificates(self._name, [*certificates])

    def set_challenges(self, challenges: Mapping[str, tuple[bytes, bytes]]) -> None:
        """See ServerTls."""
        self._own.set_challenges(challenges)
        self._fleet.tell("challenges", (self._name, dict(challenges)))


async def _end_of(process: subprocess.Popen[bytes]) -> int:
    """Its exit code, once it has ended."""
    if process.poll() is None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        descriptor = os.pidfd_open(process.pid)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
    return process.wait()
