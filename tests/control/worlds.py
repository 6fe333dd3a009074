"""Configs, Runtimes and Workers in the test's process: no daemon, loopback, ports of the kernel's choice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from lbd.admin.server import AdminServer
from lbd.config import schema
from lbd.config.loader import load_text
from lbd.control.compile import Runtime, compile_runtime
from lbd.control.sockets import listen
from lbd.control.worker import Worker
from lbd.engine.accesslog import LogWriter
from lbd.engine.reactor import Reactor
from lbd.engine.shared import Shared
from lbd.observe.log import Log

CONFIG = """
admin: {bind: "127.0.0.1:0"}
environment: testing
listeners:
  - {name: web, bind: "127.0.0.1:0", routes: [{name: here, match: {path: /here}, respond: {status: 204}},
                                              {name: rest, cluster: app}]}
  - {name: db, bind: "127.0.0.1:0", protocol: tcp, cluster: app}
clusters:
  - {name: app, endpoints: [{address: "127.0.0.1:1", name: one}, {address: "127.0.0.1:2", weight: 0}]}
"""


class Lines(Log):
    """Keeps what would go to stderr."""

    def __init__(self) -> None:
        super().__init__("debug")
        self.lines: list[tuple[str, str]] = []

    def _write(self, level: Any, message: str) -> None:
        self.lines.append((level, message))


def config_of(text: str = CONFIG) -> schema.Config:
    return load_text(text)


@contextmanager
def compiled(
    text: str, addresses: dict[str, str] | None = None, shared: Shared | None = None
) -> Iterator[Runtime]:
    """A Runtime on a loop that never runs; IP literals resolve to themselves."""
    loop = asyncio.new_event_loop()
    config = config_of(text)
    known = {"127.0.0.1": "127.0.0.1", "::1": "::1", **(addresses or {})}
    shared = shared or Shared(1, 1 << 20)
    runtime = compile_runtime(config, Reactor(loop, print), shared, known, open_log=LogWriter)
    try:
        yield runtime
    finally:
        for writer in runtime.log_writers.values():
            writer.close()
        loop.close()


@asynccontextmanager
async def serving(text: str = CONFIG) -> AsyncIterator[tuple[Worker, asyncio.Server]]:
    """A worker that serves, and its admin listener."""
    config, log = config_of(text), Lines()
    worker = Worker(config, log, Shared(1, 1 << 20))
    await worker.start()
    assert config.admin is not None
    admin = AdminServer(config.admin, worker)
    await admin.serve(config.admin, listen(config.admin.bind, 128))
    server = admin.server
    assert server is not None
    try:
        yield worker, server
    finally:
        admin.close()
        await server.wait_closed()
        worker.listening.close()
        await worker.stop()


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


async def talk(port: int, *pieces: bytes) -> bytes:
    """Send the pieces and our end of stream, read to the other's."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()
        await writer.wait_closed()
