"""Pages of the admin listener for machines: /metrics, /live, /ready. Plain text, GET and HEAD."""

from __future__ import annotations

from lbd.observe.metrics import Exposition, Observed

TEXT = "text/plain; charset=utf-8"
PATHS = ("/metrics", "/live", "/ready")
OPEN_PATHS = ("/live", "/ready")  # for probes, which have no token

Answer = tuple[int, str, bytes]


class Pages:
    """Path -> status, content type and body."""

    def __init__(self, worker: Observed) -> None:
        self.worker = worker
        self.exposition = Exposition(worker)

    def answer(self, path: str) -> Answer:
        if path == "/metrics":
            return 200, Exposition.content_type, self.exposition.text()
        if path == "/live":
            return 200, TEXT, b"live\n"
        if path == "/ready":
            if self.worker.draining:
                return 503, TEXT, b"draining\n"
            return 200, TEXT, b"ready\n"
        return 404, TEXT, b"not found; try /metrics, /live, /ready or /docs\n"
