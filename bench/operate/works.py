"""The works: each does to an lbd under load what its operator does, and says what clients noticed."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.compare.machine import free_port
from bench.compare.origin import nginx_command, nginx_temp_paths, nginx_user
from bench.compare.process import BenchError, Child, descendants
from bench.compare.programs import compile_program
from bench.resilience.large import large, large_origin, longest_wait
from bench.resilience.stage import Found, Stage, failed

GIB = 1 << 30
RELOADS, RELOAD_SECONDS, CROWD = 50, 60, 500
PROXY = """\
daemon off;
worker_processes 1;
pid {dir}/proxy-{port}.pid;
error_log {dir}/proxy-{port}.log error;
{user}
events {{ worker_connections 16384; }}
http {{
    access_log {dir}/proxy-{port}.access;
    keepalive_requests 1000000000;
    {temp}
    upstream app {{ server 127.0.0.1:{origin}; keepalive 256; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""
FILES = """\
daemon off;
worker_processes 1;
pid {dir}/files-{port}.pid;
error_log {dir}/files-{port}.log error;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    {temp}
    server {{ listen 127.0.0.1:{port}; root {dir}/files; }}
}}
"""
SERVED = """\
drain_timeout: 30s
{extra}
listeners:
  - name: web
    bind: '127.0.0.1:<port>'
    routes:
      - {{match: {{path: /chat}}, cluster: chat}}
      - {{match: {{path: /big}}, cluster: files}}
      - {{cluster: app}}
clusters:
  - {{name: app, endpoints: ['127.0.0.1:{app}'], timeouts: {{response: {response}s}}}}
  - {{name: chat, endpoints: ['127.0.0.1:{chat}']}}
  - {{name: files, endpoints: ['127.0.0.1:{files}']}}
"""


class Served:
    """lbd with an endpoint for requests, one for WebSockets and one that has a file of 1 GiB."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.app = stage.origins(1)[0].port
        self.chat, self.files = free_port(), free_port()
        program = str(compile_program("wsecho", stage.directory))
        _start(stage, "wsecho", [program, str(self.chat)], self.chat)
        (stage.directory / "files").mkdir()
        with (stage.directory / "files" / "big").open("wb") as big:
            big.truncate(GIB)
        config = stage.directory / "files.conf"
        config.write_text(_filled(stage, FILES, self.files))
        _start(stage, "files", nginx_command(stage.nginx, stage.directory, config), self.files)

    def text(self, response: int = 10, extra: str = "") -> str:
        """The configuration; another `response` is a change."""
        return SERVED.format(
            app=self.app, chat=self.chat, files=self.files, response=response, extra=extra
        )

    @contextmanager
    def crowd(self, port: int, seconds: int) -> Iterator[Found]:
        """WebSockets and a download for so long; what they saw, once the block has ended."""
        seen: Found = {}
        places = self.stage.placement.load
        command = ["taskset", "-c", ",".join(map(str, places))]
        sockets = subprocess.Popen(
            [*command, sys.executable, "-m", "bench.operate.crowd", str(port), str(CROWD), str(seconds)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        rate = GIB // seconds
        download = subprocess.Popen(
            [*command, "curl", "-sS", "-o", "/dev/null", "--limit-rate", str(rate), "-w", "%{size_download}",
             f"http://127.0.0.1:{port}/big"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(2)  # all are there
        yield seen
        seen["websockets"] = json.loads(sockets.communicate(timeout=seconds + 30)[0])
        size, code = download.communicate(timeout=seconds + 30)[0], download.returncode
        seen["download"] = "whole" if code == 0 and int(size) == GIB else f"cut at {size}, exit code {code}"


def _filled(stage: Stage, template: str, port: int, **more: int) -> str:
    return template.format(
        dir=stage.directory, port=port, user=nginx_user(), temp=nginx_temp_paths(stage.directory), **more
    )


def _start(stage: Stage, name: str, command: list[str], port: int) -> Child:
    child = Child(name, command, stage.placement.origin, stage.directory / f"{name}.log")
    stage.stack.callback(child.stop)
    if not child.wait_listening([port]):
        raise BenchError(f"{name} does not start: {child.last_words()}")
    return child


def reload(admin: int) -> float:
    """Ask for it and wait; the seconds that it took. BenchError when it is refused."""
    kind = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{admin}/api/reload", b"{}", kind, method="POST")
    before = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        raise BenchError(f"a reload was refused: {error.read().decode()[:300]}") from error
    return time.monotonic() - before


def reloads(stage: Stage) -> Found:
    """50 reloads, each with another setting, in 60 seconds."""
    served = Served(stage)
    seconds = RELOAD_SECONDS + 6
    p99: dict[str, int] = {}
    found: Found = {"target": {"failed": 0, "cut": 0, "p99_ratio": 1.2}}
    for name in ("quiet", "reloading"):
        with stage.configured(served.text(), name) as (_, port, admin):

            def act(name: str = name, port: int = port, admin: int = admin) -> None:
                if name == "quiet":
                    return
                config, head = stage.file_of(name), stage.file_of(name).read_text().split("drain_timeout")[0]
                for turn in range(RELOADS):
                    due = time.monotonic() + RELOAD_SECONDS / RELOADS
                    text = served.text(response=10 + turn % 5 + 1).replace("<port>", str(port))
                    config.write_text(head + text)
                    reload(admin)
                    time.sleep(max(0.0, due - time.monotonic()))

            with served.crowd(port, seconds + 4) as seen:
                summary = stage.load_while(port, act, seconds)
        p99[name] = summary["p99_us"]
        found[name] = {"failed": failed(summary), "requests": summary["requests"], **seen}
    found["p99_ratio"] = round(p99["reloading"] / p99["quiet"], 3)
    return found


def restart(stage: Stage) -> Found:
    """Three hot restarts under the load; WebSockets are told to come back, the download goes on."""
    served = Served(stage)
    with stage.configured(served.text(extra="tcp_drain_timeout: 60s")) as (child, port, _):
        pids = [child.pids[0]]

        def act() -> None:
            for _ in range(3):
                time.sleep(2)
                os.kill(pids[-1], signal.SIGUSR2)
                pids.append(_successor(child, pids))

        try:
            with served.crowd(port, 24) as seen:
                summary = stage.load_while(port, act, 20)
        finally:
            for pid in pids[1:]:
                _end(pid)
    return {"failed": failed(summary), "requests": summary["requests"], "restarts": 3, **seen, "target": 0}


def _successor(child: Child, known: list[int]) -> int:
    """The process that serves after a hot restart, when the log says so."""
    for _ in range(600):
        lines = [line for line in child.log.read_text().splitlines() if "serves now" in line]
        if len(lines) >= len(known):
            return int(lines[-1].split("pid ")[1].split()[0])
        time.sleep(0.1)
    raise BenchError(f"no hot restart: {child.last_words()}")


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return


def worker(stage: Stage) -> Found:
    """kill -9 of one of two workers, twice, with 64 connections."""
    origin = stage.origins(1)[0]
    text = (
        "workers: 2\nlisteners: [{name: web, bind: '127.0.0.1:<port>', cluster: app}]\n"
        f"clusters: [{{name: app, endpoints: ['127.0.0.1:{origin.port}']}}]\n"
    )
    with stage.configured(text) as (child, port, _):
        _workers_of(child)

        def act() -> None:
            for _ in range(2):
                time.sleep(2)
                os.kill(_workers_of(child)[0], signal.SIGKILL)

        summary = stage.load_while(port, act, 7)
    return {
        "refused": summary["connect"],
        "failed": failed(summary),
        "requests": summary["requests"],
        "connections": 32,
        "kills": 2,
        "target": {"refused": 0},
    }


def _workers_of(child: Child) -> list[int]:
    """Its two worker processes, once both are there."""
    for _ in range(200):
        found = [pid for pid in descendants(child.pids[0]) if _is_worker(pid)]
        if len(found) == 2:
            return found
        time.sleep(0.1)
    raise BenchError(f"there are no two workers: {child.last_words()}")


def _is_worker(pid: int) -> bool:
    try:
        return b"data_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def watching(stage: Stage) -> Found:
    """All that tells what happened, on and off, and nginx with its access log: CPU of a request, in turns."""
    origin = stage.origins(1)[0].port
    rest = (
        "listeners: [{name: web, bind: '127.0.0.1:<port>', cluster: app}]\n"
        f"clusters: [{{name: app, endpoints: ['127.0.0.1:{origin}']}}]\n"
    )
    off = f"recorder: off\naccess_log: off\n{rest}"
    on = f"access_log: {{to: '{stage.directory}/access.json', format: json}}\n{rest}"
    port = free_port()
    config = stage.directory / "proxy.conf"
    config.write_text(_filled(stage, PROXY, port, origin=origin))
    nginx = Child("nginx", nginx_command(stage.nginx, stage.directory, config), stage.placement.proxy,
                  stage.directory / "nginx.log")  # fmt: skip
    stage.stack.callback(nginx.stop)
    if not nginx.wait_listening([port]):
        raise BenchError(f"nginx does not start: {nginx.last_words()}")
    costs: dict[str, list[float]] = {"off": [], "on": [], "nginx": []}
    with stage.configured(off, "off") as (a, at, _), stage.configured(on, "on") as (b, bt, admin):
        for turn in range(stage.rounds + 1):
            for name, child, where in (("off", a, at), ("on", b, bt), ("nginx", nginx, port)):
                before = sum(child.cpu())
                summary = stage.load(where, 64)
                if name == "on":
                    urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5).close()
                if turn:  # the first is to warm up
                    costs[name].append((sum(child.cpu()) - before) * 1e6 / summary["requests"])
    return {
        "on_to_off": _ratio(costs["on"], costs["off"]),
        "on_to_nginx": _ratio(costs["on"], costs["nginx"]),
        "target": {"on_to_off": 1.25, "on_to_nginx": 1.0},
    }


def _ratio(these: list[float], those: list[float]) -> Found:
    ratios = [this / that for this, that in zip(these, those, strict=True)]
    return {"median": round(statistics.median(ratios), 3), "of_rounds": [round(one, 3) for one in ratios]}


WORKERS_RATE = 3000


def workers(stage: Stage) -> Found:
    """CPU of a request at a rate that leaves both idle most of the time."""
    origin = stage.origins(1)[0].port
    rest = (
        "listeners: [{name: web, bind: '127.0.0.1:<port>', cluster: app}]\n"
        f"clusters: [{{name: app, endpoints: ['127.0.0.1:{origin}']}}]\n"
    )
    costs: dict[str, list[float]] = {"one": [], "two": []}
    with (
        stage.configured(rest, "one") as (one, p1, _),
        stage.configured(f"workers: 2\n{rest}", "two") as (two, p2, _),
    ):
        for child in (one, two):
            for pid in child.pids:
                os.sched_setaffinity(pid, {0, 1})
        for turn in range(stage.rounds + 1):
            for name, child, port in (("one", one, p1), ("two", two, p2)):
                before = sum(child.cpu())
                stage.fixed_rate(port, WORKERS_RATE, stage.seconds)
                if turn:
                    costs[name].append((sum(child.cpu()) - before) * 1e6 / (WORKERS_RATE * stage.seconds))
    return {**_ratio(costs["two"], costs["one"]), "target": 1.05}


def large_reload(stage: Stage) -> Found:
    """Every cluster changes in each reload; somebody asks every millisecond."""
    took: list[float] = []
    stalls: dict[str, list[float]] = {"resting": [], "reloading": []}
    with stage.configured(large(large_origin(stage), "timeouts: {response: 10s}")) as (_, port, admin):
        config = stage.file_of()
        text = config.read_text()
        stage.load(port)  # to warm up
        for turn in range(stage.rounds):
            config.write_text(text.replace("response: 10s", f"response: {11 + turn % 2}s"))
            stalls["resting"].append(longest_wait(port, lambda: time.sleep(1.5), 0.001))
            stalls["reloading"].append(longest_wait(port, lambda: took.append(reload(admin)), 0.001))
    return {
        "seconds": round(statistics.median(took), 3),
        "of_rounds": [round(one, 3) for one in took],
        "longest_ms": stalls,
        "target": {"seconds": 1.0, "longest_ms": 20},
    }


WORKS: dict[str, Callable[[Stage], Found]] = {
    "reloads": reloads,
    "restart": restart,
    "worker": worker,
    "watching": watching,
    "workers": workers,
    "large": large_reload,
}
