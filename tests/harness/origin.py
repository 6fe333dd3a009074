"""Endpoints that misbehave on cue.

An Origin accepts connections and runs a script on each: a list of steps, small functions that take the
connection. The nth connection gets the nth script, the last script repeats. What the endpoint saw is kept
per connection: every byte, and how lbd ended it. A script that ends without closing leaves the connection
open and reads on until lbd ends it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

import h11

from harness.waiting import TIMEOUT

LINGER_ZERO = struct.pack("ii", 1, 0)


class Connection:
    """One accepted connection, as the endpoint sees it."""

    def __init__(self, sock: socket.socket, index: int):
        self.sock, self.index = sock, index
        self.received = bytearray()
        self.ended: str | None = None  # how lbd ended it: "fin" or "reset"
        self.over = threading.Event()  # this side closed it
        self.head_end = 0  # where the request head read last ended in .received
        self.malformed: str | None = None  # set by http_origin when h11 refuses what came
        self.thread: threading.Thread | None = None  # runs the script
        sock.settimeout(4 * TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def recv(self) -> bytes:
        try:
            data = self.sock.recv(1 << 18)
        except (ConnectionResetError, BrokenPipeError):
            self.ended = "reset"
            return b""
        except OSError:  # closed by close_all, or the deadline
            return b""
        if not data:
            self.ended = self.ended or "fin"
        self.received += data
        return data

    def send(self, data: bytes) -> bool:
        """False when lbd does not take it any more."""
        try:
            self.sock.sendall(data)
        except OSError:
            return False
        return True

    @property
    def closed(self) -> bool:
        return self.over.is_set()

    def close(self, reset: bool = False) -> None:
        """From a thread other than the script's this only ends the connection; the descriptor is left to the
        script's thread: closed under a thread that reads, its number may have become another socket's."""
        self.over.set()
        try:
            if reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
            else:
                self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        if reset or threading.current_thread() is self.thread:
            self.sock.close()


Step = Callable[[Connection], object]
Script = list[Step]


class Origin:
    """with Origin([recv_head, send(ok()), close]) as origin: ...; str(origin) is its address."""

    def __init__(self, *scripts: Script, backlog: int = 1024, receive_buffer: int | None = None):
        self.listener = socket.socket()
        if receive_buffer:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(backlog)
        self.port: int = self.listener.getsockname()[1]
        self.connections: list[Connection] = []
        self.errors: list[Exception] = []
        self.threads: list[threading.Thread] = []
        self.closing = threading.Event()
        self.behave(*scripts)

    def behave(self, *scripts: Script) -> None:
        """The scripts of the connections accepted from now on."""
        self.scripts, self.first = scripts, len(self.connections)

    def __str__(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.close_all()
        self.acceptor.join(TIMEOUT)
        self.close_all()
        self.listener.close()
        for thread in self.threads:
            thread.join(TIMEOUT)
        assert not self.errors, f"the origin itself failed: {self.errors!r}"

    def close_all(self) -> None:
        """End every connection from this side, as a restart of the endpoint does."""
        for connection in list(self.connections):
            connection.close()

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            connection = Connection(sock, len(self.connections))
            script = self.scripts[min(connection.index - self.first, len(self.scripts) - 1)]
            self.connections.append(connection)
            thread = threading.Thread(target=self._run, args=(connection, script), daemon=True)
            connection.thread = thread
            self.threads.append(thread)
            thread.start()

    def _run(self, connection: Connection, script: Script) -> None:
        try:
            for step in script:
                step(connection)
            while not connection.closed and connection.recv():
                pass
        except Exception as error:
            self.errors.append(error)
        finally:
            connection.close()

    # what the endpoint saw

    @property
    def received(self) -> bytes:
        """All bytes of all connections, in the order of the connections."""
        return b"".join(bytes(connection.received) for connection in list(self.connections))


class Refusing:
    """An address that refuses: bound, so that nobody else gets the port, but not listening."""

    def __enter__(self) -> Self:
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def __str__(self) -> str:
        return "{}:{}".format(*self.sock.getsockname())


class Blackhole:
    """An address that never answers a SYN: its accept queue is full and nobody accepts."""

    def __enter__(self) -> Self:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.fillers = [socket.socket() for _ in range(4)]
        for filler in self.fillers:
            filler.setblocking(False)
            filler.connect_ex(self.listener.getsockname())
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (*self.fillers, self.listener):
            sock.close()

    def __str__(self) -> str:
        return "{}:{}".format(*self.listener.getsockname())


# Steps


def recv_head(connection: Connection) -> None:
    """Read until the end of a request head (counted from the last head read)."""
    start = connection.head_end
    while (end := connection.received.find(b"\r\n\r\n", start)) < 0:
        if not connection.recv():
            return
    connection.head_end = end + 4


def recv_request(connection: Connection) -> None:
    """Read one whole request, framed by h11."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    if left := bytes(connection.received[connection.head_end :]):
        parser.receive_data(left)
    while not isinstance(event := parser.next_event(), (h11.EndOfMessage, h11.ConnectionClosed)):
        if event is h11.NEED_DATA:
            data = connection.recv()
            if not data:
                return
            parser.receive_data(data)
    connection.head_end = len(connection.received) - len(parser.trailing_data[0])


def recv_all(connection: Connection) -> None:
    while connection.recv():
        pass


def recv_at_least(size: int) -> Step:
    def step(connection: Connection) -> None:
        while len(connection.received) < size and connection.recv():
            pass

    return step


def recv_body(size: int) -> Step:
    """Read that many bytes after the head that was read last."""

    def step(connection: Connection) -> None:
        while len(connection.received) < connection.head_end + size and connection.recv():
            pass

    return step


def send(data: bytes) -> Step:
    return lambda connection: connection.send(data)


def send_slowly(data: bytes, piece: int = 1) -> Step:
    """One send(2) per piece, Nagle off."""

    def step(connection: Connection) -> None:
        for start in range(0, len(data), piece):
            if not connection.send(data[start : start + piece]):
                return

    return step


def send_forever(data: bytes) -> Step:
    """Until lbd does not take it any more; bounded at 256 MiB."""

    def step(connection: Connection) -> None:
        for _ in range((256 << 20) // len(data)):
            if not connection.send(data):
                return

    return step


def close(connection: Connection) -> None:
    connection.close()


def reset(connection: Connection) -> None:
    connection.close(reset=True)


def half_close(connection: Connection) -> None:
    with contextlib.suppress(OSError):
        connection.sock.shutdown(socket.SHUT_WR)


def stall(connection: Connection) -> None:
    """Neither read nor write nor close until close_all or the end of the origin."""
    connection.over.wait(4 * TIMEOUT)


def wait_for(event: threading.Event) -> Step:
    """Do nothing until the test says so."""
    return lambda _: event.wait(4 * TIMEOUT)


def notify(event: threading.Event) -> Step:
    return lambda _: event.set()
