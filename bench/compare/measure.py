"""One sample: load on one proxy, its CPU time or memory before and after.

Every function returns a flat dict that goes into the result file as it is. `problems` lists what makes the
sample invalid: errors seen by the generator, answers that are not 2xx, too few bytes. An invalid sample is
kept in the file and never enters a median.
"""

from __future__ import annotations

import socket
import time
from typing import Any

from bench.compare.generators import Generators
from bench.compare.origin import BODIES
from bench.compare.process import BenchError
from bench.compare.proxies import Running
from bench.compare.verify import role_port, verify
from bench.compare.works import MIB, Work

SETTLE_SECONDS = 5.0
Sample = dict[str, Any]


def _spent(running: Running, before: tuple[float, float]) -> tuple[float, float]:
    user, system = running.child.cpu()
    return user - before[0], system - before[1]


def closed_loop(generators: Generators, running: Running, work: Work, seconds: int) -> Sample:
    """Load as fast as it is answered: CPU per request (or MiB), throughput, latency under saturation."""
    port = role_port(running, work)
    generators.warm_up(work, port)
    before = running.child.cpu()
    report = generators.load(f"{work.name} {running.name}", work, port, seconds)
    user, system = _spent(running, before)
    elapsed = report.duration_us / 1e6
    # wrk counts the bytes of unfinished responses too, so CPU per MiB is exact even for a few large bodies.
    units = report.bytes / MIB if work.per_mib else report.requests
    return {
        "cpu_user_s": round(user, 3), "cpu_system_s": round(system, 3),
        "cost_us": (user + system) * 1e6 / units if units else None,
        "rps": report.requests / elapsed, "busy": round((user + system) / elapsed, 3),
        **report.details, "problems": report.problems,
    }  # fmt: skip


def fixed_rate(generators: Generators, running: Running, work: Work, seconds: int, rate: float) -> Sample:
    """A constant rate for everybody: latency from the time at which each request was due."""
    before = running.child.cpu()
    report = generators.fixed_rate(
        f"{work.name} {running.name}", work, role_port(running, work), rate, seconds
    )
    user, system = _spent(running, before)
    kinds = ("failed", "wrong_status", "unanswered")
    return {
        "cpu_user_s": round(user, 3), "cpu_system_s": round(system, 3),
        "cost_us": (user + system) * 1e6 / report["answered"] if report["answered"] else None,
        "busy": round((user + system) / seconds, 3),
        **report, "problems": [f"{report[kind]:.0f} {kind}" for kind in kinds if report[kind]],
    }  # fmt: skip


def _exchange(client: socket.socket, request: bytes, size: int) -> None:
    client.sendall(request)
    data = b""
    while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < size:
        more = client.recv(65536)
        if not more:
            raise BenchError("connection closed before the whole answer")
        data += more
    if not data.startswith(b"HTTP/1.1 200"):
        raise BenchError(f"answer {data[:40]!r}")


def _settled_memory(running: Running) -> dict[str, int]:
    """Memory once two readings in a row agree (bounded: after that the last one)."""
    deadline = time.monotonic() + SETTLE_SECONDS
    last = running.child.memory()
    while time.monotonic() < deadline:
        time.sleep(0.1)
        now = running.child.memory()
        if now["rss"] == last["rss"]:
            break
        last = now
    return last


def idle(running: Running, work: Work, count: int) -> Sample:
    """Memory before and after `count` connections that each did one request and now rest.

    The requests come one after another, so what grows is memory per connection and not per request in flight.
    Kernel memory of the sockets is the same for every proxy and not counted.
    """
    start = _settled_memory(running)
    verify(running, work)
    port, body = role_port(running, work), BODIES[work.path]
    before = _settled_memory(running)
    request = f"GET {work.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    clients: list[socket.socket] = []
    try:
        for _ in range(count):
            clients.append(socket.create_connection(("127.0.0.1", port), timeout=10))
            _exchange(clients[-1], request, len(body))
        after = _settled_memory(running)
        problems = [] if _exchange_again(clients, request, len(body)) else ["idle connections were closed"]
    except OSError as error:
        raise BenchError(f"connection {len(clients)} of {count}: {error}") from error
    finally:
        for client in clients:
            client.close()
    return {
        "connections": count, "start": start, "before": before, "after": after, "start_bytes": start["rss"],
        "connection_bytes": (after["rss"] - before["rss"]) / count, "problems": problems,
    }  # fmt: skip


def _exchange_again(clients: list[socket.socket], request: bytes, size: int) -> bool:
    """The oldest and the newest connection still work: they were idle, not closed."""
    try:
        _exchange(clients[0], request, size)
        _exchange(clients[-1], request, size)
    except (OSError, BenchError):
        return False
    return True
