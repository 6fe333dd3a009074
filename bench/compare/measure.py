"""One sample: load on one proxy, its CPU time or memory before and after.

Every function returns a flat dict that goes into the result file as it is. `problems` lists what makes the
sample invalid: errors seen by the generator, answers that are not 2xx, too few bytes. An invalid sample is
kept in the file and never enters a median.
"""

from __future__ import annotations

import http.client
import json
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.compare.origin import BODIES
from bench.compare.process import BenchError, run_tool
from bench.compare.proxies import Running
from bench.compare.works import MIB, Work

HERE = Path(__file__).resolve().parent
EXTRA_SECONDS = 20.0
SETTLE_SECONDS = 5.0
Sample = dict[str, Any]


@dataclass
class Generators:
    """The load generators with their settings; `commands` collects what was run, for the result file."""

    cores: Collection[int]
    connections: int
    openloop: Path | None = None
    commands: dict[str, str] = field(default_factory=dict)

    def compile(self, directory: Path) -> None:
        """Build the open-loop generator."""
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise BenchError("work latency needs a C compiler (cc) for its load generator")
        target = directory / "openloop"
        command = [compiler, "-O2", "-o", str(target), str(HERE / "openloop.c")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise BenchError(f"openloop.c does not compile: {done.stderr.strip()}")
        self.openloop = target

    def run(self, label: str, command: list[str], seconds: float) -> tuple[int, str]:
        self.commands.setdefault(label, shlex.join(command))
        return run_tool(command, self.cores, seconds + EXTRA_SECONDS)

    def wrk(self, label: str, work: Work, port: int, seconds: int) -> dict[str, int]:
        command = ["wrk", "-t1", f"-c{self.connections}", f"-d{seconds}s", "--timeout", "10s"]
        for header in work.headers:
            command += ["-H", header]
        command += ["-s", str(HERE / "wrk_summary.lua"), f"http://127.0.0.1:{port}{work.path}"]
        code, output = self.run(label, command, seconds)
        _, found, text = output.partition("wrk_summary ")
        if code or not found:
            raise BenchError(f"wrk failed with {code}: {output.strip()[-300:]}")
        summary: dict[str, int] = json.loads(text.splitlines()[0])
        return summary

    def fixed_rate(self, label: str, work: Work, port: int, rate: float, seconds: int) -> dict[str, float]:
        if self.openloop is None:
            raise BenchError("the open-loop generator is not compiled")
        settings = [f"{rate:.0f}", str(seconds), str(self.connections)]
        command = [str(self.openloop), "127.0.0.1", str(port), work.path, *settings]
        code, output = self.run(label, command, seconds)
        if code > 1 or not output.startswith("{"):
            raise BenchError(f"openloop failed with {code}: {output.strip()[-300:]}")
        report: dict[str, float] = json.loads(output)
        return report


def role_port(running: Running, work: Work) -> int:
    port = running.port(work.role)
    if port is None:
        raise BenchError(f"{running.name} has no {work.role} mode")
    return port


def verify(running: Running, work: Work) -> None:
    """One request through the proxy: the body must be the origin's, byte for byte."""
    connection = http.client.HTTPConnection("127.0.0.1", role_port(running, work), timeout=10)
    try:
        connection.request("GET", work.path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"{work.path} through {running.name}: {error!r}") from error
    finally:
        connection.close()
    if answer.status != 200 or body != BODIES[work.path]:
        raise BenchError(f"{work.path} through {running.name}: status {answer.status}, {len(body)} bytes")


def _spent(running: Running, before: tuple[float, float]) -> tuple[float, float]:
    user, system = running.child.cpu()
    return user - before[0], system - before[1]


def closed_loop(generators: Generators, running: Running, work: Work, seconds: int) -> Sample:
    """wrk as fast as it gets answers: CPU per request (or MiB), throughput, latency under saturation."""
    before = running.child.cpu()
    summary = generators.wrk(f"{work.name} {running.name}", work, role_port(running, work), seconds)
    user, system = _spent(running, before)
    elapsed = summary["duration_us"] / 1e6
    # wrk counts the bytes of unfinished responses too, so CPU per MiB is exact even for a few large bodies.
    units = summary["bytes"] / MIB if work.per_mib else summary["requests"]
    problems = [
        f"{summary[kind]} {kind} errors" for kind in ("connect", "read", "write", "timeout") if summary[kind]
    ]
    if summary["status"]:
        problems.append(f"{summary['status']} answers are not 2xx or 3xx")
    if summary["requests"] == 0:
        problems.append("no request was answered")
    if summary["bytes"] < summary["requests"] * len(BODIES[work.path]):
        problems.append("fewer bytes than the bodies have")
    return {
        "cpu_user_s": round(user, 3), "cpu_system_s": round(system, 3),
        "cost_us": (user + system) * 1e6 / units if units else None,
        "rps": summary["requests"] / elapsed, "busy": round((user + system) / elapsed, 3),
        **summary, "problems": problems,
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
