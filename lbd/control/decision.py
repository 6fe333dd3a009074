"""Decision: what one configuration makes of a request, in a form that two of them can be compared by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from lbd.engine.router import Respond

Kind = Literal["cluster", "respond", "redirect", "refused", "unreachable"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Compared by all but what is only shown: a route without a name is the same at another index.

    `endpoint`: where the request itself decides it (by a key, by order, as the only one), else None.
    `answer`: fields and body of a fixed answer. `at`, `cluster_at`: the lines of the configuration."""

    kind: Kind
    route_key: str | None = None
    cluster: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    endpoint: str | None = None
    status: int = 0
    reason: str = ""
    answer: tuple[bytes, bytes, int] | None = None
    route: str | None = field(default=None, compare=False)
    at: str | None = field(default=None, compare=False)
    cluster_at: str | None = field(default=None, compare=False)

    def to_data(self) -> dict[str, Any]:
        """For JSON; what does not apply is left out."""
        names = ("kind", "route", "cluster", "endpoint", "status", "reason", "at", "cluster_at")
        found = {name: getattr(self, name) for name in names} | {"location": self.location}
        return {name: value for name, value in found.items() if value}

    @property
    def location(self) -> str | None:
        """Where a fixed answer sends the client."""
        if self.answer is None:
            return None
        fields, _, https_port = self.answer
        if https_port:
            return "https" + (f", port {https_port}" if https_port != 443 else "")
        for line in fields.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(": ")
            if name.lower() == "location":
                return value
        return None


def answer_of(respond: Respond) -> tuple[bytes, bytes, int]:
    """What a fixed answer says beside its status."""
    return respond.headers, respond.body, respond.https_port


def difference(old: Decision, new: Decision) -> str | None:
    """The kind of change, the gravest that there is; None when both are the same.

    refused, served (was refused), answer (another status or fixed answer), cluster, route, endpoint."""
    refusals = ("refused", "unreachable")
    if old.kind in refusals or new.kind in refusals:
        if new.kind in refusals and old.kind in refusals:
            same = (old.kind, old.status, old.reason) == (new.kind, new.status, new.reason)
            return None if same else "answer"
        return "refused" if new.kind in refusals else "served"
    if (old.kind, old.status, old.answer) != (new.kind, new.status, new.answer):
        return "answer"
    if old.cluster != new.cluster:
        return "cluster"
    if old.route_key != new.route_key:
        return "route"
    return "endpoint" if old.endpoint != new.endpoint else None
