"""What clients do wrong: each gets its own trouble, nobody else notices, nothing leaks."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from faults.stage import CONFIG, WITHIN, Stage, staged
from harness.client import Client
from harness.lbd import Lbd
from harness.messages import get, head, ok, ok_chunked, post, post_chunked
from harness.origin import (
    Origin,
    close,
    notify,
    recv_head,
    recv_request,
    send,
    send_forever,
    stall,
    wait_for,
)
from harness.waiting import eventually

ADMIN = "admin: {bind: \"127.0.0.1:0\"}\n"

MIB = 1 << 20


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


def leave(client: Client, how: str) -> None:
    client.reset() if how == "rst" else client.close()


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("sent",
                         [b"", b"G", get()[:-2], post("/", b"x" * 100)[:-50],
                          post_chunked("/", b"x" * 9)[:-6]],
                         ids=["nothing", "one byte", "part of a head", "part of a body",
                              "part of a chunked body"])
def test_leaves_before_its_request_is_sent(stage: Stage, sent: bytes, how: str) -> None:
    stage.play([recv_request, send(ok())])
    with stage.lbd.connect() as client:
        client.send(sent)
        leave(client, how)
    stage.assert_recovered()


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_leaves_while_the_response_is_awaited(stage: Stage, how: str) -> None:
    asked = threading.Event()
    stage.play([recv_request, notify(asked)])
    with stage.lbd.connect() as client:
        client.send(get())
        assert asked.wait(WITHIN)
        leave(client, how)
    upstream = stage.origin.connections[-1]
    eventually(lambda: upstream.ended, "the endpoint is released when its client is gone")
    stage.assert_recovered()


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("start",
                         [head("HTTP/1.1 200 OK", "Content-Length: 999999999"), head("HTTP/1.1 200 OK"),
                                   head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")],
                         ids=["length", "until-close", "chunked"])
def test_leaves_during_the_response(stage: Stage, start: bytes, how: str) -> None:
    stage.play([recv_request, send(start), send_forever(b"10000\r\n" + b"x" * 65536 + b"\r\n")])
    with stage.lbd.connect() as client:
        client.send(get())
        client.read_exactly(100_000)
        leave(client, how)
    eventually(lambda: stage.origin.connections[-1].closed or not is_alive(stage), "the endpoint is released")
    stage.assert_recovered()


def is_alive(stage: Stage) -> bool:
    """Is the script of the last connection still running, or has it yet to begin?"""
    threads = stage.origin.threads
    return not threads or threads[-1].is_alive()


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_leaves_after_the_response(stage: Stage, how: str) -> None:
    stage.play([recv_request, send(ok())])
    with stage.lbd.connect() as client:
        assert client.ask(get()).status == 200
        leave(client, how)
    stage.assert_recovered()


@pytest.mark.parametrize("start", ["length", "chunked", "until-close"])
def test_never_reads_a_large_response(stage: Stage, start: str) -> None:
    """64 MiB are offered; memory stays flat, the endpoint is held back, the write deadline ends it."""
    frame = b"100000\r\n" + b"x" * MIB + b"\r\n" if start == "chunked" else b"x" * MIB
    fields = {"length": ["Content-Length: 67108864"], "chunked": ["Transfer-Encoding: chunked"],
              "until-close": []}
    stage.play([recv_request, send(head("HTTP/1.1 200 OK", *fields[start])), send_forever(frame)])
    before = stage.lbd.rss()
    with stage.lbd.connect(receive_buffer=4096) as client:
        client.send(get())
        eventually(lambda: not is_alive(stage), "the write deadline (1 s) closes it", timeout=WITHIN)
        assert stage.lbd.rss() - before < 8 * MIB
    stage.assert_recovered()


def test_reads_slowly_and_gets_all(stage: Stage) -> None:
    body = bytes(range(256)) * 4096 * 4
    stage.play([recv_request, send(ok(body)), close])
    with stage.lbd.connect(receive_buffer=4096) as client:
        response = client.ask(get())
        assert response.complete and response.body == body
    stage.assert_recovered()


def test_half_closes_after_its_request_and_still_gets_the_answer(stage: Stage) -> None:
    """A client such as nc that shuts its sending side waits for the answer."""
    answer = threading.Event()
    stage.play([recv_request, wait_for(answer), send(ok(b"late"))])
    with stage.lbd.connect() as client:
        client.send(get())
        client.half_close()
        answer.set()
        response = client.read_response()
        # RFC 9112 9.6 lets a proxy take it for a client that is gone; it must not hang, nor answer wrongly
        assert response.body == b"late" or (response.status == 0 and response.end)
    stage.assert_recovered()


@pytest.mark.parametrize("sent", [get()[:-2], post("/", b"x" * 100)[:-50], post_chunked("/", b"x" * 9)[:-6]],
                         ids=["head", "body", "chunked body"])
def test_half_closes_inside_a_request(stage: Stage, sent: bytes) -> None:
    stage.play([recv_request, send(ok(b"wrong"))])
    with stage.lbd.connect() as client:
        client.send(sent)
        client.half_close()
        response = client.read_response()
        assert (response.status in (0, 400) and response.end) or response.status == 400
    stage.assert_recovered()


@pytest.mark.parametrize("data",
                         [get("/slow", "A: b"), post("/slow", b"hello" * 20),
                          post_chunked("/slow", b"ab", b"cde")],
                         ids=["get", "length", "chunked"])
def test_one_byte_at_a_time(stage: Stage, data: bytes) -> None:
    stage.play([recv_request, send(ok_chunked(b"a", b"b"))])
    with stage.lbd.connect() as client:
        client.send_pieces(data)
        assert client.read_response().body == b"ab"
    assert b" /slow HTTP/1.1\r\n" in stage.received()
    stage.assert_recovered()


def dribble(client: Client, piece: bytes, stop: threading.Event) -> threading.Thread:
    """Send the piece every 50 ms until told to stop or refused: bytes must not extend a deadline."""
    def run() -> None:
        while not stop.wait(0.05):
            if not client.send_while_accepted(piece):
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_slowloris_head(stage: Stage) -> None:
    """A head that grows by a byte now and then ends at the head deadline: bytes do not extend it."""
    stop = threading.Event()
    with stage.lbd.connect() as client:
        client.send(get()[:-2])
        thread = dribble(client, b"X: y\r\n", stop)
        response = client.read_response()
        stop.set()
        thread.join(WITHIN)
        assert (response.status, response.reason) == (408, "head_timeout")
    stage.assert_recovered()


def test_half_a_head_and_silence(stage: Stage) -> None:
    with stage.lbd.connect() as client:
        response = client.ask(get()[:-2])
        assert (response.status, response.reason) == (408, "head_timeout")
        assert client.read_until_close() == b""
    stage.assert_recovered()


@pytest.mark.parametrize("sent", [post("/", b"x" * 100)[:-50], post_chunked("/", b"x" * 9)[:-6]],
                         ids=["length", "chunked"])
def test_half_a_body_and_silence(stage: Stage, sent: bytes) -> None:
    stage.play([recv_request, send(ok(b"wrong"))])
    with stage.lbd.connect() as client:
        response = client.ask(sent)
        assert (response.status, response.reason) == (408, "body_timeout")
        assert client.read_until_close() == b""
    stage.assert_recovered()


def test_pipelines_and_leaves(stage: Stage) -> None:
    stage.play([stall])
    with stage.lbd.connect() as client:
        client.send(get() * 500)
    stage.assert_recovered()


def test_pipelines_without_reading(stage: Stage) -> None:
    """Requests are not read ahead without bound."""
    stage.play([recv_head, send(ok(b"x" * 1000))] * 999)
    before = stage.lbd.rss()
    with stage.lbd.connect(receive_buffer=4096) as client:
        client.sock.settimeout(1)
        client.send_while_accepted(get("/", "X: " + "a" * 1000) * 20_000)
        assert stage.lbd.rss() - before < 8 * MIB
    stage.assert_recovered()


def test_a_stuck_client_does_not_hold_up_another(stage: Stage) -> None:
    stage.play([recv_head, stall], [recv_head, send(ok(b"other"))])
    with stage.lbd.connect() as stuck, stage.lbd.connect() as other:
        stuck.send(get())
        eventually(lambda: len(stage.origin.connections) > stage.origin.first)
        assert other.ask(get()).body == b"other"
    stage.assert_recovered()


def test_more_connections_than_the_limit() -> None:
    config = CONFIG.replace("cluster: app,", "cluster: app, limits: {connections: 4},", 1) + ADMIN
    with Origin([recv_head, send(ok())]) as origin, Lbd(config, origin=origin) as lbd:
        clients = [lbd.connect() for _ in range(4)]
        for client in clients:
            client.send(get()[:10])  # arrived, and counted
        with lbd.connect() as extra:
            extra.send(get())
            eventually(lambda: lbd.metric("lbd_accept_pauses_total") == 1, "the fifth waits in the backlog")
            assert lbd.metric("lbd_connections_open") == 4
            clients[0].close()
            assert extra.read_response().status == 200, "served once a place is free"
        for client in clients:
            client.close()


def test_five_hundred_connections_come_and_go(stage: Stage) -> None:
    clients = [stage.lbd.connect() for _ in range(500)]
    for client in clients[::2]:
        client.reset()
    for client in clients[1::2]:
        client.close()
    stage.assert_recovered()
