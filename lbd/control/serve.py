"""Serving a configuration from start to exit code: the outermost function of the daemon.

    bind and compile -> admin -> READY -> run until TERM, INT or QUIT -> drain -> exit

TERM and INT drain with the configured deadline, a second one stops at once; QUIT drains without a deadline;
USR1 reopens access and audit logs; HUP reloads; USR2 starts the executable again, which takes over the
listening sockets, and drains when that serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from pathlib import Path

import uvloop

from lbd.config import schema
from lbd.config.secrets import secrets_of
from lbd.control import systemd
from lbd.control.admin_listener import AdminListener
from lbd.control.draining import Deadlines
from lbd.control.inheritance import HandoverFailed, Inheritance, hand_over
from lbd.control.reload import Refused, Reloader
from lbd.control.signals import MEANT, STOPPING, ignore_signals
from lbd.control.worker import START_FAILURES, Worker
from lbd.engine.shared import Shared
from lbd.observe.log import Log

EXIT_OK, EXIT_FAILURE = 0, 1


def serve(config: schema.Config, *, reload_from: Path | None = None) -> int:
    """Run until a signal ends it; returns the exit code."""
    log = Log(config.log.level, config.log.format, secrets_of(config))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Daemon(config, log, reload_from).run())


class _Daemon:
    """reload_from: where the configuration was loaded. `lbd proxy` and `lbd demo` have none, and leave
    nothing behind."""

    def __init__(self, config: schema.Config, log: Log, reload_from: Path | None) -> None:
        config.written_at(config.places.thin())
        self.config = config
        self.path = reload_from
        self.log = log
        self.stopping = asyncio.Event()
        self.at_once = asyncio.Event()
        self.is_endless = False
        self.is_replaced = False  # by a process that has its sockets
        self.replacing: asyncio.Task[None] | None = None
        self.reloads: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        state_directory = Path(self.config.state_directory) if self.path is not None else None
        shared = Shared(worker_count(self.config))
        inheritance = Inheritance.take()
        worker = Worker(
            self.config, self.log, shared, state_directory=state_directory, inheritance=inheritance
        )
        admin_listener = AdminListener(worker)
        if self.path is not None:
            worker.reloader = Reloader(worker, admin_listener, self.path)
        try:
            admin = admin_listener.prepare(self.config.admin)
            await worker.start()
            await admin_listener.adopt(self.config.admin, admin)
        except START_FAILURES as error:
            for line in str(error).splitlines():
                self.log.error(f"cannot start: {line}")
            return EXIT_FAILURE
        self._handle_signals(worker, admin_listener)
        # What was imported and compiled lives for ever: freezing it keeps full collections out of p99.
        gc.collect()
        gc.freeze()
        for address in inheritance.close_unused():
            self.log.warning(f"inherited socket {address}: no listener of the configuration has this address")
        systemd.notify("READY=1", "STATUS=serving")
        self.log.info("ready")
        inheritance.tell_ready()
        watchdog = asyncio.create_task(systemd.feed_watchdog(worker.is_alive))
        await self.stopping.wait()
        if self.is_replaced:
            admin_listener.close(unlink=False)
        await self._drain(worker)
        watchdog.cancel()
        admin_listener.close(unlink=not self.is_replaced)
        await worker.stop()
        loop = asyncio.get_running_loop()
        for number in MEANT:
            loop.remove_signal_handler(number)
        ignore_signals()
        self.log.info("stopped")
        return EXIT_OK

    def _handle_signals(self, worker: Worker, admin_listener: AdminListener) -> None:
        loop = asyncio.get_running_loop()
        for number in STOPPING:
            loop.add_signal_handler(number, self._stop, number, worker)
        loop.add_signal_handler(signal.SIGUSR1, self._reopen, worker)
        loop.add_signal_handler(signal.SIGHUP, self._reload, worker)
        loop.add_signal_handler(signal.SIGUSR2, self._replace, worker, admin_listener)

    def _replace(self, worker: Worker, admin_listener: AdminListener) -> None:
        if self.replacing is None or self.replacing.done():
            self.replacing = asyncio.create_task(self._hand_over(worker, admin_listener))

    async def _hand_over(self, worker: Worker, admin_listener: AdminListener) -> None:
        """Hot restart. What does not work changes nothing."""
        self.log.info("SIGUSR2: starting the executable again")
        try:
            process = await hand_over({**worker.listening.held(), **admin_listener.held()}, worker.healths())
        except HandoverFailed as error:
            self.log.error(f"hot restart failed, this process goes on: {error}")
            systemd.notify(f"STATUS=serving; hot restart failed: {error}")
            worker.audit.note("hot restart", via="SIGUSR2", outcome="failed", details={"why": str(error)})
            return
        self.log.info(f"pid {process.pid} serves now")
        worker.audit.note("hot restart", via="SIGUSR2", changes={"pid": (os.getpid(), process.pid)})
        systemd.notify(f"MAINPID={process.pid}")
        self.is_replaced = True
        self.stopping.set()

    def _reopen(self, worker: Worker) -> None:
        worker.reopen_logs()
        worker.audit.note("reopen logs", via="SIGUSR1")

    def _reload(self, worker: Worker) -> None:
        if worker.reloader is None:
            why = "there is no configuration file to reload"
            self.log.warning(f"SIGHUP: {why}; nothing changed")
            worker.audit.note("reload", via="SIGHUP", outcome="refused", details={"why": why})
        else:
            task = asyncio.create_task(_reload_quietly(worker.reloader))
            self.reloads.add(task)
            task.add_done_callback(self.reloads.discard)

    def _stop(self, number: signal.Signals, worker: Worker) -> None:
        via = signal.Signals(number).name
        if self.stopping.is_set():
            worker.audit.note("stop at once", via=via)
            self.at_once.set()
            return
        worker.audit.note("stop", via=via)
        if number == signal.SIGQUIT:
            self.is_endless = True
        self.stopping.set()

    async def _drain(self, worker: Worker) -> None:
        if not self.is_replaced:
            systemd.notify("STOPPING=1", "STATUS=draining")
        self.log.info("draining: no new connections, waiting for exchanges in flight")
        deadlines = Deadlines.none() if self.is_endless else Deadlines.of(worker.config)
        drain = asyncio.create_task(worker.drain(deadlines, is_replaced=self.is_replaced))
        hurry = asyncio.create_task(self.at_once.wait())
        await asyncio.wait({drain, hurry}, return_when=asyncio.FIRST_COMPLETED)
        if drain.done():
            hurry.cancel()
            left = drain.result()
            if left:
                self.log.warning(f"drain deadline reached: {left} connections cut")
        else:
            drain.cancel()
            self.log.warning("second signal: stopping at once")


def worker_count(config: schema.Config) -> int:
    """`auto` is one for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if config.workers == "auto" else config.workers


async def _reload_quietly(reloader: Reloader) -> None:
    """For a signal, whose sender hears of it by the log."""
    with contextlib.suppress(Refused):
        await reloader.reload_and_say()
