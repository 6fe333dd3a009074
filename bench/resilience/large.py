"""A large configuration, and how long a client of it has to wait."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench.compare.process import BenchError
from bench.resilience.origins import Nginx
from bench.resilience.stage import Stage

SIZES = {"clusters": 1000, "routes": 10_000, "hosts": 500}
ENDPOINTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")  # of each cluster


def large_origin(stage: Stage) -> int:
    """The port of an nginx that listens on all of them."""
    origin = Nginx(stage.nginx, stage.directory, stage.placement.origin, ENDPOINTS)
    stage.stack.callback(origin.stop)
    return origin.port


def large(origin: int, settings: str = "") -> str:
    """Listeners and clusters as SIZES says; `settings`: of each cluster, in YAML's flow style."""
    clusters, hosts = SIZES["clusters"], SIZES["hosts"]
    routes = "".join(
        f"      - {{match: {{host: h{n % hosts}.test, path: /s{n // hosts}/*}}, cluster: c{n % clusters}}}\n"
        for n in range(SIZES["routes"])
    )
    addresses = ", ".join(f"'{host}:{origin}'" for host in ENDPOINTS)
    members = "".join(f"  - {{name: c{n}, endpoints: [{addresses}], {settings}}}\n" for n in range(clusters))
    listener = f"  - name: web\n    bind: '127.0.0.1:<port>'\n    routes:\n{routes}"
    return f"listeners:\n{listener}      - {{cluster: c0}}\nclusters:\n{members}"


def longest_wait(port: int, act: Callable[[], object], pause: float = 0.0) -> float:
    """Milliseconds of the slowest of the requests that a client makes meanwhile, `pause` seconds apart."""
    waits: list[float] = []
    done = threading.Event()

    def ask() -> None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while not done.is_set():
            began = time.perf_counter()
            client.request("GET", "/small")
            client.getresponse().read()
            waits.append(time.perf_counter() - began)
            time.sleep(pause)
        client.close()

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            act()
        finally:
            done.set()
    if error := asking.exception():
        raise BenchError(f"a client was cut: {error}") from error
    return round(max(waits) * 1000, 1)
