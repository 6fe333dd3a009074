"""What is measured: the works, the rows of the result table and their targets.

A work is one kind of load. A row is one number that a work yields for each proxy, and perhaps a target: the
most that lbd may need: a ratio to the better of nginx and HAProxy or to one of them, or an absolute number.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
REFERENCES = ("nginx", "haproxy")
SUBJECT = "lbd"

# What a browser sends; with Host, which wrk adds, these are 12.
BROWSER_HEADERS = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: https://www.example.com/catalogue/shoes?page=3&sort=price",
    "Cookie: session=9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c; theme=dark; consent=1; id=GA1.2.123456789.17000",
    "Connection: keep-alive",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "Cache-Control: max-age=0",
)


# The call of gRPC's own first example. `.grpc`: nghttpd, the origin, finds the content type by a suffix.
GRPC_PATH = "/helloworld.Greeter/SayHello.grpc"
GRPC_HEADERS = ("content-type: application/grpc", "te: trailers")


@dataclass(frozen=True)
class Work:
    """One kind of load; `kind` says which load generator drives it."""

    name: str
    title: str
    kind: str = "wrk"  # wrk | handshakes | h2load | roundtrips | latency | idle
    role: str = "http"  # which listener of the proxy
    path: str = "/small"
    headers: tuple[str, ...] = ()
    per_mib: bool = False  # CPU per MiB of body instead of per request

    @property
    def tls(self) -> bool:
        return self.role == "tls"


WORKS = {
    work.name: work
    for work in (
        Work("get", "keep-alive GET"),
        Work("get12", "keep-alive GET, 12 request headers", headers=BROWSER_HEADERS),
        Work("new", "new connection per request", headers=("Connection: close",)),
        Work("10k", "10 KiB response", path="/10k"),
        Work("1m", "1 MiB response, HTTP mode", role="large", path="/1m", per_mib=True),
        Work("tcp1m", "1 MiB response, TCP mode", role="tcp", path="/1m", per_mib=True),
        Work("tcpsmall", "keep-alive GET through TCP mode", role="tcp"),
        Work("tls", "keep-alive GET over TLS", role="tls"),
        Work("tlsnew", "full TLS handshake per request", kind="handshakes", role="tls"),
        Work("h2c", "HTTP/2 GET", kind="h2load", role="h2c"),
        Work("h2", "HTTP/2 GET over TLS", kind="h2load", role="tls"),
        Work("grpc", "gRPC call", kind="h2load", role="grpc", path=GRPC_PATH, headers=GRPC_HEADERS),
        Work("ws", "WebSocket round trip", kind="roundtrips", role="ws", path="/echo"),
        Work("latency", "keep-alive GET at a fixed rate", kind="latency"),
        Work("idle", "idle keep-alive connections", kind="idle"),
    )
}


@dataclass(frozen=True)
class Row:
    """One line of the result table."""

    work: str
    metric: str
    title: str
    unit: str
    limit: float | None = None
    relative: bool = True  # the limit is a ratio to the better reference, else an absolute number in `unit`
    scale: float = 1.0  # what the sample is divided by for `unit`
    against: str | None = None  # the one reference that counts here, in place of the better one


ROWS = (
    Row("get", "cost_us", "CPU per request, keep-alive GET", "us", 0.90),
    Row("get12", "cost_us", "CPU per request, 12 request headers", "us", 0.90),
    Row("new", "cost_us", "CPU per request, new connection each", "us", 1.0),
    Row("10k", "cost_us", "CPU per request, 10 KiB response", "us"),
    Row("1m", "cost_us", "CPU per MiB, 1 MiB responses, HTTP mode", "us", 0.45),
    Row("tcp1m", "cost_us", "CPU per MiB, 1 MiB responses, TCP mode", "us", 0.35),
    Row("tcpsmall", "cost_us", "CPU per request, small GET, TCP mode", "us"),
    Row("tls", "cost_us", "CPU per request, TLS keep-alive GET", "us", 1.0),
    Row("tlsnew", "cost_us", "CPU per request, full TLS 1.3 handshake each", "us", 1.05),
    Row("h2c", "cost_us", "CPU per request, HTTP/2", "us", 1.0),
    Row("h2c", "cost_us", "CPU per request, HTTP/2, against nginx", "us", 0.6, against="nginx"),
    Row("h2", "cost_us", "CPU per request, HTTP/2 over TLS", "us"),
    Row("grpc", "cost_us", "CPU per gRPC call, against HAProxy", "us", 1.0, against="haproxy"),
    Row("ws", "cost_us", "CPU per WebSocket round trip", "us", 1.0),
    Row("latency", "p50_us", "p50 latency at the same request rate", "us"),
    Row("latency", "p99_us", "p99 latency at the same request rate", "us", 1.0),
    Row("latency", "send_lag_p99_us", "of it the generator's own delay, p99", "us", relative=False),
    Row("latency", "cost_us", "CPU per request at that rate", "us"),
    Row("idle", "connection_bytes", "memory per idle keep-alive connection", "B", 1024, relative=False),
    Row("idle", "start_bytes", "memory of the process at start", "MiB", 45, relative=False, scale=MIB),
)
