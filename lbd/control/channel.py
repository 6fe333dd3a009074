"""Channel: messages between the supervisor and a worker, with descriptors, over a Unix socket pair.

Both ends are lbd, started by lbd: what arrives is trusted. Sending never waits; what the other end does not
take yet is kept. Messages arrive in order and whole.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

READ_BYTES = 1 << 18
MOST_DESCRIPTORS = 250  # in one message; SCM_MAX_FD is 253
HEAD = struct.Struct("<IB")  # bytes and descriptors that follow

OnMessage = Callable[[str, Any, list[int]], None]


class Channel:
    """on_message(kind, content, descriptors), which are the receiver's to close; on_closed() when the other
    end has gone."""

    def __init__(self, end: socket.socket, on_message: OnMessage, on_closed: Callable[[], None]) -> None:
        end.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._socket = end
        self._on_message = on_message
        self._on_closed = on_closed
        self._received = bytearray()
        self._descriptors: deque[int] = deque()
        self._unsent: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._loop.add_reader(end, self._read)
        self.closed = False
        self.sent = asyncio.Event()  # nothing is kept
        self.sent.set()

    def __repr__(self) -> str:
        return f"<Channel unsent={len(self._unsent)}{' closed' if self.closed else ''}>"

    def send(self, kind: str, content: Any = None, descriptors: Sequence[int] = ()) -> None:
        """The descriptors are duplicated by the kernel; they have to stay open until they are sent."""
        if self.closed:
            return
        body = pickle.dumps((kind, content), pickle.HIGHEST_PROTOCOL)
        message = HEAD.pack(len(body), len(descriptors)) + body
        self._unsent.append((memoryview(message), tuple(os.dup(one) for one in descriptors)))
        if len(self._unsent) == 1:
            self.sent.clear()
            self._write()

    def _write(self) -> None:
        while self._unsent:
            data, descriptors = self._unsent[0]
            try:
                if descriptors:
                    sent = socket.send_fds(self._socket, [data], descriptors)
                else:
                    sent = self._socket.send(data)
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._write)
                return
            except OSError:
                self._end()
                return
            _close_all(descriptors)
            if sent < len(data):
                self._unsent[0] = (data[sent:], ())
            else:
                self._unsent.popleft()
        self._loop.remove_writer(self._socket)
        self.sent.set()

    def _read(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, READ_BYTES, MOST_DESCRIPTORS)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        self._descriptors.extend(descriptors)
        if not data:
            self._end()
            return
        self._received += data
        self._deliver()

    def _deliver(self) -> None:
        while len(self._received) >= HEAD.size and not self.closed:
            size, count = HEAD.unpack_from(self._received)
            if len(self._received) < HEAD.size + size:
                return
            kind, content = pickle.loads(bytes(self._received[HEAD.size : HEAD.size + size]))
            del self._received[: HEAD.size + size]
            self._on_message(kind, content, [self._descriptors.popleft() for _ in range(count)])

    def _end(self) -> None:
        if not self.closed:
            self.close()
            self._on_closed()

    def close(self) -> None:
        """Without on_closed."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        for _, descriptors in self._unsent:
            _close_all(descriptors)
        self._unsent.clear()
        self.sent.set()
        _close_all(self._descriptors)


def _close_all(descriptors: Sequence[int] | deque[int]) -> None:
    for one in descriptors:
        os.close(one)
