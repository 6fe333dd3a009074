"""Spans of finished exchanges as OTLP has them: a server span for each, a client span for each attempt.

Names follow OpenTelemetry's semantic conventions for HTTP (stable since 1.23); beside them stand `route`,
`upstream`, `tier` and `region`, and what only lbd knows under `lbd.`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lbd import __version__
from lbd.config.units import split_address
from lbd.engine.reasons import CODES

SAMPLED = 1
Attributes = dict[str, Any]


class SpanMaker:
    """Makes requests to a collector. MissingLibrary when the package is not installed."""

    def __init__(self, resource: Mapping[str, str]) -> None:
        from lbd.engine.foreign import MissingLibrary

        try:
            from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
            from opentelemetry.proto.common.v1 import common_pb2
            from opentelemetry.proto.trace.v1 import trace_pb2
        except ImportError as error:
            raise MissingLibrary(
                f"tracing needs the package opentelemetry-proto: pip install 'lbd[tracing]' ({error})"
            ) from None
        self._service, self._common, self._trace = trace_service_pb2, common_pb2, trace_pb2
        self._resource = self._attributes(resource)

    def request(self, exchanges: Iterable[Mapping[str, Any]]) -> bytes:
        """An ExportTraceServiceRequest; exchanges as Tracer.taken returns them."""
        made = self._service.ExportTraceServiceRequest()
        resource_spans = made.resource_spans.add()
        resource_spans.resource.attributes.extend(self._resource)
        scope = resource_spans.scope_spans.add()
        scope.scope.name, scope.scope.version = "lbd", __version__
        for exchange in exchanges:
            scope.spans.extend(self._spans(exchange))
        encoded: bytes = made.SerializeToString()
        return encoded

    def _spans(self, exchange: Mapping[str, Any]) -> Iterable[Any]:
        ended = int(exchange["ended"] * 1e6)
        started = ended - round(exchange["duration"] * 1e6)
        trace_id = bytes.fromhex(exchange["trace_id"])
        server = self._trace.Span(
            trace_id=trace_id,
            span_id=_id(exchange["span"]),
            parent_span_id=_id(exchange["parent"]) if exchange["parent"] else b"",
            name=f"{exchange.get('method', 'HTTP')} {exchange['route']}",
            kind=self._trace.Span.SPAN_KIND_SERVER,
            flags=SAMPLED,
            start_time_unix_nano=started * 1000,
            end_time_unix_nano=ended * 1000,
            attributes=self._attributes(_of_exchange(exchange)),
        )
        self._mark(server, exchange.get("status"), exchange.get("reason"), least=500)
        yield server
        for number, (endpoint, span, began_us, us, status, reason) in enumerate(exchange["tried"]):
            code = CODES[reason][0]
            client = self._trace.Span(
                trace_id=trace_id,
                span_id=_id(span),
                parent_span_id=_id(exchange["span"]),
                name=exchange.get("method", "HTTP"),
                kind=self._trace.Span.SPAN_KIND_CLIENT,
                flags=SAMPLED,
                start_time_unix_nano=(started + began_us) * 1000,
                end_time_unix_nano=(started + began_us + us) * 1000,
                attributes=self._attributes(_of_attempt(exchange, endpoint, number, status)),
            )
            self._mark(client, status, code, least=400)
            yield client

    def _mark(self, span: Any, status: int | None, reason: str | None, *, least: int) -> None:
        """An error, if it was one: `error.type` is the reason code, else the status."""
        if reason or (status or 0) >= least:
            span.status.code = self._trace.Status.STATUS_CODE_ERROR
            span.attributes.extend(self._attributes({"error.type": reason or str(status)}))

    def _attributes(self, values: Mapping[str, Any]) -> list[Any]:
        return [
            self._common.KeyValue(key=name, value=self._value(value))
            for name, value in values.items()
            if value is not None
        ]

    def _value(self, value: Any) -> Any:
        if isinstance(value, int):
            return self._common.AnyValue(int_value=value)
        return self._common.AnyValue(string_value=str(value))


def _id(span: int) -> bytes:
    return span.to_bytes(8, "big")


def _of_exchange(exchange: Mapping[str, Any]) -> Attributes:
    tried = exchange["tried"]
    labels = tried[-1][0].labels if tried else {}
    host, port = _server(exchange.get("host"))
    return {
        "http.request.method": exchange.get("method"),
        "url.scheme": "https" if exchange["secure"] else "http",
        "url.path": exchange.get("path"),
        "server.address": host,
        "server.port": port,
        "client.address": exchange["client"],
        "network.protocol.name": "http",
        "network.protocol.version": exchange["protocol"].partition("/")[2].replace("2.0", "2"),
        "http.response.status_code": exchange.get("status"),
        "rpc.grpc.status_code": exchange.get("grpc_status"),
        "tls.protocol.version": (exchange.get("tls") or "").removeprefix("TLSv") or None,
        "route": exchange["route"],
        "upstream": exchange.get("cluster"),
        "tier": labels.get("tier"),
        "region": labels.get("region"),
        "lbd.listener": exchange["listener"],
        "lbd.endpoint": exchange.get("endpoint"),
        "lbd.request_id": exchange.get("request_id"),
        "lbd.attempts": exchange.get("attempts_made"),
    }


def _of_attempt(exchange: Mapping[str, Any], endpoint: Any, number: int, status: int) -> Attributes:
    host, port = _server(endpoint.address)
    return {
        "http.request.method": exchange.get("method"),
        "url.path": exchange.get("path"),
        "server.address": host,
        "server.port": port,
        "http.response.status_code": status or None,
        "http.request.resend_count": number or None,
        "upstream": exchange.get("cluster"),
        "tier": endpoint.labels.get("tier"),
        "region": endpoint.labels.get("region"),
        "lbd.endpoint": endpoint.name,
    }


def _server(address: str | None) -> tuple[str | None, int | None]:
    """Host and port of an address or an authority, as far as it has them."""
    if address is None or address.startswith("unix:"):
        return address, None
    try:
        return split_address(address)
    except ValueError:
        return address, None
