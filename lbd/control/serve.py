"""Serving a configuration from start to exit code: the outermost function of the daemon.

    bind and compile -> admin -> READY -> run until TERM, INT or QUIT -> drain -> exit

TERM and INT drain with the configured deadline, a second one stops at once; QUIT drains without a deadline;
USR1 reopens the access logs. HUP is refused politely until reloading exists.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from pathlib import Path

import uvloop

from lbd.config import schema
from lbd.config.secrets import secrets_of
from lbd.control import systemd
from lbd.control.certs.errors import CertificateError
from lbd.control.sockets import BindError, bound_address, listen, unlink_unix
from lbd.control.tls import TlsSettingError
from lbd.control.worker import Worker
from lbd.engine.foreign import MissingLibrary
from lbd.engine.shared import Shared
from lbd.observe.log import Log

ADMIN_SOCKET_MODE = 0o660  # lbd's user and group
EXIT_OK, EXIT_FAILURE, EXIT_CONFIG = 0, 1, 78


def serve(config: schema.Config, *, reload_from: Path | None = None) -> int:
    """Run until a signal ends it; returns the exit code."""
    log = Log(config.log.level, config.log.format, secrets_of(config))
    if config.workers != 1:
        log.error("workers: only 1 is supported by this version")
        return EXIT_CONFIG
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Daemon(config, log, keeps_state=reload_from is not None).run())


class _Daemon:
    """keeps_state: `lbd proxy` and `lbd demo` leave nothing behind."""

    def __init__(self, config: schema.Config, log: Log, *, keeps_state: bool) -> None:
        self.config = config
        self.state_directory = Path(config.state_directory) if keeps_state else None
        self.log = log
        self.stopping = asyncio.Event()
        self.at_once = asyncio.Event()
        self.drain_timeout: float | None = config.drain_timeout

    async def run(self) -> int:
        if self.config.admin is not None:
            import lbd.admin.server  # noqa: F401  # takes a while: before clients are accepted, not after
        worker = Worker(self.config, self.log, Shared(1), state_directory=self.state_directory)
        try:
            await worker.start()
            admin = await self._start_admin(worker)
        except (BindError, CertificateError, TlsSettingError, MissingLibrary, OSError) as error:
            for line in str(error).splitlines():
                self.log.error(f"cannot start: {line}")
            return EXIT_FAILURE
        self._handle_signals(worker)
        # What was imported and compiled lives for ever: freezing it keeps full collections out of p99.
        gc.collect()
        gc.freeze()
        systemd.notify("READY=1", "STATUS=serving")
        self.log.info("ready")
        await self.stopping.wait()
        await self._drain(worker)
        if admin is not None:
            admin.close()
            assert self.config.admin is not None
            unlink_unix(self.config.admin.bind)
        await worker.stop()
        self.log.info("stopped")
        return EXIT_OK

    async def _start_admin(self, worker: Worker) -> asyncio.Server | None:
        if self.config.admin is None:
            return None
        from lbd.admin.server import start_admin

        listening = listen(self.config.admin.bind, 128, mode=ADMIN_SOCKET_MODE)
        self.log.info(f"admin: listening on {bound_address(listening)}")
        return await start_admin(self.config, worker, listening)

    def _handle_signals(self, worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGUSR1, worker.reopen_logs)
        loop.add_signal_handler(
            signal.SIGHUP,
            self.log.warning,
            "SIGHUP: reloading is not supported by this version; nothing changed",
        )

    def _stop(self, number: signal.Signals) -> None:
        if self.stopping.is_set():
            self.at_once.set()
            return
        if number == signal.SIGQUIT:
            self.drain_timeout = None
        self.stopping.set()

    async def _drain(self, worker: Worker) -> None:
        systemd.notify("STOPPING=1", "STATUS=draining")
        self.log.info("draining: no new connections, waiting for exchanges in flight")
        drain = asyncio.create_task(worker.drain(self.drain_timeout))
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
