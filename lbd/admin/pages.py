"""Pages of the admin listener for machines: /metrics, /status, /health, /live, /ready. GET and HEAD."""

from __future__ import annotations

import json
from collections.abc import Iterator

from lbd.admin.health import is_good, view_health
from lbd.admin.status import status_lines
from lbd.observe.metrics import Exposition, Observed
from lbd.observe.text import CONTENT_TYPE

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
PATHS = ("/metrics", "/status", "/health", "/live", "/ready")
OPEN_PATHS = ("/live", "/ready")  # for probes, which have no token

Answer = tuple[int, str, bytes | Iterator[bytes]]


class Pages:
    """Path -> status, content type and body. One that may be long is made in pieces, to be sent in slices."""

    def __init__(self, worker: Observed) -> None:
        self.worker = worker
        self.exposition = Exposition(worker)

    def answer(self, path: str) -> Answer:
        if path == "/metrics":
            return 200, CONTENT_TYPE, self.exposition.pieces()
        if path == "/live":
            return 200, TEXT, b"live\n"
        if path == "/ready":
            if self.worker.draining:
                return 503, TEXT, b"draining\n"
            return 200, TEXT, b"ready\n"
        if path == "/status":
            return 200, TEXT, (line.encode() for line in status_lines(self.worker))
        if path == "/health":
            view = view_health(self.worker)
            return 200 if is_good(view) else 503, JSON, json.dumps(view).encode() + b"\n"
        return 404, TEXT, b"not found; try /dashboard, /status, /health, /metrics, /live, /ready or /docs\n"
