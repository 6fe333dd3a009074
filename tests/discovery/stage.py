"""Endpoints on one port of several loopback addresses, traffic without an end, a config for a NameServer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self, TypeVar

from harness.http_origin import EchoOrigin, HttpOrigin
from harness.lbd import Lbd
from harness.messages import get
from harness.origin import Origin
from harness.waiting import TIMEOUT

AnyOrigin = TypeVar("AnyOrigin", bound=Origin)

CONFIG = """
admin: {bind: "127.0.0.1:0"}
resolver: {servers: ["<names>"], timeout: 200ms, attempts: 1, min_ttl: 50ms, negative_ttl: 50ms}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - {name: app, <members>}
"""


@contextmanager
def origins(*hosts: str) -> Iterator[list[HttpOrigin]]:
    """An endpoint that echoes on each of these hosts, all with the same port."""
    with sharing_a_port([EchoOrigin() for _ in hosts], hosts) as made:
        yield list(made)


@contextmanager
def sharing_a_port(made: Sequence[AnyOrigin], hosts: Sequence[str]) -> Iterator[Sequence[AnyOrigin]]:
    """These endpoints, not started yet, on these hosts with one port for all of them."""
    while not _share_port(made, hosts):
        continue
    with ExitStack() as stack:
        for one in made:
            stack.enter_context(one)
        yield made


def _share_port(made: Sequence[Origin], hosts: Sequence[str]) -> bool:
    port = 0
    for one, host in zip(made, hosts, strict=True):
        one.listener.close()
        one.listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            one.listener.bind((host, port))
        except OSError:  # somebody else has it there
            if not port:
                raise
            return False
        one.listener.listen(1024)
        port = one.port = one.listener.getsockname()[1]
    return True


class Traffic:
    """One GET after the other on kept connections until the end; what came back that was not 200."""

    def __init__(self, lbd: Lbd, clients: int = 2) -> None:
        self.lbd = lbd
        self.failed: list[object] = []
        self.done = 0
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT)
            assert not thread.is_alive()

    def _run(self) -> None:
        try:
            with self.lbd.connect() as client:
                while not self._ending.is_set():
                    status = client.ask(get("/")).status
                    self.done += 1
                    if status != 200:
                        self.failed.append(status)
        except Exception as error:
            self.failed.append(error)


def served(lbd: Lbd, many: list[HttpOrigin], requests: int = 1) -> list[int]:
    """How many of so many requests, each on a connection of its own, each endpoint got."""
    before = [len(one.requests) for one in many]
    for _ in range(requests):
        assert lbd.ask(get("/")).status == 200
    return [len(one.requests) - start for one, start in zip(many, before, strict=True)]
