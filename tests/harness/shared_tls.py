"""A TLS socket that one thread may read while another writes, as `websockets` does.

Python 3.11 has no lock around an SSL object, and OpenSSL wants one: a write at the moment in which a read
takes the session tickets of TLS 1.3 gives bad records, crashes, or a connection on which the write never
left; about one of a hundred, with any server."""

from __future__ import annotations

import select
import ssl
import threading
from collections.abc import Callable
from typing import TypeVar

from harness.waiting import TIMEOUT

T = TypeVar("T")
LOOK = 0.1  # seconds after which a read looks whether the socket was closed under it


class SharedTLSSocket(ssl.SSLSocket):
    """For `SSLContext.sslsocket_class`. Reads and writes never touch the SSL object at the same time, and
    none of them waits for the peer with the lock in hand."""

    alone: threading.Lock

    def __new__(cls, *args: object, **kwargs: object) -> SharedTLSSocket:
        made = super().__new__(cls, *args, **kwargs)  # type: ignore[arg-type]
        made.alone = threading.Lock()
        return made

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        while (data := self._at_once(super().recv, buflen, flags)) is None:
            self._wait(select.POLLIN, LOOK)
        return data

    def sendall(self, data: bytes, flags: int = 0) -> None:  # type: ignore[override]
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                count = self._at_once(super().send, view[sent:], flags)
                if count is None:
                    self._wait(select.POLLOUT, TIMEOUT)
                sent += count or 0

    def _at_once(self, step: Callable[..., T], *args: object) -> T | None:
        """What it gives, or None if it would have to wait."""
        with self.alone:
            if self.fileno() < 0:
                raise OSError("the socket was closed")
            timeout = self.gettimeout()
            self.settimeout(0)
            try:
                return step(*args)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return None
            finally:
                self.settimeout(timeout)

    def _wait(self, event: int, seconds: float) -> None:
        if (fd := self.fileno()) >= 0:
            poller = select.poll()
            poller.register(fd, event)
            poller.poll(seconds * 1000)


def shared(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, whose sockets may be shared by two threads."""
    context.sslsocket_class = SharedTLSSocket
    return context
