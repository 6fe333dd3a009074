"""Peers that behave at random, from a seed: an endpoint, HTTP clients, and what must hold afterwards.

Every request names itself in its target; a good answer repeats it in X-Echo. So a client that sees another's
answer is found whatever else went wrong."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterable
from random import Random

from fuzz.budget import SEED
from harness.client import Client
from harness.lbd import Lbd
from harness.messages import chunk, get, head, ok, ok_chunked, post, post_chunked
from harness.origin import Connection, Script, Step
from harness.waiting import eventually
from prometheus_client.parser import text_string_to_metric_families

THREADS = 12
GAUGES = ("lbd_connections_open", "lbd_upstream_active", "lbd_queue_depth", "lbd_upstream_connections")
TARGET = re.compile(rb"^[A-Z]+ (/\S+) HTTP/1", re.MULTILINE)
GARBAGE = (
    b"\0" * 40,
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\r\n\r\n",
    b"x" * 5000,
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nX\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/9.9 200 OK\r\n\r\n",
    b"\n",
)


def seeded(*parts: object) -> Random:
    return Random("/".join(map(str, (SEED, *parts))))


# The endpoint


def answer(random: Random, target: bytes) -> bytes:
    """A good answer to the request of this target."""
    body = b"x" * random.choice((0, 1, 100, 3000, 16300, 70000, 400000))
    fields = (f"X-Echo: {target.decode('latin-1')}",)
    kind = random.randrange(4)
    if kind == 0:
        cut = random.randint(0, len(body))
        pieces = [piece for piece in (body[:cut], body[cut:]) if piece]
        return ok_chunked(*pieces, fields=fields, trailers=("grpc-a: 1",))
    if kind == 1:
        hints = head("HTTP/1.1 103 Early Hints", "Link: x") * random.randint(1, 18)
        return hints + head("HTTP/1.1 204 No Content", *fields)
    return ok(body, *fields)

NOT_ASKED = head("HTTP/1.1 200 OK", "Content-Length: 0", "X-Echo: /not-asked-for")


def spoil(random: Random, data: bytes) -> tuple[bytes, bool]:
    """The answer, perhaps spoiled; and whether the connection ends with it."""
    kind = random.randrange(10)
    if kind == 0:
        return data[: random.randrange(len(data))], True
    if kind == 1:
        return random.choice(GARBAGE), random.random() < 0.5
    if kind == 2:
        at = random.randrange(len(data))
        return data[:at] + random.randbytes(random.randint(1, 8)) + data[at:], True
    if kind == 3 and len(data) < 4096:  # more than was asked for, in the same segment
        return data + NOT_ASKED, False
    return data, kind == 4


def chaotic(random: Random) -> Step:
    """Answers until it has enough, in some way or other."""

    def step(connection: Connection) -> None:
        if random.random() < 0.05:
            return connection.close(reset=random.random() < 0.5)
        at = 0
        while not connection.closed and connection.recv():
            for match in TARGET.finditer(connection.received, at):
                at = match.end()
                data, over = spoil(random, answer(random, match[1]))
                size = random.choice((1 << 20, 1 << 20, 7000, max(1, len(data) // 5)))
                if NOT_ASKED in data:  # later, it might meet the next request on its way
                    size = len(data)
                if not all(connection.send(data[i : i + size]) for i in range(0, len(data), size)):
                    return None
                if over or random.random() < 0.05:
                    return connection.close(reset=random.random() < 0.3)
        return None

    return step


def scripts(make: Callable[[Random], Step], count: int = 4000) -> list[Script]:
    """One script per connection, each with its own seed."""
    return [[make(seeded("endpoint", index))] for index in range(count)]


def polite(connection: Connection) -> None:
    at = 0
    while connection.recv():
        for match in TARGET.finditer(connection.received, at):
            at = match.end()
            connection.send(ok(b"ok", f"X-Echo: {match[1].decode()}"))


# Clients


def request(random: Random, target: str) -> bytes:
    body = b"y" * random.choice((0, 1, 500, 20000, 200000))
    kind = random.randrange(6)
    if kind == 0:
        return post(target, body)
    if kind == 1:
        return post_chunked(target, *filter(None, (body[:7], body[7:])), trailers=("X-T: 1",))
    if kind == 2:
        return head(f"HEAD {target} HTTP/1.1", "Host: a.test")
    if kind == 3:
        return head(f"GET {target} HTTP/1.0", "Connection: keep-alive")
    return get(target)


def drain(client: Client, limit: int) -> bytes:
    """What comes until the end, the limit or a while of silence."""
    data = b""
    with contextlib.suppress(TimeoutError):
        while len(data) < limit and (piece := client.recv()):
            data += piece
    return data


def http_client(lbd: Lbd, index: int) -> None:
    """A few pipelined requests, perhaps cut or damaged; then some way to leave."""
    random = seeded("client", index)
    targets = [f"/c{index}/r{n}" for n in range(random.randint(1, 5))]
    data = b"".join(request(random, target) for target in targets)
    kind = random.randrange(8)
    if kind == 0:
        data = data[: random.randrange(len(data))]
    elif kind == 1:
        at = random.randrange(len(data))
        data = data[:at] + random.choice((*GARBAGE, chunk(b"z"), b"\r\n")) + data[at:]
    with lbd.connect() as client:
        client.sock.settimeout(random.choice((0.3, 0.6)))
        size = random.choice((1 << 20, 1 << 20, 5000, max(1, len(data) // 20)))
        for at in range(0, len(data), size):
            if not client.send_while_accepted(data[at : at + size]):
                break
        leave(random, client)
        got = drain(client, random.choice((0, 100, 1 << 22, 1 << 22))) if client.sock.fileno() >= 0 else b""
        if random.random() < 0.2 and client.sock.fileno() >= 0:
            client.reset()
    check_echoes(got, targets)


def leave(random: Random, client: Client) -> None:
    kind = random.randrange(8)
    if kind == 0:
        client.reset()
    elif kind == 1:
        with contextlib.suppress(OSError):
            client.half_close()


def check_echoes(got: bytes, targets: Iterable[str]) -> None:
    """Every answer names one of our own requests, in their order."""
    left = iter(targets)
    for echo in re.findall(rb"X-Echo: (/[\w/-]+)\r\n", got):
        assert echo.decode() in left, f"{echo!r} is not the answer to any of {targets}"


def crowd(client: Callable[[Lbd, int], None], lbd: Lbd, numbers: Iterable[int]) -> None:
    """Many clients at a time; the first failure is raised."""
    failures: list[BaseException] = []
    queue, lock = iter(numbers), threading.Lock()

    def work() -> None:
        while not failures:
            with lock:
                number = next(queue, None)
            if number is None:
                return
            try:
                client(lbd, number)
            except ConnectionResetError:  # of connect(): accepted, and refused at once
                continue
            except BaseException as error:
                error.add_note(f"client {number}")
                failures.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


# What must hold afterwards


def gauges(lbd: Lbd) -> dict[str, float]:
    """Gauges that are not zero, with their labels."""
    families = text_string_to_metric_families(lbd.admin("/metrics").body.decode())
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in families
        for sample in family.samples
        if sample.name in GAUGES and sample.value
    }


def assert_at_rest(lbd: Lbd, sockets: int) -> None:
    """Nobody is connected any more: no gauge, no socket and no pipe beyond the worker's stock may be left."""
    eventually(lambda: not gauges(lbd), f"every gauge is zero: {gauges(lbd)}")
    eventually(lambda: lbd.fds("socket") <= sockets, f"{sockets} sockets: {lbd.fds('socket')}")
    assert lbd.process.poll() is None
    assert "internal error" not in lbd.stderr
    assert lbd.fds("pipe") < 200
