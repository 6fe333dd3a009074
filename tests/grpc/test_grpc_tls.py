"""gRPC over TLS: from the client, to the endpoint, on both sides; h2 by ALPN (RFC 9113 3.2, RFC 7301)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from certs.making import Made, make, make_ca
from grpc_peers import (
    LARGE,
    METHOD,
    GrpcServer,
    Said,
    both_stream,
    call,
    channel,
    echo,
    echo_each,
    failure,
    unary,
)
from harness.lbd import Lbd
from harness.waiting import TIMEOUT

CONFIG = """
listeners:
  - name: both
    bind: "127.0.0.1:0"
    tls: {certificates: [{cert: <cert>, key: <key>}]}
    cluster: secure
  - name: front
    bind: "127.0.0.1:0"
    tls: {certificates: [{cert: <cert>, key: <key>}]}
    cluster: plain
  - {name: behind, bind: "127.0.0.1:0", cluster: secure}
  - {name: auto, bind: "127.0.0.1:0", cluster: auto}
  - {name: distrust, bind: "127.0.0.1:0", cluster: distrust}
clusters:
  - {name: secure, protocol: http2, endpoints: [<secure>], tls: {ca: <ca>, sni: localhost}}
  - {name: auto, protocol: auto, endpoints: [<secure>], tls: {ca: <ca>, sni: localhost}}
  - {name: distrust, protocol: http2, endpoints: [<secure>], tls: {ca: <other>, sni: localhost}}
  - {name: plain, protocol: http2, endpoints: [<plain>]}
"""
HANDLERS = {"Echo": unary(echo), "EchoEach": both_stream(echo_each)}
WAYS = ["both", "front", "behind", "auto"]
LISTENERS_WITH_TLS = ("both", "front")


PLACE = re.compile(r" INFO listener (\S+): listening on (\S+):(\d+) \(http\+tls\)$")


@dataclass
class Stage:
    lbd: Lbd
    ca: Path

    def channel(self, listener: str) -> grpc.Channel:
        return channel(self.lbd, listener, ca=self.ca if listener in LISTENERS_WITH_TLS else None)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("grpc-tls")
    authority = make_ca()
    site: Made = make("localhost", "127.0.0.1", issuer=authority)
    ca, _ = authority.write(directory, "ca")
    other, _ = make_ca().write(directory, "other")
    cert, key = site.write(directory)
    credentials = grpc.ssl_server_credentials([(site.key_pem, site.cert_pem)])
    with (
        GrpcServer(HANDLERS, credentials=credentials) as secure, GrpcServer(HANDLERS) as plain,
        Lbd(CONFIG, secure=secure, plain=plain, ca=ca, other=other, cert=cert, key=key) as lbd,
    ):
        for place in filter(None, map(PLACE.search, lbd.lines)):
            lbd.ports[place[1]] = place[2], int(place[3])
        yield Stage(lbd, ca)


@pytest.mark.parametrize("listener", WAYS)
def test_unary(stage: Stage, listener: str) -> None:
    with stage.channel(listener) as client:
        for size in (0, 1, 1000, 70_000):
            assert call(client, b"x" * size) == b"x" * size


@pytest.mark.parametrize("listener", WAYS)
def test_bidirectional_stream_is_not_buffered(stage: Stage, listener: str) -> None:
    with stage.channel(listener) as client:
        said = Said()
        answers = client.stream_stream(METHOD("EchoEach"))(iter(said), timeout=2 * TIMEOUT)
        for number in range(50):
            said.say(b"%d" % number)
            assert next(answers) == b"%d" % number
        said.end()
        assert list(answers) == []
        assert answers.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("listener", WAYS)
def test_large_messages(stage: Stage, listener: str) -> None:
    message = bytes(range(256)) * (LARGE // 256)
    with stage.channel(listener) as client:
        answer = call(client, message, timeout=4 * TIMEOUT)
    assert hashlib.sha256(answer).digest() == hashlib.sha256(message).digest()


def test_endpoint_that_is_not_trusted_gets_no_call(stage: Stage) -> None:
    with stage.channel("distrust") as client:
        error = failure(client, b"secret")
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "upstream_tls_failed" in error.details()
