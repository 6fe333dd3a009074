"""Endpoints for the works: nginx processes that can be killed, and one with workers of a given speed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import Collection
from pathlib import Path

from bench.compare.machine import free_port
from bench.compare.origin import nginx_command, nginx_temp_paths, nginx_user
from bench.compare.process import BenchError, Child, descendants

CONFIG = """\
daemon off;
worker_processes 1;
pid {dir}/origin-{port}.pid;
error_log {dir}/origin-{port}.log error;
{user}
events {{ worker_connections 16384; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    {temp}
    server {{
        {listens}
        location / {{ default_type text/plain; return 200 "hello, world\\n"; }}
    }}
}}
"""
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nhello, world\n"


class Nginx:
    """One nginx on a port that stays the same over restarts; `hosts`: loopback addresses it listens on."""

    def __init__(
        self, program: str, directory: Path, cores: Collection[int], hosts: Collection[str] = ("127.0.0.1",)
    ) -> None:
        self.program, self.directory, self.cores = program, directory, cores
        self.hosts = hosts
        self.port = free_port()
        self.start()

    def start(self) -> None:
        """On the same port again."""
        config = self.directory / f"origin-{self.port}.conf"
        config.write_text(
            CONFIG.format(
                dir=self.directory,
                port=self.port,
                user=nginx_user(),
                temp=nginx_temp_paths(self.directory),
                listens=" ".join(f"listen {host}:{self.port} backlog=4096;" for host in self.hosts),
            )
        )
        command = nginx_command(self.program, self.directory, config)
        self.child = Child("origin", command, self.cores, self.directory / "origins.log")
        if not self.child.wait_listening([self.port]):
            raise BenchError(f"an origin does not start: {self.child.last_words()}")

    def kill(self) -> None:
        """As the kernel does when memory is short: no goodbye to anybody."""
        master = self.child.pids[0]
        for pid in (master, *descendants(master)):
            os.kill(pid, signal.SIGKILL)
        self.child.stop()

    def stop(self) -> None:
        self.child.stop()


def worker_origin(
    directory: Path, cores: Collection[int], milliseconds: float, workers: int
) -> tuple[Child, int]:
    """An origin whose workers need that long for each request; further ones wait for a worker, in order."""
    port = free_port()
    command = [sys.executable, "-m", "bench.resilience.origins", str(port), str(milliseconds), str(workers)]
    child = Child("worker origin", command, cores, directory / "workers.log")
    if not child.wait_listening([port]):
        raise BenchError(f"the origin does not start: {child.last_words()}")
    return child, port


class _Workers:
    """Requests in their order, `count` of them at a time."""

    def __init__(self, seconds: float, count: int) -> None:
        self.seconds, self.free = seconds, count
        self.waiting: deque[_Connection] = deque()

    def ask(self, connection: _Connection) -> None:
        if not self.free:
            self.waiting.append(connection)
            return
        self.free -= 1
        asyncio.get_running_loop().call_later(self.seconds, self.done, connection)

    def done(self, connection: _Connection) -> None:
        self.free += 1
        connection.answer()
        if self.waiting:
            self.ask(self.waiting.popleft())


class _Connection(asyncio.Protocol):
    """Keep-alive requests without bodies, one at a time."""

    def __init__(self, workers: _Workers) -> None:
        self.workers = workers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.workers.ask(self)

    def answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(ANSWER)  # type: ignore[attr-defined]


async def _serve(port: int, workers: _Workers) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(workers), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(int(sys.argv[1]), _Workers(float(sys.argv[2]) / 1000, int(sys.argv[3]))))
