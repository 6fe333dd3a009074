"""/metrics in pieces: each is short, each number is that of all workers, and much may happen in between."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from control.worlds import compiled
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from lbd.engine.shared import Shared
from lbd.observe.departed import Departed
from lbd.observe.metrics import Exposition

CLUSTERS, ROUTES = 20, 60
SIZE = 1 << 22
POLICIES = ("breaker: {}", "breaker: {scope: endpoint}", "balancer: p2c")


def config(first: int = 0) -> str:
    routes = ", ".join(
        f"{{name: r{n}, match: {{path: /{n}}}, cluster: c{first + n % CLUSTERS}}}" for n in range(ROUTES)
    )
    clusters = "".join(
        f"  - {{name: c{first + n}, endpoints: ['127.0.0.1:1', '127.0.0.1:2'], {POLICIES[n % 3]}}}\n"
        for n in range(CLUSTERS)
    )
    return (
        "admin: {bind: '127.0.0.1:0', gateway_metrics: true}\n"
        f"listeners: [{{name: web, bind: '127.0.0.1:0', routes: [{routes}]}}]\nclusters:\n{clusters}"
    )


class Counting:
    """A block that counts how often it is read."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self.read_times = 0
        self.workers = shared.workers

    def read(self, *place: str) -> Any:
        self.read_times += 1
        return self._shared.read(*place)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shared, name)


@contextmanager
def observed(workers: int = 1) -> Iterator[Any]:
    """What an Exposition reads of a worker, with numbers in every counter."""
    shared = Shared(workers, SIZE)
    with compiled(config(), shared=shared) as runtime:
        fill(shared)
        yield SimpleNamespace(
            config=runtime.config,
            runtime=runtime,
            shared=Counting(shared),
            block=shared,
            reactor=SimpleNamespace(lag=0.25, faults=1),
            reloader=None,
            keeper=None,
            departed=Departed(),
            worker_deaths=0,
            exporter=None,
            draining=False,
            discovery=SimpleNamespace(updates=tuple, errors=tuple, sizes=lambda: [("c0", 2)]),
        )


def fill(shared: Shared) -> None:
    """Numbers into the records of all workers; states are left alone."""
    draw = random.Random(1)
    for (kind, _), (offset, step) in shared.export(True).items():
        if kind in ("route", "endpoint", "cluster", "listener"):
            for worker in range(shared.workers):
                words = [draw.choice((0, 7, draw.randrange(1 << 30))) for _ in range(step // 8)]
                os.pwrite(shared.fd, struct.pack(f"<{len(words)}Q", *words), offset + step * worker)


def families(text: bytes) -> list[Metric]:
    return list(text_string_to_metric_families(text.decode()))


class Given:
    """Families as they are."""

    def __init__(self, found: Iterable[Metric]) -> None:
        self.found = list(found)

    def collect(self) -> Iterator[Metric]:
        yield from self.found


def test_prometheus_client_would_write_the_same() -> None:
    with observed(workers=3) as worker:
        text = Exposition(worker).text()
    registry = CollectorRegistry()
    registry.register(Given(families(text)))  # type: ignore[arg-type]
    assert generate_latest(registry).splitlines() == text.splitlines()


def test_numbers_are_those_of_all_workers() -> None:
    with observed(workers=3) as worker:
        text = Exposition(worker).text()
        shared = worker.shared
        whole = {name: shared.read("endpoint", name) for name in shared.names("endpoint")}
    found = {family.name: family.samples for family in families(text)}
    assert len(whole) == 2 * CLUSTERS
    for metric, field in (("lbd_upstream_connects", "connects"), ("lbd_upstream_active", "active")):
        said = {f"{s.labels['cluster']}/{s.labels['endpoint']}": s.value for s in found[metric]}
        assert said == {name: record[field] for name, record in whole.items()}
    busy = {
        f"{s.labels['cluster']}/{s.labels['endpoint']}": s.value
        for s in found["lbd_upstream_connections"]
        if s.labels["state"] == "busy"
    }
    assert busy == {name: record["open"] - record["idle"] for name, record in whole.items()}


def test_a_piece_is_one_record_at_most() -> None:
    with observed() as worker:
        before = most = 0
        pieces = list[bytes]()
        for piece in Exposition(worker).pieces():
            most = max(most, worker.shared.read_times - before)
            before = worker.shared.read_times
            pieces.append(piece)
    assert most == 2  # two fields of one record
    assert max(map(len, pieces)) < 8192


def test_records_that_are_forgotten_meanwhile() -> None:
    with observed() as worker:
        pieces = Exposition(worker).pieces()
        begun = [next(pieces) for _ in range(3)]
        shared = worker.shared
        for name in shared.names("route")[10:]:
            shared.forget("route", name)
        for name in shared.names("endpoint")[5:]:
            shared.forget("endpoint", name)
            shared.forget("endpoint_state", name)
        found = {family.name: family.samples for family in families(b"".join([*begun, *pieces]))}
    assert len(found["lbd_request_bytes"]) == 10
    assert len(found["lbd_upstream_connects"]) == len(found["lbd_ejections"]) == 5
    assert len(found["lbd_shed"]) == CLUSTERS


def test_another_configuration_meanwhile() -> None:
    """What has gone is left out from there on; no name is said twice."""
    with observed() as worker, compiled(config(first=15), shared=worker.block) as other:
        pieces = Exposition(worker).pieces()
        begun = []
        for piece in pieces:
            begun.append(piece)
            if piece.startswith(b'lbd_endpoint_up{cluster="c3"'):
                break
        worker.runtime = other
        text = b"".join([*begun, *pieces])
    up = {s.labels["cluster"] for f in families(text) if f.name == "lbd_endpoint_up" for s in f.samples}
    assert up == {f"c{n}" for n in (*range(4), *range(15, 20))}
    lines = [line for line in text.splitlines() if not line.startswith(b"#")]
    assert len({line.rpartition(b" ")[0] for line in lines}) == len(lines)
