"""Active checks of endpoints that speak TLS, HTTP/2 or gRPC: one lbd, a cluster for each case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from h2_endpoint import H2Origin, Request
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.waiting import TIMEOUT, eventually
from health.watching import await_line, is_healthy, said
from tls.speaking import SecureHttpOrigin, SecureOrigin, World

START = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", routes: [{respond: {status: 204}}]}]
clusters:
"""
CLUSTER = """
  - name: %s
    endpoints: [{address: <%s>, name: one}]
    health_check: {%s, interval: %s, timeout: 5s, unhealthy: 1, healthy: 1}
    %s
"""
Status = health_pb2.HealthCheckResponse
HTTP, TCP, GRPC = "path: /health", "type: tcp", "type: grpc"
HTTP2 = "protocol: http2"
TRUSTED, DISTRUSTED = "tls: {ca: <ca>, sni: a.test}", "tls: {ca: <other_ca>, sni: a.test}"
LONG = "shop." + "x" * 200


class HealthServer:
    """grpcio with its own implementation of grpc.health.v1."""

    def __init__(self, services: bool = True, **statuses: int):
        self.servicer = health.HealthServicer()
        for name, status in statuses.items():
            self.servicer.set(name.replace("_", "."), status)
        self.pool = futures.ThreadPoolExecutor(4)
        self.server = grpc.server(self.pool, options=[("grpc.so_reuseport", 0)])
        if services:
            health_pb2_grpc.add_HealthServicer_to_server(self.servicer, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> HealthServer:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.server.stop(None).wait(TIMEOUT)
        self.pool.shutdown(wait=False, cancel_futures=True)

    def __str__(self) -> str:
        return f"127.0.0.1:{self.port}"


def saying(body: bytes, status: str = "0") -> Callable[[World], H2Origin]:
    """A gRPC server that answers so."""

    def answer(request: Request) -> None:
        request.answer(body, ("content-type", "application/grpc"), trailers=[("grpc-status", status)])

    return lambda world: H2Origin(answer)


def grpc_of(**statuses: int) -> Callable[[World], HealthServer]:
    return lambda world: HealthServer(**statuses)


def secure(world: World) -> SecureHttpOrigin:
    return SecureHttpOrigin(world.server_context("site"))


def plain(world: World) -> EchoOrigin:
    return EchoOrigin()


@dataclass
class Case:
    """why: None when the endpoint is well, else what the log says, or "" for anything."""

    make: Callable[[World], Any]
    check: str
    more: str = ""
    why: str | None = None
    interval: str = "10s"
    made: list[Any] = field(default_factory=list)


CASES = {
    "tls_http": Case(secure, HTTP, TRUSTED),
    "tls_tcp": Case(secure, TCP, TRUSTED),
    "tls_distrusted": Case(secure, HTTP, DISTRUSTED, "upstream tls failed"),
    "tls_distrusted_tcp": Case(secure, TCP, DISTRUSTED, "upstream tls failed"),
    "tls_missing": Case(plain, HTTP, TRUSTED, "upstream tls failed"),
    "tls_missing_tcp": Case(plain, TCP, TRUSTED, "upstream tls failed"),
    "tls_off": Case(plain, f"{HTTP}, tls: false", TRUSTED),
    "tls_off_beside": Case(lambda world: SecureOrigin(world.server_context("site")),
                           f"{HTTP}, tls: false, port: <plain_port>", TRUSTED),
    "http2": Case(lambda world: H2Origin(lambda request: request.answer(b"healthy")),
                  f"{HTTP}, headers: {{Authorization: Bearer 1}}, expect: {{body: healthy}}", HTTP2,
                  interval="20ms"),
    "http2_status": Case(lambda world: H2Origin(lambda request: request.answer(status=500)), HTTP, HTTP2,
                         "status 500"),
    "http2_cut": Case(lambda world: H2Origin(lambda request: request.cut()), HTTP, HTTP2, ""),
    "http2_not_spoken": Case(plain, HTTP, HTTP2, ""),
    # the server as a whole serves from the start
    "grpc": Case(grpc_of(), GRPC, HTTP2),
    "grpc_beside_http1": Case(grpc_of(), GRPC),
    "grpc_service": Case(grpc_of(shop_Cart=Status.SERVING), f"{GRPC}, service: shop.Cart", HTTP2),
    "grpc_service_not": Case(grpc_of(shop_Cart=Status.NOT_SERVING), f"{GRPC}, service: shop.Cart", HTTP2,
                             "not serving"),
    "grpc_service_unsure": Case(grpc_of(shop_Cart=Status.UNKNOWN), f"{GRPC}, service: shop.Cart", HTTP2,
                                "unknown"),
    "grpc_other_service": Case(grpc_of(shop_Order=Status.SERVING), f"{GRPC}, service: shop.Cart", HTTP2,
                               "grpc-status 5"),
    "grpc_long_name": Case(grpc_of(**{LONG: Status.SERVING}), f"{GRPC}, service: {LONG}", HTTP2),
    "grpc_no_health": Case(lambda world: HealthServer(services=False), GRPC, HTTP2, "grpc-status 12"),
    "grpc_changing": Case(grpc_of(), GRPC, HTTP2, interval="20ms"),
    # answers of grpc.health.v1 that are none, or say nothing good
    "grpc_serving": Case(saying(b"\0\0\0\0\x02\x08\x01"), GRPC, HTTP2),
    "grpc_serving_and_more": Case(saying(b"\0\0\0\0\x04\x08\x01\x10\x05"), GRPC, HTTP2),
    "grpc_failed": Case(saying(b"\0\0\0\0\x02\x08\x01", status="14"), GRPC, HTTP2, "grpc-status 14"),
    "grpc_empty": Case(saying(b""), GRPC, HTTP2, "not a message"),
    "grpc_cut": Case(saying(b"\0\0\0\0\x02\x08"), GRPC, HTTP2, "not a message"),
    "grpc_compressed": Case(saying(b"\1\0\0\0\x02\x08\x01"), GRPC, HTTP2, "not a message"),
    "grpc_no_value": Case(saying(b"\0\0\0\0\x01\x08"), GRPC, HTTP2, ""),
    "grpc_default": Case(saying(b"\0\0\0\0\0"), GRPC, HTTP2, "unknown"),
    "grpc_new_status": Case(saying(b"\0\0\0\0\x02\x08\x07"), GRPC, HTTP2, "status 7"),
    "grpc_huge": Case(saying(b"x" * 70_000), GRPC, HTTP2, "not a message"),
    "grpc_plain_http": Case(lambda world: H2Origin(lambda request: request.answer()), GRPC, HTTP2, ""),
}


@pytest.fixture(scope="module")
def lbd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lbd]:
    world, other = (World(tmp_path_factory.mktemp(name)) for name in ("world", "other"))
    world.add("site", "a.test")
    config = START + "".join(
        CLUSTER % (name, name, case.check, case.interval, case.more) for name, case in CASES.items()
    )
    with ExitStack() as stack:
        for case in CASES.values():
            case.made[:] = [stack.enter_context(case.make(world))]
        places = {name: case.made[0] for name, case in CASES.items()}
        beside = stack.enter_context(EchoOrigin())
        yield stack.enter_context(
            Lbd(config, ca=world.ca_file, other_ca=other.ca_file, plain_port=beside.port, **places)
        )


