"""Prometheus exposition of the shared block: read and summed at scrape time, nothing is kept beside it.

Metric names and labels are a contract with users (design, section 7). Labels come from the configuration
only, so their number is bounded.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Protocol

from lbd import __version__
from lbd.config import schema
from lbd.engine.accesslog import LogWriter
from lbd.engine.cluster import Cluster
from lbd.engine.reactor import Reactor
from lbd.engine.shared import Shared
from lbd.observe.departed import Departed
from lbd.observe.gateway import gateway_metrics
from lbd.observe.present import Present
from lbd.observe.process import beats_of, process_figures
from lbd.observe.resilience import resilience_metrics
from lbd.observe.text import Family, Pieces
from lbd.observe.traffic import cluster_metrics, endpoint_metrics, listener_metrics, route_metrics


class Snapshot(Protocol):
    """What is read of a Runtime."""

    @property
    def clusters(self) -> Mapping[str, Cluster]: ...
    @property
    def log_writers(self) -> Mapping[str, LogWriter]: ...


class CertificateState(Protocol):
    """What is read of a certificate."""

    @property
    def listener(self) -> str: ...
    @property
    def hosts(self) -> tuple[str, ...]: ...
    @property
    def not_after(self) -> float | None: ...
    @property
    def source(self) -> str: ...
    @property
    def error(self) -> str | None:
        """Why it is not replaced."""
        ...


class Certificates(Protocol):
    """What is read of a CertificateKeeper."""

    @property
    def failures(self) -> Mapping[str, int]: ...
    def certificates(self) -> Iterator[CertificateState]: ...


class Discovered(Protocol):
    """What is read of a Discovery."""

    def updates(self) -> Iterator[tuple[str, str, int]]: ...
    def errors(self) -> Iterator[tuple[str, str, int]]: ...
    def sizes(self) -> Iterator[tuple[str, int]]: ...


class Reloads(Protocol):
    """What is read, and asked for, of a Reloader."""

    @property
    def counts(self) -> Mapping[str, int]:
        """By outcome: ok, failed."""
        ...

    @property
    def last_ok(self) -> bool: ...
    @property
    def last_change(self) -> float:
        """Unix time."""
        ...

    @property
    def refused(self) -> type[Exception]:
        """What reload_and_say raises."""
        ...

    async def reload_and_say(self) -> Any: ...


class Drops(Protocol):
    """What is read of a Tracer."""

    @property
    def dropped(self) -> int: ...


class Exports(Protocol):
    """What is read of an Exporter."""

    exported: int
    failed: int

    @property
    def tracer(self) -> Drops: ...


class Observed(Protocol):
    """What is read of a worker."""

    @property
    def config(self) -> schema.Config:
        """The one in force."""
        ...

    @property
    def reloader(self) -> Reloads | None: ...
    @property
    def keeper(self) -> Certificates | None: ...
    @property
    def discovery(self) -> Discovered: ...
    @property
    def shared(self) -> Shared: ...
    @property
    def reactor(self) -> Reactor: ...
    @property
    def runtime(self) -> Snapshot | None: ...
    @property
    def departed(self) -> Departed: ...
    @property
    def draining(self) -> bool: ...
    @property
    def worker_deaths(self) -> int: ...
    @property
    def exporter(self) -> Exports | None: ...


class Exposition:
    """The text of /metrics."""

    def __init__(self, worker: Observed) -> None:
        self.worker = worker
        self.started = time.time()

    def text(self) -> bytes:
        """All of it at once, for who serves nobody meanwhile."""
        return b"".join(self.pieces())

    def pieces(self) -> Pieces:
        """The same, in many small pieces. Between two of them anything may happen, a reload as well."""
        shared, present, departed = self.worker.shared, Present(self.worker), self.worker.departed
        yield from route_metrics(shared, departed.names(shared, "route"))
        yield from listener_metrics(shared, departed.names(shared, "listener"))
        yield from self._certificates()
        yield from endpoint_metrics(shared, present)
        yield from cluster_metrics(shared, departed.names(shared, "cluster"))
        if self.worker.runtime is not None:
            yield from resilience_metrics(shared, present)
        yield from self._discovery()
        yield from self._process()
        admin = self.worker.config.admin
        if admin is not None and admin.gateway_metrics and self.worker.runtime is not None:
            yield from gateway_metrics(shared, present, departed.names(shared, "route"))

    def _certificates(self) -> Pieces:
        keeper = self.worker.keeper
        records = list(keeper.certificates()) if keeper is not None else []
        yield from Family(
            "lbd_tls_cert_not_after_timestamp_seconds",
            "When a certificate in force ends (Unix time).",
            "listener",
            "hosts",
            "source",
        ).pieces(
            ([record.listener, ",".join(record.hosts), record.source], record.not_after)
            for record in records
            if record.not_after is not None
        )
        failures = list(keeper.failures.items()) if keeper is not None else []
        yield from Family(
            "lbd_tls_cert_failures_total", "Replacements and orders of certificates that failed.", "listener"
        ).pieces(([listener], count) for listener, count in failures)

    def _discovery(self) -> Pieces:
        discovery, labels = self.worker.discovery, ("cluster", "source")
        yield from Family("lbd_discovery_updates_total", "Changes that discovery made.", *labels).pieces(
            ([cluster, source], count) for cluster, source, count in list(discovery.updates())
        )
        yield from Family(
            "lbd_discovery_errors_total", "Lookups and readings without a good answer.", *labels
        ).pieces(([cluster, source], count) for cluster, source, count in list(discovery.errors()))
        yield from Family(
            "lbd_discovery_endpoints", "Endpoints that `discover` has found.", "cluster"
        ).pieces(([cluster], count) for cluster, count in list(discovery.sizes()))

    def _process(self) -> Pieces:
        beats = beats_of(self.worker.shared)
        cpu, lag, faults, memory = process_figures(self.worker.reactor, beats)
        environment = self.worker.config.environment or ""
        yield from chain(
            single("lbd_process_cpu_seconds_total", "User and system time of all processes that serve.", cpu),
            single(
                "lbd_process_resident_memory_bytes",
                "Memory of all processes that serve; pages that they share are counted for each.",
                memory,
            ),
            single(
                "lbd_worker_deaths_total",
                "Worker processes that ended without being told to, and were replaced.",
                self.worker.worker_deaths,
            ),
            single("lbd_start_time_seconds", "When the process started (Unix time).", self.started),
            single(
                "lbd_event_loop_lag_seconds",
                "How late the last tick of the loop was; of several workers the latest.",
                lag,
            ),
            single("lbd_internal_errors_total", "Exceptions that cost a connection.", faults),
            self._logs(beats),
            self._traces(beats),
            self._reloads(),
            Family("lbd_build_info", "Version.", "version", "python", "environment").pieces(
                [([__version__, platform.python_version(), environment], 1)]
            ),
        )

    def _reloads(self) -> Pieces:
        reloader = self.worker.reloader
        if reloader is None:
            return
        yield from Family("lbd_config_reloads_total", "Reloads by outcome.", "result").pieces(
            ([outcome], count) for outcome, count in list(reloader.counts.items())
        )
        yield from single(
            "lbd_config_last_reload_success",
            "1 when the last reload was put in force, or there was none yet.",
            reloader.last_ok,
        )
        yield from single(
            "lbd_config_last_change_timestamp_seconds",
            "When the configuration in force was put in force (Unix time).",
            reloader.last_change,
        )

    def _logs(self, beats: list[dict[str, Any]]) -> Pieces:
        """Workers of their own tell sums, which stand with the first target."""
        told_lines = sum(beat["log_lines"] for beat in beats)
        told_drops = sum(beat["log_dropped"] for beat in beats)
        lines, dropped = [], []
        if self.worker.runtime is not None:
            for writer in self.worker.runtime.log_writers.values():
                lines.append(([writer.target], writer.lines + told_lines))
                dropped.append(([writer.target], writer.dropped + told_drops))
                told_lines = told_drops = 0
        yield from Family("lbd_access_log_lines_total", "Access log lines made.", "target").pieces(lines)
        yield from Family(
            "lbd_access_log_dropped_total", "Access log lines lost to a slow or full target.", "target"
        ).pieces(dropped)

    def _traces(self, beats: list[dict[str, Any]]) -> Pieces:
        exporter = self.worker.exporter
        own = (exporter.exported, exporter.tracer.dropped, exporter.failed) if exporter else (0, 0, 0)
        exported, unqueued, unexported = (
            mine + sum(beat[key] for beat in beats)
            for mine, key in zip(own, ("exported", "unqueued", "unexported"), strict=True)
        )
        on = self.worker.config.tracing is not None
        yield from Family("lbd_traces_exported_total", "Exchanges whose spans the collector took.").pieces(
            [([], exported)] if on else []
        )
        yield from Family(
            "lbd_traces_dropped_total", "Exchanges in the sample whose spans were lost.", "reason"
        ).pieces([(["queue"], unqueued), (["collector"], unexported)] if on else [])


def single(name: str, text: str, value: float) -> Pieces:
    """A family with one sample, without labels."""
    return Family(name, text).pieces([([], value)])
