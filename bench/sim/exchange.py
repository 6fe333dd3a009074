"""One request through a node, further attempts included: what lbd/engine/exchange.pyx does, without the
bytes."""

from __future__ import annotations

from collections.abc import Callable

from bench.sim.node import Node
from bench.sim.server import Answer, Station
from lbd.engine.endpoint import Endpoint

Finish = Callable[["Exchange", str], None]


class Exchange:
    """Whom it asks is decided by the cluster; this only carries its decisions out."""

    __slots__ = ("arrived", "bits", "finish", "key", "node", "retries", "stations", "tried", "work")

    def __init__(
        self,
        node: Node,
        stations: dict[str, Station],
        work: float,
        key: int,
        bits: int,
        finish: Finish,
    ) -> None:
        """bits: 64 random ones, for the jitter of a back-off. finish is called once, with the reason code of
        what the client got instead of an answer, or nothing."""
        self.node = node
        self.stations = stations
        self.work = work
        self.key = key
        self.bits = bits
        self.finish = finish
        self.arrived = node.clock.now
        self.retries = 0
        self.tried: list[Endpoint] | None = None

    def start(self) -> None:
        node = self.node
        node.wake()
        reason = node.cluster.admit_one()
        if reason is None:
            if node.cluster.budget is not None:
                node.cluster.budget.on_request()
            endpoint = node.cluster.pick_one(self.key)
            if endpoint is not None:
                self._attempt(endpoint)
                return
            reason = "no_endpoint"
        node.settle()
        self.finish(self, reason)

    def _go_on(self, endpoint: Endpoint) -> None:
        """After a back-off."""
        self.node.wake()
        self._attempt(endpoint)

    def _attempt(self, endpoint: Endpoint) -> None:
        node = self.node
        now = node.clock.now
        node.cluster.acquire_one(endpoint)
        answer = self.stations[endpoint.name].serve(now, self.work, self.key, node.connect)
        if answer.seconds > node.patience and not answer.cause.startswith("connect"):
            answer = Answer(node.patience, "timeout", 0)
        node.clock.at(now + answer.seconds, self._on_answer, endpoint, answer)
        node.settle()

    def _on_answer(self, endpoint: Endpoint, answer: Answer) -> None:
        node = self.node
        cluster = node.cluster
        node.wake()
        failed = answer.status in node.failure_statuses if answer.status else bool(answer.cause)
        cluster.outcome_one(endpoint, failed, answer.seconds)
        cluster.release_one(endpoint)
        other = self._another(endpoint, answer) if answer.cause else None
        if other is None:
            node.settle()
            self.finish(self, REASONS[answer.cause])
            return
        self.retries += 1
        assert node.retry is not None
        wait = node.retry.wait(self.retries, self.bits)
        if wait:
            node.clock.at(node.clock.now + wait, self._go_on, other)
            node.settle()
        else:
            self._attempt(other)

    def _another(self, endpoint: Endpoint, answer: Answer) -> Endpoint | None:
        """Where to send it once more, or None."""
        policy = self.node.retry
        if (
            policy is None
            or self.retries >= policy.limit
            or not policy.would_retry(answer.cause, answer.status)
        ):
            return None
        if not answer.cause.startswith("connect") and not self.node.may_repeat:
            return None
        if self.tried is None:
            self.tried = []
        self.tried.append(endpoint)
        return self.node.cluster.pick_one_again(answer.cause, self.tried, self.key)


REASONS = {
    "": "",
    "connect_failed": "connect_failed",
    "connect_timeout": "connect_timeout",
    "reset": "upstream_reset",
    "timeout": "response_timeout",
    "status": "status",
}