@pytest.mark.parametrize("name", [name for name in CASES if name != "grpc_changing"])
def test_verdict(lbd: Lbd, name: str) -> None:
    eventually(lambda: is_healthy(lbd, name) is not None, "the first result")
    why, lines = CASES[name].why, said(lbd, f"endpoint {name}/one")
    assert is_healthy(lbd, name) == (why is None)
    assert len(lines) == (why is not None) and all(f"down: {why}" in line for line in lines)


def test_certificate_asked_for(lbd: Lbd) -> None:
    for name in ("tls_http", "tls_tcp"):
        origin = CASES[name].made[0]
        eventually(lambda: origin.names, "a handshake")  # noqa: B023
        assert set(origin.names) == {"a.test"}


def test_port_of_its_own_is_asked_in_plain_text(lbd: Lbd) -> None:
    eventually(lambda: is_healthy(lbd, "tls_off_beside") is not None, "a result")
    assert not CASES["tls_off_beside"].made[0].connections


def test_request_over_http2(lbd: Lbd) -> None:
    origin = CASES["http2"].made[0]
    eventually(lambda: len(origin.requests) >= 3, "checks")
    seen = dict(origin.requests[0].fields)
    assert (seen[":method"], seen[":path"], seen[":authority"]) == ("GET", "/health", str(origin))
    assert seen["authorization"] == "Bearer 1" and "host" not in seen
    assert len(origin.connections) == 1, "they share one connection"
    assert origin.malformed == []


def test_grpc_service_that_changes(lbd: Lbd) -> None:
    server = CASES["grpc_changing"].made[0]
    eventually(lambda: is_healthy(lbd, "grpc_changing") == 1, "a result")
    server.servicer.set("", Status.NOT_SERVING)
    await_line(lbd, "endpoint grpc_changing/one: down: not serving")
    server.servicer.set("", Status.SERVING)
    await_line(lbd, "endpoint grpc_changing/one: up")
