"""The works: each starts lbd and its endpoints, puts load on it, does something bad, and says the cost."""

from __future__ import annotations

import statistics
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence

from bench.resilience.large import SIZES, large, large_origin, longest_wait
from bench.resilience.origins import Nginx, worker_origin
from bench.resilience.stage import Found, Stage, failed


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


def scrape(stage: Stage) -> Found:
    """/metrics of a large configuration: its CPU, and how long a client waited meanwhile at most."""
    with stage.configured(large(large_origin(stage)), "large") as (child, port, admin):
        found: Found = {**SIZES, "target": 10.0}
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
