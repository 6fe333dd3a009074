"""The listening sockets of a worker: one per address, kept as long as the configuration names the address.

A reload binds what is new first (`prepare`), which may fail and then changes nothing, and moves sockets that
stay to the listeners that have their addresses now (`adopt`). So nobody is refused a connection in between.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from lbd.config import schema
from lbd.config.units import split_address
from lbd.control.sockets import (
    apply_options,
    bound_address,
    listen_again,
    listen_together,
    unlink_unix,
)
from lbd.engine.acceptor import Acceptor
from lbd.engine.listener import Listener
from lbd.observe.log import Log


@dataclass(slots=True)
class _Bound:
    """A socket in use. The socket object is a second descriptor of it, for options and names."""

    setting: schema.Listener
    acceptor: Acceptor
    socket: socket.socket


class Address(NamedTuple):
    """As configured. owner: whose it is, where the kernel chooses the port and so each has its own."""

    text: str
    owner: str = ""


Inherited = Callable[[Address], list[socket.socket]]
Sockets = Mapping[Address, list[socket.socket]]  # one for each worker


def addresses_of(config: schema.Config) -> dict[Address, schema.Listener]:
    """All that the configuration names, with what listens there."""
    found: dict[Address, schema.Listener] = {}
    for setting in config.listeners:
        for index, text in enumerate(setting.bind):
            chosen = not text.startswith("unix:") and split_address(text)[1] == 0
            found[Address(text, f"{setting.name}[{index}]" if chosen else "")] = setting
    return found


class Listening:
    """All of a worker."""

    def __init__(self, log: Log, *, is_owner: bool = True, inherited: Inherited | None = None) -> None:
        """is_owner: of the addresses, so that it tells the log of them and removes the paths of unix sockets;
        inherited(address): sockets that exist already."""
        self._log = log
        self._is_owner = is_owner
        self._inherited = inherited
        self._bound: dict[Address, _Bound] = {}

    def __repr__(self) -> str:
        return f"<Listening {' '.join(address.text for address in self._bound)}>"

    def prepare(self, config: schema.Config) -> Sockets:
        """Sockets for the addresses that have none yet. BindError, and then none is left open."""
        made: dict[Address, list[socket.socket]] = {}
        try:
            for address, setting in addresses_of(config).items():
                bound = self._bound.get(address)
                if bound is None:
                    made[address] = sockets_for(address, setting, 1, self._inherited)
                else:
                    apply_options(bound.socket, address.text, setting.socket, dry_run=True)
        except BaseException:
            discard(made)
            raise
        return made

    def adopt(
        self, config: schema.Config, listeners: Mapping[str, Listener], made: Sockets
    ) -> list[Address]:
        """Accept for these listeners from now on; the addresses that are closed."""
        wanted = addresses_of(config)
        for address, setting in wanted.items():
            listener, tcp = listeners[setting.name], setting.protocol == "tcp"
            bound = self._bound.get(address)
            if bound is None:
                (one,) = made[address]
                acceptor = Acceptor(listener, os.dup(one.fileno()), tcp=tcp, on_problem=self._on_problem)
                self._bound[address] = _Bound(setting, acceptor, one)
                if self._is_owner:
                    say_listening(self._log, setting, one)
                continue
            if bound.setting.socket != setting.socket or bound.setting.backlog != setting.backlog:
                apply_options(bound.socket, address.text, setting.socket)
                bound.socket.listen(setting.backlog)
            bound.acceptor.move(listener, tcp=tcp)
            bound.setting = setting
        gone = [address for address in self._bound if address not in wanted]
        for address in gone:
            self._close(address)
        return gone

    def held(self) -> dict[Address, list[socket.socket]]:
        """All of them, for another process."""
        return {address: [bound.socket] for address, bound in self._bound.items()}

    def close(self, *, unlink: bool = True) -> None:
        """Stop listening everywhere. unlink: paths of unix sockets, which another process may have now."""
        for address in list(self._bound):
            self._close(address, unlink)

    def _close(self, address: Address, unlink: bool = True) -> None:
        bound = self._bound.pop(address)
        bound.acceptor.close()
        bound.socket.close()
        if unlink and self._is_owner:
            unlink_unix(address.text)

    def _on_problem(self, name: str, error: int) -> None:
        self._log.warning(f"listener {name}: accepting paused: {os.strerror(error)}")


def sockets_for(
    address: Address, setting: schema.Listener, count: int, inherited: Inherited | None
) -> list[socket.socket]:
    """One for each worker, inherited or new. BindError."""
    several = inherited(address) if inherited is not None else []
    if several:
        return listen_again(several, address.text, setting.backlog, setting.socket, count)
    return listen_together(address.text, setting.backlog, setting.socket, count)


def say_listening(log: Log, setting: schema.Listener, made: socket.socket) -> None:
    """Where, the kernel's choice of port included."""
    over = "+tls" if setting.tls is not None else ""
    log.info(f"listener {setting.name}: listening on {bound_address(made)} ({setting.protocol}{over})")


def discard(made: Sockets) -> None:
    """Sockets of a configuration that is not put in force."""
    for address, several in made.items():
        for one in several:
            one.close()
        unlink_unix(address.text)
