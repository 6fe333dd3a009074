"""Exporter: sends spans to a collector by OTLP over HTTP, with protobuf bodies.

A thread of its own takes what the tracer has queued, a batch at a time, over one kept connection. While the
collector is slow or away the queue fills, and what does not fit is dropped and counted; so is a batch that
the collector refuses or does not take in time. Requests never wait.
"""

from __future__ import annotations

import gzip
import http.client
import ssl
import threading
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from lbd import __version__
from lbd.engine.trace import Tracer
from lbd.observe.spans import SpanMaker

FLUSH_SECONDS = 1.0
BATCH = 256  # exchanges of one request to the collector
LONGEST_ANSWER = 65536


class Refused(Exception):
    """The collector has answered with an error; str() says which."""


class Exporter:
    """Owns a tracer and the thread that empties it."""

    def __init__(
        self,
        endpoint: str,
        resource: Mapping[str, str],
        *,
        headers: Mapping[str, str],
        timeout: float,
        compress: bool,
        on_trouble: Callable[[Exception | None], None],
        make_tracer: Callable[[Callable[[], object]], Tracer],
    ) -> None:
        """`endpoint`: the URL to post to. `on_trouble`: called by the thread when exporting begins to fail,
        and with None when it no longer does. MissingLibrary."""
        self.maker = SpanMaker(resource)
        self.exported = 0  # exchanges
        self.failed = 0
        self._url = urlsplit(endpoint)
        self._timeout = timeout
        self._compress = compress
        self._fields = {
            "Content-Type": "application/x-protobuf",
            "User-Agent": f"lbd/{__version__}",
            **({"Content-Encoding": "gzip"} if compress else {}),
            **headers,
        }
        self._connection: http.client.HTTPConnection | None = None
        self._on_trouble = on_trouble
        self._is_ill = False
        self._stopping = False
        self._wake = threading.Event()
        self.tracer = make_tracer(self._wake.set)
        self._thread = threading.Thread(target=self._run, name="trace exporter", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Exporter {self._url.netloc} exported={self.exported} failed={self.failed}>"

    @property
    def dropped(self) -> int:
        """Exchanges in the sample whose spans were lost."""
        return self.failed + self.tracer.dropped

    def close(self, timeout: float = 2.0) -> None:
        """Send what is there, waiting at most so long."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            self._wake.wait(FLUSH_SECONDS)
            self._wake.clear()
            last = self._stopping
            while exchanges := self.tracer.taken(BATCH):
                self._export(self.maker.request(exchanges), len(exchanges))
            if last:
                self._hang_up()
                return

    def _export(self, body: bytes, count: int) -> None:
        try:
            self._post(gzip.compress(body, 1) if self._compress else body)
        except (OSError, http.client.HTTPException, Refused) as error:
            self._hang_up()
            self.failed += count
            self._note(error)
        else:
            self.exported += count
            self._note(None)

    def _post(self, body: bytes) -> None:
        """Over the kept connection; once more when it had been closed meanwhile."""
        kept = self._connection is not None
        try:
            response = self._ask(body)
        except (ConnectionError, http.client.RemoteDisconnected):
            if not kept:
                raise
            self._hang_up()
            response = self._ask(body)
        response.read(LONGEST_ANSWER)
        if not 200 <= response.status < 300:
            raise Refused(f"the collector answers {response.status}")
        if not response.isclosed():  # an endless answer is no reason to wait
            self._hang_up()

    def _ask(self, body: bytes) -> http.client.HTTPResponse:
        if self._connection is None:
            self._connection = self._connect()
        path = self._url.path or "/"
        self._connection.request(
            "POST", f"{path}?{self._url.query}" if self._url.query else path, body, self._fields
        )
        return self._connection.getresponse()

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=context)
        return http.client.HTTPConnection(host, port, timeout=self._timeout)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _note(self, error: Exception | None) -> None:
        if (error is not None) != self._is_ill:
            self._is_ill = error is not None
            self._on_trouble(error)
