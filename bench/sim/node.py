"""A node of lbd: one real Cluster, made from settings as the daemon makes it, with a clock that is told."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from bench.sim.clock import Clock
from bench.sim.server import Station
from lbd.config import schema
from lbd.control.clusters import behaviour
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Balancer, Endpoint
from lbd.engine.retry import RetryPolicy
from lbd.engine.shared import Shared

REQUEST = b"GET / HTTP/1.1\r\nHost: sim.test\r\n\r\n"
SHARED_SIZE = 1 << 20

Tell = Callable[[float, str, str], None]


class SeededBalancers:
    """Makes balancers of a class, each with the next seed of a row, as a cluster makes a new one with each
    division."""

    def __init__(self, algorithm: type[Balancer], random: Random) -> None:
        self._algorithm = algorithm
        self._random = random
        self._takes_seed = _takes_seed(algorithm)
        self.wants_members = getattr(algorithm, "wants_members", False)

    def __call__(self, endpoints: Any, **options: Any) -> Balancer:
        if self._takes_seed:
            options["seed"] = self._random.getrandbits(62)
        return self._algorithm(endpoints, **options)


def _takes_seed(algorithm: type[Balancer]) -> bool:
    """Compiled classes do not tell their parameters."""
    try:
        algorithm((), seed=1)
    except TypeError:
        return False
    return True


class Node:
    """One cluster and what stands around it: its counters, its timer, its active checks."""

    def __init__(
        self,
        config: schema.Config,
        stations: dict[str, Station],
        clock: Clock,
        random: Random,
        tell: Tell,
    ) -> None:
        setting = config.clusters[0]
        self.clock = clock
        self.shared = Shared(size=SHARED_SIZE)
        self.endpoints = {
            name: Endpoint(
                name,
                name,
                weight=station.server.weight,
                priority=station.server.priority,
                labels=station.server.labels,
                shared=self.shared,
                cluster=setting.name,
                foreign=bool(config.zone) and station.server.labels.get("zone") != config.zone,
            )
            for name, station in stations.items()
        }
        made = behaviour(setting, config)
        made["balancer_class"] = SeededBalancers(made["balancer_class"], random)
        self.cluster = Cluster(
            setting.name, self.endpoints.values(), shared=self.shared, seed=random.getrandbits(62), **made
        )
        self.cluster.on_change = lambda _, kind, endpoint: tell(
            clock.now, kind, endpoint.name if endpoint is not None else ""
        )
        self.failure_statuses = frozenset(setting.failure_statuses)
        self.connect = setting.timeouts.connect
        self.retry: RetryPolicy | None = self.cluster.retry
        self.patience = (
            self.retry.try_ms if self.retry and self.retry.try_ms else self.cluster.response_ms
        ) / 1000
        self.may_repeat = self.retry is not None and self.retry.would_allow("GET", REQUEST)
        self._alarm = 0.0
        self.wake()
        self.settle()
        if setting.health_check is not None:
            for place, station in enumerate(stations.values()):
                check = Check(self, station, setting.health_check)
                clock.at(clock.now + check.setting.interval * place / len(stations), check.ask)

    def wake(self) -> None:
        """Before anything is asked of the cluster: its clock goes by what it is told."""
        self.cluster.set_time(self.clock.now)

    def settle(self) -> None:
        """After each event: the cluster says when it wants to look at its endpoints again."""
        due = self.cluster.next_refresh
        if due and due != self._alarm:
            self._alarm = due
            self.clock.at(due, self._on_alarm, due)

    def _on_alarm(self, due: float) -> None:
        if due == self._alarm:
            self._alarm = 0.0
            self.wake()
            self.settle()

    def counters(self) -> dict[str, Any]:
        """Of the cluster, as the metrics show them."""
        return self.shared.read("cluster", self.cluster.name)


class Check:
    """An active check: so many results in a row that differ from an endpoint's state change it
    (lbd/health/check.pyx)."""

    def __init__(self, node: Node, station: Station, setting: Any) -> None:
        self.node = node
        self.station = station
        self.setting = setting
        self._in_a_row = 0

    def ask(self) -> None:
        node, setting = self.node, self.setting
        endpoint = node.endpoints[self.station.server.name]
        found = "up" if self.station.is_well(node.clock.now) else "down"
        unlike = found != endpoint.health
        self._in_a_row = self._in_a_row + 1 if unlike else 0
        wanted = setting.healthy if found == "up" else setting.unhealthy
        if unlike and (endpoint.health == "unknown" or self._in_a_row >= wanted):
            node.wake()
            endpoint.set_health(found)
            node.cluster.changed()
            node.settle()
            self._in_a_row = 0
            unlike = False
        interval = min(setting.fast_interval, setting.interval) if unlike else setting.interval
        node.clock.at(node.clock.now + interval, self.ask)
