"""The works: each starts lbd and its endpoints, puts load on it, does something bad, and says the cost."""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.compare.generators import HERE as SCRIPTS
from bench.compare.machine import Placement, free_port
from bench.compare.process import BenchError, Child, run_tool
from bench.compare.programs import compile_program
from bench.resilience.origins import Nginx, worker_origin

Found = dict[str, Any]


@dataclass
class Stage:
    """What all works need; whatever they start ends with `stack`."""

    directory: Path
    placement: Placement
    nginx: str
    lbd: Sequence[str]
    seconds: int
    rounds: int
    say: Callable[[str], None]
    stack: ExitStack = field(default_factory=ExitStack)

    def origins(self, count: int) -> list[Nginx]:
        """That many endpoints, each an nginx of its own."""
        made = [Nginx(self.nginx, self.directory, self.placement.origin) for _ in range(count)]
        for one in made:
            self.stack.callback(one.stop)
        return made

    def file_of(self, name: str = "lbd") -> Path:
        """The configuration of an lbd."""
        return self.directory / f"{name}.yaml"

    @contextmanager
    def serving(self, cluster: str, name: str = "lbd") -> Iterator[tuple[Child, int, int]]:
        """lbd with this cluster (YAML flow mapping without its name): the process, its port, the admin's."""
        text = "listeners: [{name: web, bind: '127.0.0.1:<port>', cluster: app}]\n"
        with self.configured(f"{text}clusters: [{{name: app, {cluster}}}]\n", name) as found:
            yield found

    @contextmanager
    def configured(self, text: str, name: str = "lbd") -> Iterator[tuple[Child, int, int]]:
        """lbd with this configuration, in which <port> stands for its port; as `serving`."""
        port, admin = free_port(), free_port()
        config = self.file_of(name)
        head = f"admin: {{bind: '127.0.0.1:{admin}'}}\nstate_directory: {self.directory}/{name}-{port}\n"
        config.write_text(head + text.replace("<port>", str(port)))
        child = Child(name, [*self.lbd, str(config)], self.placement.proxy, self.directory / f"{name}.log")
        try:
            if not child.wait_listening([port, admin]):
                raise BenchError(f"lbd does not start: {child.last_words()}")
            yield child, port, admin
        finally:
            child.stop()

    def load(self, port: int, connections: int = 32, seconds: int | None = None) -> Found:
        """wrk's summary of keep-alive GETs."""
        seconds = seconds or self.seconds
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
        command += ["-s", str(SCRIPTS / "wrk_summary.lua"), f"http://127.0.0.1:{port}/small"]
        code, output = run_tool(command, self.placement.load, seconds + 20)
        _, found, text = output.partition("wrk_summary ")
        if code or not found:
            raise BenchError(f"wrk failed with {code}: {output.strip()[-300:]}")
        summary: Found = json.loads(text.splitlines()[0])
        return summary

    def fixed_rate(self, port: int, rate: int, seconds: int) -> float:
        """p99 in microseconds of requests at a constant rate, from the time at which each was due."""
        program = str(compile_program("openloop", self.directory))
        command = [program, "127.0.0.1", str(port), "/small", str(rate), str(seconds), "512"]
        code, output = run_tool(command, self.placement.load, seconds + 30)
        if code not in (0, 1):  # 1: some were not answered in time, which is what is to be seen here
            raise BenchError(f"openloop failed with {code}: {output.strip()[-300:]}")
        found: Found = json.loads(output)
        return float(found["p99_us"])

    def load_while(self, port: int, act: Callable[[], None], seconds: int) -> Found:
        """Load for so long, and something done meanwhile."""
        failures: list[BaseException] = []

        def run() -> None:
            try:
                act()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        found = self.load(port, seconds=seconds)
        thread.join()
        if failures:
            raise failures[0]
        return found


def failed(summary: Found) -> int:
    """Requests that a client saw fail."""
    return sum(summary[kind] for kind in ("connect", "read", "write", "timeout", "status"))


def endpoints(origins: Sequence[Nginx]) -> str:
    return "endpoints: [" + ", ".join(f"'127.0.0.1:{one.port}'" for one in origins) + "]"


PLAIN = "passive_check: off, retry: {limit: 0}"
ALL_POLICIES = (
    "health_check: {path: /small, interval: 1s}, passive_check: {failure_ratio: 50%}, "
    "breaker: {success_rate: 95%}, retry: {limit: 2, statuses: [502, 503, 504]}"
)


