"""The lines of `lbd top`: figures as text, sorted and filtered. Nothing here knows a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lbd.cli.admin_client import printable
from lbd.cli.status import duration, table
from lbd.cli.top_reading import ClusterFigures, EndpointFigures, Figures, Flow

CLUSTER_HEAD = ("CLUSTER", "USABLE", "REQ/S", "ERRORS", "P50", "P99", "ACTIVE", "NOTES")
ENDPOINT_HEAD = (
    "ENDPOINT", "STATE", "WEIGHT", "REQ/S", "FAILED", "P50", "P99", "ACTIVE", "QUEUED", "CONNS", "NOTES",
)  # fmt: skip
GOOD, BAD, HEAD, PLAIN = "good", "bad", "head", "plain"  # kinds of lines
SORTS: dict[str, Callable[[Any], Any]] = {  # the largest first, but for names
    "name": lambda row: (getattr(row, "cluster", ""), row.name),
    "requests": lambda row: -row.flow.rate,
    "errors": lambda row: -((row.flow.errors or 0.0) * row.flow.rate),
    "latency": lambda row: -(row.flow.p99 or 0.0),
    "active": lambda row: -row.active,
}


@dataclass(frozen=True)
class View:
    """How it is shown. text: rows that hold it, in any case; clusters: those alone, when there are some."""

    sort: str = "name"
    text: str = ""
    clusters: tuple[str, ...] = ()

    def rows(self, figures: Figures) -> tuple[list[ClusterFigures], list[EndpointFigures]]:
        """The rows, in order. An endpoint is there with its cluster, and a cluster with its endpoints."""
        wanted = self.text.lower()

        def fits(cluster: str, *names: str) -> bool:
            if self.clusters and cluster not in self.clusters:
                return False
            return any(wanted in name.lower() for name in (cluster, *names))

        endpoints = [one for one in figures.endpoints if fits(one.cluster, one.name, one.state)]
        with_endpoints = {one.cluster for one in endpoints}
        clusters = [one for one in figures.clusters if one.name in with_endpoints or fits(one.name)]
        key = SORTS[self.sort]
        return sorted(clusters, key=key), sorted(endpoints, key=key)


def lines(figures: Figures, view: View) -> Iterator[tuple[str, str]]:
    """All lines, each with its kind."""
    yield from summary(figures)
    clusters, endpoints = view.rows(figures)
    yield PLAIN, ""
    yield from _rows(CLUSTER_HEAD, [(_is_well(one), _cluster_cells(one)) for one in clusters])
    yield PLAIN, ""
    yield from _rows(ENDPOINT_HEAD, [(one.usable, _endpoint_cells(one)) for one in endpoints])


def summary(figures: Figures) -> Iterator[tuple[str, str]]:
    """Of lbd as a whole."""
    parts = [f"lbd {figures.version}", f"pid {figures.pid}", f"up {duration(time.time() - figures.started)}"]
    parts += ["draining"] if figures.draining else []
    yield PLAIN, ", ".join(parts)
    flow = figures.flow
    text = f"{_rate(flow.rate)} requests/s, {_share(flow.errors)} errors, p50 {_time(flow.p50)}, "
    text += f"p99 {_time(flow.p99)}; {figures.connections} connections; {figures.cpu:.0%} CPU, "
    yield PLAIN, f"{text}loop lag {_time(figures.lag)}"


def _rows(head: tuple[str, ...], rows: list[tuple[bool, tuple[str, ...]]]) -> Iterator[tuple[str, str]]:
    texts = list(table(head, [cells for _, cells in rows]))
    yield HEAD, texts[0]
    for (well, _), text in zip(rows, texts[1:], strict=True):
        yield (GOOD if well else BAD), text


def _is_well(cluster: ClusterFigures) -> bool:
    return cluster.usable == cluster.endpoints and cluster.usable > 0


def _cluster_cells(one: ClusterFigures) -> tuple[str, ...]:
    notes = ", ".join([one.balancer, *one.notes])
    cells = (one.name, f"{one.usable}/{one.endpoints}", *_flow_cells(one.flow), str(one.active), notes)
    return tuple(map(printable, cells))


def _endpoint_cells(one: EndpointFigures) -> tuple[str, ...]:
    cells = (
        f"{one.cluster}/{one.name}",
        one.state,
        str(one.weight),
        *_flow_cells(one.flow),
        str(one.active),
        str(one.queued),
        str(one.connections),
        ", ".join(one.notes),
    )
    return tuple(map(printable, cells))


def _flow_cells(flow: Flow) -> tuple[str, str, str, str]:
    return _rate(flow.rate), _share(flow.errors), _time(flow.p50), _time(flow.p99)


def _rate(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 100 or rate == 0 else f"{rate:.1f}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds >= 1:
        return f"{seconds:.2f}s"
    return f"{seconds * 1000:.1f}ms"
