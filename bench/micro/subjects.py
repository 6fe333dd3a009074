"""What is timed: heads, routers and balancers of any size.

Strategy: routers and balancers are made of engine objects, not of a config, so that a hundred thousand routes
are there in a second. Loops run in C (`match_many`, `pick_many`): a Python call per operation would cost more
than the operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

from lbd import registry
from lbd.control.routes import parse_path
from lbd.engine.endpoint import Balancer, Endpoint
from lbd.engine.router import Respond, Route, Router

SIZES = (10, 1_000, 100_000)
CLIENT = "127.0.0.1"


def head(*lines: str) -> bytes:
    return "\r\n".join((*lines, "", "")).encode()


SMALL = head("GET / HTTP/1.1", "Host: a.test")
BROWSER = head(
    "GET /index.html?a=b HTTP/1.1",
    "Host: www.example.com",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: https://www.example.com/start",
    "Connection: keep-alive",
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
)
RESPONSE = head(
    "HTTP/1.1 200 OK",
    "Server: nginx",
    "Date: Thu, 01 Jan 2026 00:00:00 GMT",
    "Content-Type: text/html",
    "Content-Length: 1234",
    "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT",
    'ETag: "0123456789"',
    "Cache-Control: max-age=60",
    "Vary: Accept-Encoding",
    "Connection: keep-alive",
)


Shape = Callable[[int], tuple[str, str]]  # number of a route -> its host ("" = any) and path pattern
SHAPES: dict[str, Shape] = {
    "hosts": lambda n: (f"h{n}.test", "/*"),
    "paths": lambda n: ("", f"/api/v{n % 10}/{n // 10}/items"),
    "templates": lambda n: ("", f"/tenants/t{n}/users/:id:rename"),
    "tree": lambda n: ("", f"/{n // 1000}/{n // 10 % 100}/{n % 10}/*"),
    "wildcards": lambda n: (f"*.h{n}.test", "/a/:b/*"),
}


@cache
def router(shape: str, size: int) -> Router:
    return Router(entries(SHAPES[shape], size))


def entries(shape: Shape, size: int) -> Iterator[tuple[bytes | None, object, bool, Route]]:
    answer = Respond(204)
    for n in range(size):
        host, pattern = shape(n)
        path = parse_path(pattern)
        route = Route(f"r{n}", rank=n, respond=answer, captures=path.captures)
        yield host.encode() or None, path.segments, path.below, route


def request_for(shape: str, n: int) -> bytes:
    """A request that route n takes."""
    host, pattern = SHAPES[shape](n)
    path = pattern.replace("/*", "/x/y").replace(":id", "42").replace(":b", "b")
    return head(f"GET {path} HTTP/1.1", f"Host: {host.replace('*', 'www') or 'a.test'}", "Accept: */*")


@cache
def balancer(name: str, size: int) -> Balancer:
    """Weights 1 to 4, so that nothing is simpler than in practice."""
    algorithm: type[Balancer] = registry.resolve("balancer", name)
    return algorithm([Endpoint(f"e{n}", f"127.0.0.1:{n % 65535}", weight=1 + n % 4) for n in range(size)])
