"""Prometheus exposition of the shared block: read and summed at scrape time, nothing is kept beside it.

Metric names and labels are a contract with users (design, section 7). Labels come from the configuration
only, so their number is bounded.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from lbd import __version__
from lbd.config import schema
from lbd.engine.accesslog import LogWriter
from lbd.engine.cluster import Cluster
from lbd.engine.reactor import Reactor
from lbd.engine.reasons import CODES
from lbd.engine.retry import CAUSES
from lbd.engine.shared import KNOWN_STATUS, Shared
from lbd.observe.gateway import gateway_metrics
from lbd.observe.histogram import histogram_rows
from lbd.observe.process import beats_of, process_figures
from lbd.observe.resilience import resilience_metrics

GRPC_OTHER = 17  # slot of a call without a status, or with an unknown one


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
    def draining(self) -> bool: ...
    @property
    def exporter(self) -> Exports | None: ...


class Exposition:
    """The text of /metrics."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, worker: Observed) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(EngineCollector(worker))

    def text(self) -> bytes:
        return generate_latest(self.registry)


class EngineCollector(Collector):
    """Turns records of the block into metric families."""

    def __init__(self, worker: Observed) -> None:
        self.worker = worker
        self.started = time.time()

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._routes()
        yield from self._listeners()
        yield from self._endpoints()
        yield from self._discovery()
        yield from self._process()
        admin, runtime = self.worker.config.admin, self.worker.runtime
        if admin is not None and admin.gateway_metrics and runtime is not None:
            yield from gateway_metrics(self.worker.shared, runtime.clusters.values())

    def _routes(self) -> Iterator[Metric]:
        labels = ["listener", "route", "cluster"]
        requests = CounterMetricFamily("lbd_requests", "Exchanges finished.", labels=[*labels, "code"])
        received = CounterMetricFamily("lbd_request_bytes", "Request body bytes received.", labels=labels)
        sent = CounterMetricFamily("lbd_response_bytes", "Response body bytes sent.", labels=labels)
        grpc = CounterMetricFamily(
            "lbd_grpc_responses", "gRPC calls finished, by their status.", labels=[*labels, "grpc_status"]
        )
        duration = HistogramMetricFamily(
            "lbd_request_duration_seconds", "From the request head to the end of the response.", labels=labels
        )
        codes = ["other", *(str(code) for code in KNOWN_STATUS)]
        for name in self.worker.shared.names("route"):
            record = self.worker.shared.read("route", name)
            values = name.split("/")
            for code, count in zip(codes, record["status"], strict=False):
                if count:
                    requests.add_metric([*values, code], count)
            received.add_metric(values, record["bytes_received"])
            sent.add_metric(values, record["bytes_sent"])
            for status, count in enumerate(record["grpc"]):
                if count:
                    grpc.add_metric([*values, str(status) if status < GRPC_OTHER else "other"], count)
            rows, total = histogram_rows(record["duration"])
            duration.add_metric(values, rows, total)
        yield from (requests, received, sent, duration, grpc)

    def _listeners(self) -> Iterator[Metric]:
        accepted = CounterMetricFamily("lbd_connections", "Client connections accepted.", labels=["listener"])
        is_open = GaugeMetricFamily("lbd_connections_open", "Client connections open.", labels=["listener"])
        errors = CounterMetricFamily("lbd_accept_errors", "Failed accepts.", labels=["listener"])
        pauses = CounterMetricFamily(
            "lbd_accept_pauses",
            "Times accepting stopped for lack of slots, fds or memory.",
            labels=["listener"],
        )
        reasons = CounterMetricFamily(
            "lbd_errors", "Exchanges and tunnels that lbd ended, by reason.", labels=["listener", "reason"]
        )
        moved = CounterMetricFamily(
            "lbd_tunnel_bytes", "Bytes of finished TCP connections.", labels=["listener", "direction"]
        )
        handshakes = CounterMetricFamily(
            "lbd_tls_handshakes", "TLS handshakes completed.", labels=["listener", "resumed"]
        )
        http2 = CounterMetricFamily(
            "lbd_http2_connections", "Client connections that spoke HTTP/2.", labels=["listener"]
        )
        for name in self.worker.shared.names("listener"):
            record = self.worker.shared.read("listener", name)
            accepted.add_metric([name], record["accepted"])
            is_open.add_metric([name], record["open"])
            errors.add_metric([name], record["accept_errors"])
            pauses.add_metric([name], record["accept_pauses"])
            for (code, _), count in zip(CODES, record["reasons"], strict=True):
                if code:
                    reasons.add_metric([name, code], count)
            moved.add_metric([name, "received"], record["bytes_received"])
            moved.add_metric([name, "sent"], record["bytes_sent"])
            handshakes.add_metric([name, "yes"], record["resumed"])
            handshakes.add_metric([name, "no"], record["handshakes"] - record["resumed"])
            http2.add_metric([name], record["http2"])
        yield from (accepted, is_open, errors, pauses, reasons, moved, handshakes, http2)
        yield from self._certificates()

    def _certificates(self) -> Iterator[Metric]:
        expiry = GaugeMetricFamily(
            "lbd_tls_cert_not_after_timestamp_seconds",
            "When a certificate in force ends (Unix time).",
            labels=["listener", "hosts", "source"],
        )
        failures = CounterMetricFamily(
            "lbd_tls_cert_failures",
            "Replacements and orders of certificates that failed.",
            labels=["listener"],
        )
        keeper = self.worker.keeper
        for record in keeper.certificates() if keeper is not None else ():
            if record.not_after is not None:
                expiry.add_metric([record.listener, ",".join(record.hosts), record.source], record.not_after)
        for listener, count in keeper.failures.items() if keeper is not None else ():
            failures.add_metric([listener], count)
        yield from (expiry, failures)

    def _endpoints(self) -> Iterator[Metric]:
        labels = ["cluster", "endpoint"]
        requests = CounterMetricFamily(
            "lbd_upstream_requests", "Attempts by the class of their response.", labels=[*labels, "code"]
        )
        counters = {
            "connects": CounterMetricFamily("lbd_upstream_connects", "Connections opened.", labels=labels),
            "connect_failures": CounterMetricFamily(
                "lbd_upstream_connect_failures", "Connections that failed.", labels=labels
            ),
            "reused": CounterMetricFamily(
                "lbd_upstream_reused", "Requests on a pooled connection.", labels=labels
            ),
            "failures": CounterMetricFamily(
                "lbd_upstream_failures", "Attempts that failed for the endpoint's fault.", labels=labels
            ),
        }
        gauges = {
            "active": GaugeMetricFamily(
                "lbd_upstream_active", "Exchanges and tunnels under way.", labels=labels
            ),
            "queued": GaugeMetricFamily(
                "lbd_queue_depth", "Exchanges that wait for a connection.", labels=labels
            ),
        }
        connections = GaugeMetricFamily(
            "lbd_upstream_connections", "Connections, by state.", labels=[*labels, "state"]
        )
        first_byte = HistogramMetricFamily(
            "lbd_upstream_response_seconds", "From the request sent to the response head.", labels=labels
        )
        for name in self.worker.shared.names("endpoint"):
            record = self.worker.shared.read("endpoint", name)
            values = name.split("/", 1)
            for index, count in enumerate(record["status_class"]):
                requests.add_metric([*values, f"{index}xx" if index else "none"], count)
            for key, counter in counters.items():
                counter.add_metric(values, record[key])
            for key, gauge in gauges.items():
                gauge.add_metric(values, record[key])
            connections.add_metric([*values, "idle"], record["idle"])
            connections.add_metric([*values, "busy"], record["open"] - record["idle"])
            rows, total = histogram_rows(record["first_byte"])
            first_byte.add_metric(values, rows, total)
        yield from (requests, *counters.values(), *gauges.values(), connections, first_byte)
        yield self._up()
        yield self._idle_limit()
        yield from self._clusters()
        if self.worker.runtime is not None:
            yield from resilience_metrics(self.worker.shared, self.worker.runtime.clusters.values())

    def _clusters(self) -> Iterator[Metric]:
        retries = CounterMetricFamily(
            "lbd_retries", "Further attempts, by what caused them.", labels=["cluster", "reason"]
        )
        counters = {
            "retries_denied": CounterMetricFamily(
                "lbd_retries_denied", "Further attempts that the budget did not allow.", labels=["cluster"]
            ),
            "hedges": CounterMetricFamily(
                "lbd_hedges", "Second attempts beside a slow first one.", labels=["cluster"]
            ),
            "hedges_won": CounterMetricFamily(
                "lbd_hedges_won", "Second attempts that were faster.", labels=["cluster"]
            ),
            "shed": CounterMetricFamily(
                "lbd_shed", "Exchanges refused because too many were under way.", labels=["cluster"]
            ),
        }
        for name in self.worker.shared.names("cluster"):
            record = self.worker.shared.read("cluster", name)
            for reason, index in CAUSES.items():
                retries.add_metric([name, reason], record["retries"][index])
            for key, counter in counters.items():
                counter.add_metric([name], record[key])
        yield from (retries, *counters.values())

    def _discovery(self) -> Iterator[Metric]:
        labels = ["cluster", "source"]
        updates = CounterMetricFamily("lbd_discovery_updates", "Changes that discovery made.", labels=labels)
        errors = CounterMetricFamily(
            "lbd_discovery_errors", "Lookups and readings without a good answer.", labels=labels
        )
        endpoints = GaugeMetricFamily(
            "lbd_discovery_endpoints", "Endpoints that `discover` has found.", labels=["cluster"]
        )
        for cluster, source, count in self.worker.discovery.updates():
            updates.add_metric([cluster, source], count)
        for cluster, source, count in self.worker.discovery.errors():
            errors.add_metric([cluster, source], count)
        for cluster, count in self.worker.discovery.sizes():
            endpoints.add_metric([cluster], count)
        yield from (updates, errors, endpoints)

    def _up(self) -> Metric:
        up = GaugeMetricFamily(
            "lbd_endpoint_up", "1 when the endpoint may be picked.", labels=["cluster", "endpoint"]
        )
        if self.worker.runtime is not None:
            for cluster in self.worker.runtime.clusters.values():
                for endpoint in cluster.endpoints:
                    up.add_metric([cluster.name, endpoint.name], int(endpoint.usable))
        return up

    def _idle_limit(self) -> Metric:
        limit = GaugeMetricFamily(
            "lbd_endpoint_idle_limit_seconds",
            "For how long a connection may be unused and is used again, as configured or learned.",
            labels=["cluster", "endpoint"],
        )
        if self.worker.runtime is not None:
            for cluster in self.worker.runtime.clusters.values():
                for endpoint in cluster.endpoints:
                    limit.add_metric([cluster.name, endpoint.name], endpoint.pool.idle_seconds)
        return limit

    def _process(self) -> Iterator[Metric]:
        beats = beats_of(self.worker.shared)
        cpu, lag, faults = process_figures(self.worker.reactor, beats)
        yield CounterMetricFamily("lbd_process_cpu_seconds", "User and system time of all processes.", cpu)
        yield GaugeMetricFamily(
            "lbd_start_time_seconds", "When the process started (Unix time).", self.started
        )
        yield GaugeMetricFamily(
            "lbd_event_loop_lag_seconds",
            "How late the last tick of the loop was; of several workers the latest.",
            lag,
        )
        yield CounterMetricFamily("lbd_internal_errors", "Exceptions that cost a connection.", faults)
        yield from self._log_metrics(beats)
        yield from self._reloads()
        info = GaugeMetricFamily("lbd_build_info", "Version.", labels=["version", "python", "environment"])
        info.add_metric([__version__, platform.python_version(), self.worker.config.environment or ""], 1)
        yield info

    def _reloads(self) -> Iterator[Metric]:
        reloader = self.worker.reloader
        if reloader is None:
            return
        total = CounterMetricFamily("lbd_config_reloads", "Reloads by outcome.", labels=["result"])
        for outcome, count in reloader.counts.items():
            total.add_metric([outcome], count)
        yield total
        yield GaugeMetricFamily(
            "lbd_config_last_reload_success",
            "1 when the last reload was put in force, or there was none yet.",
            int(reloader.last_ok),
        )
        yield GaugeMetricFamily(
            "lbd_config_last_change_timestamp_seconds",
            "When the configuration in force was put in force (Unix time).",
            reloader.last_change,
        )

    def _log_metrics(self, beats: list[dict[str, Any]]) -> Iterator[Metric]:
        """Workers of their own tell sums, which stand with the first target."""
        lines = CounterMetricFamily("lbd_access_log_lines", "Access log lines made.", labels=["target"])
        dropped = CounterMetricFamily(
            "lbd_access_log_dropped", "Access log lines lost to a slow or full target.", labels=["target"]
        )
        told_lines = sum(beat["log_lines"] for beat in beats)
        told_drops = sum(beat["log_dropped"] for beat in beats)
        if self.worker.runtime is not None:
            for writer in self.worker.runtime.log_writers.values():
                lines.add_metric([writer.target], writer.lines + told_lines)
                dropped.add_metric([writer.target], writer.dropped + told_drops)
                told_lines = told_drops = 0
        yield from (lines, dropped)
        yield from self._trace_metrics(beats)

    def _trace_metrics(self, beats: list[dict[str, Any]]) -> Iterator[Metric]:
        exporter = self.worker.exporter
        exported = CounterMetricFamily("lbd_traces_exported", "Exchanges whose spans the collector took.")
        dropped = CounterMetricFamily(
            "lbd_traces_dropped", "Exchanges in the sample whose spans were lost.", labels=["reason"]
        )
        if self.worker.config.tracing is not None:
            own = (exporter.exported, exporter.tracer.dropped, exporter.failed) if exporter else (0, 0, 0)
            exported.add_metric([], own[0] + sum(beat["exported"] for beat in beats))
            dropped.add_metric(["queue"], own[1] + sum(beat["unqueued"] for beat in beats))
            dropped.add_metric(["collector"], own[2] + sum(beat["unexported"] for beat in beats))
        yield from (exported, dropped)
