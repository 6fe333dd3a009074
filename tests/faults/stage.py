"""One lbd and one origin that misbehaves on cue, shared by a module of fault tests.

Invariant that every fault test must leave: the next client is served, and the sockets of the lbd process
are as many as before it met anybody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.lbd import Lbd
from harness.messages import get, ok
from harness.origin import Origin, Script, recv_head, send
from harness.waiting import TIMEOUT, eventually

GOOD: Script = [recv_head, send(ok(b"good")), recv_head, send(ok(b"good"))]
CONFIG = """
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app, timeouts: {head: 1s, body: 1s, idle: 20s, write: 1s}}
clusters:
  - name: app
    endpoints: [<origin>]
    timeouts: {connect: 500ms, response: 1s, body: 1s, idle: 20s, queue: 500ms}
"""
WITHIN = 2 * TIMEOUT  # the timeouts above, with room for a slow machine


class Stage:
    def __init__(self, lbd: Lbd, origin: Origin):
        self.lbd, self.origin, self.sockets = lbd, origin, lbd.fds("socket")

    def play(self, *scripts: Script) -> None:
        """The scripts of the next upstream connections; no connection of before is left."""
        self.origin.close_all()
        eventually(lambda: self.lbd.fds("socket") <= self.sockets, "idle upstream connections are closed")
        self.origin.behave(*scripts)

    def received(self) -> bytes:
        """All that endpoints received since play()."""
        return b"".join(bytes(item.received) for item in self.origin.connections[self.origin.first :])

    def assert_recovered(self) -> None:
        """Everybody has left: the next client is served, and no descriptor is left behind."""
        self.origin.close_all()
        self.origin.behave(GOOD)
        assert self.lbd.ask(get("/next", "Connection: close")).body == b"good"
        self.origin.close_all()
        eventually(lambda: self.lbd.fds("socket") <= self.sockets,
                   f"sockets return to {self.sockets}", timeout=WITHIN)
        assert self.lbd.process.poll() is None


@contextmanager
def staged(config: str = CONFIG) -> Iterator[Stage]:
    with Origin(GOOD) as origin, Lbd(config, origin=origin) as lbd:
        yield Stage(lbd, origin)