def policies(stage: Stage) -> Found:
    """CPU of a plain request with health checks, passive checks, breaker and retries, against none."""
    origin = stage.origins(1)
    costs: dict[str, list[float]] = {"plain": [], "all": []}
    with (
        stage.serving(f"{endpoints(origin)}, {PLAIN}", "plain") as plain,
        stage.serving(f"{endpoints(origin)}, {ALL_POLICIES}", "all") as every,
    ):
        for turn in range(stage.rounds + 1):
            for name, (child, port, _) in (("plain", plain), ("all", every)):
                before = sum(child.cpu())
                summary = stage.load(port, 64)
                if turn:  # the first is to warm up
                    costs[name].append((sum(child.cpu()) - before) * 1e6 / summary["requests"])
    ratios = [b / a for a, b in zip(costs["plain"], costs["all"], strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "of_rounds": [round(r, 3) for r in ratios],
        "target": 1.05,
    }


def checks(stage: Stage) -> Found:
    """CPU of checking 1 000 endpoints every second, over that of resting."""
    hosts = [f"127.0.{n // 250 + 1}.{n % 250 + 1}" for n in range(1000)]
    origin = Nginx(stage.nginx, stage.directory, stage.placement.origin, ["127.0.0.1", *hosts])
    stage.stack.callback(origin.stop)
    addresses = ", ".join(f"'{host}:{origin.port}'" for host in hosts)
    found: Found = {"target": 0.05}
    for name, setting in (("resting", ""), ("checking", ", health_check: {path: /small, interval: 1s}")):
        with stage.serving(f"endpoints: [{addresses}]{setting}", name) as (child, _, admin):
            time.sleep(3)
            before = sum(child.cpu())
            time.sleep(10)
            found[name] = round((sum(child.cpu()) - before) / 10, 4)
            found[f"{name}_checks"] = metric(admin, "lbd_health_checks_total")
    found["share_of_a_core"] = round(found["checking"] - found["resting"], 4)
    return found


def kill(stage: Stage) -> Found:
    """kill -9 one of three endpoints under load, and its return; default settings."""
    origins = stage.origins(3)
    with stage.serving(endpoints(origins)) as (_, port, admin):

        def act() -> None:
            for origin in origins[:2]:
                time.sleep(2)
                origin.kill()
                time.sleep(1)
                origin.start()

        summary = stage.load_while(port, act, 8)
        return {
            "failed": failed(summary),
            "requests": summary["requests"],
            "retries": metric(admin, "lbd_retries_total"),
            "target": 0,
        }


SLOW_RATE = 600  # requests a second, of which a third is more than the slow endpoint can answer


def slow(stage: Stage) -> Found:
    """One of three endpoints, with four workers each, is 20 times slower: p99 by balancer at a constant rate.

    Its third of the requests is more than it can answer; round robin goes on sending it."""
    ports = []
    for milliseconds in (1.5, 1.5, 30):
        child, port = worker_origin(stage.directory, stage.placement.origin, milliseconds, 4)
        stage.stack.callback(child.stop)
        ports.append(port)
    addresses = ", ".join(f"'127.0.0.1:{port}'" for port in ports)
    found: Found = {"target": 5.0}
    for balancer in ("round_robin", "least_conn", "p2c", "peak_ewma", "least_conn_rt"):
        with stage.serving(f"endpoints: [{addresses}], balancer: {balancer}", balancer) as (_, port, _admin):
            found[balancer] = {"p99_ms": round(stage.fixed_rate(port, SLOW_RATE, 5) / 1000, 1)}
    for row in found.values():
        if isinstance(row, dict):
            row["times_better"] = round(found["round_robin"]["p99_ms"] / row["p99_ms"], 1)
    return found


def metric(admin: int, name: str) -> float:
    """The sum of a metric's samples."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)


SCRAPED = {"clusters": 1000, "routes": 10_000, "hosts": 500}
SCRAPED_AT = ("127.0.0.1", "127.0.0.2", "127.0.0.3")  # the endpoints of each cluster


def scrape(stage: Stage) -> Found:
    """/metrics of a large configuration: its CPU, and how long a client waited meanwhile at most."""
    origin = Nginx(stage.nginx, stage.directory, stage.placement.origin, SCRAPED_AT)
    stage.stack.callback(origin.stop)
    with stage.configured(large(origin.port), "large") as (child, port, admin):
        found: Found = {**SCRAPED, "target": 10.0}
        page(admin)  # to warm up
        resting = [longest_wait(port, lambda: time.sleep(1)) for _ in range(stage.rounds)]
        before, sizes = sum(child.cpu()), list[int]()
        for _ in range(stage.rounds):
            sizes.append(len(page(admin)))
        found["cpu_seconds"] = round((sum(child.cpu()) - before) / stage.rounds, 3)
        found["megabytes"] = round(sizes[-1] / 1e6, 1)
        waits = [longest_wait(port, lambda: page(admin)) for _ in range(stage.rounds)]
        # of the best round: what else the machine does only makes one longer
        found["longest_ms_resting"], found["longest_ms"] = min(resting), min(waits)
        return found


def large(origin: int) -> str:
    """Listeners and clusters as SCRAPED says."""
    clusters, hosts = SCRAPED["clusters"], SCRAPED["hosts"]
    routes = "".join(
        f"      - {{match: {{host: h{n % hosts}.test, path: /s{n // hosts}/*}}, cluster: c{n % clusters}}}\n"
        for n in range(SCRAPED["routes"])
    )
    addresses = ", ".join(f"'{host}:{origin}'" for host in SCRAPED_AT)
    members = "".join(f"  - {{name: c{n}, endpoints: [{addresses}]}}\n" for n in range(clusters))
    listener = f"  - name: web\n    bind: '127.0.0.1:<port>'\n    routes:\n{routes}"
    return f"listeners:\n{listener}      - {{cluster: c0}}\nclusters:\n{members}"


def longest_wait(port: int, act: Callable[[], object]) -> float:
    """Milliseconds of the slowest of the requests that a client makes, one after another, meanwhile."""
    waits: list[float] = []
    done = threading.Event()

    def ask() -> None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while not done.is_set():
            began = time.perf_counter()
            client.request("GET", "/small")
            client.getresponse().read()
            waits.append(time.perf_counter() - began)
        client.close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        act()
    finally:
        done.set()
        thread.join()
    return round(max(waits) * 1000, 1)


def page(admin: int) -> bytes:
    """/metrics, read by another process, so that the client that waits is not held up here."""
    url = f"http://127.0.0.1:{admin}/metrics"
    return subprocess.run(["curl", "-sS", "--fail", url], check=True, stdout=subprocess.PIPE).stdout


WORKS: dict[str, Callable[[Stage], Found]] = {
    "policies": policies,
    "checks": checks,
    "kill": kill,
    "slow": slow,
    "scrape": scrape,
}
