"""A collector: takes OTLP over HTTP, decodes the protobuf, and keeps spans by trace."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from harness.waiting import TIMEOUT, eventually
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


def values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


class Collector:
    """with Collector() as collector: ...; .url is its address. It answers .status, when .hold is set."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.requests: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.status = 200
        self.hold: threading.Event | None = None
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if collector.hold is not None:
                    collector.hold.wait(4 * TIMEOUT)
                if collector.status == 200:
                    collector.take(self.path, dict(self.headers), body)
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.hold is not None:
            self.hold.set()
        self.server.shutdown()
        self.server.server_close()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        if headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        self.requests.append(headers)
        self.paths.append(path)
        for resource in request.resource_spans:
            self.resources.append(values(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)

    def of(self, path: str, least: int = 1) -> tuple[Span, list[Span]]:
        """The server span of the request to the path, and the client spans below it in their order."""

        def server() -> Span | None:
            for span in list(self.spans):
                if span.kind == Span.SPAN_KIND_SERVER and values(span.attributes).get("url.path") == path:
                    return span
            return None

        def clients() -> list[Span]:
            found = [span for span in list(self.spans) if span.parent_span_id == parent.span_id]
            return found if len(found) >= least else []

        parent = eventually(server, f"the span of {path}")
        assert parent is not None
        if not least:
            return parent, []
        return parent, eventually(clients, f"client spans of {path}")
