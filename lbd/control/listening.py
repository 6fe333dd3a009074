"""Listening sockets, kept as long as the configuration names their address: held, or accepted from.

A reload binds what is new first (`prepare`), which may fail and then changes nothing, and moves sockets that
stay to the listeners that have their addresses now (`adopt`). So nobody is refused a connection in between.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
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


class HeldSockets:
    """`count` listening sockets for each address, which this process owns; nothing is accepted here."""

    def __init__(self, log: Log, count: int = 1, inherited: Inherited | None = None) -> None:
        """inherited(address): sockets that exist already."""
        self._log = log
        self._count = count
        self._inherited = inherited
        self._held: dict[Address, tuple[schema.Listener, list[socket.socket]]] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {' '.join(address.text for address in self._held)}>"

    def prepare(self, config: schema.Config) -> Sockets:
        """Sockets for the addresses that have none yet. BindError, and then none is left open."""
        made: dict[Address, list[socket.socket]] = {}
        try:
            for address, setting in addresses_of(config).items():
                if address not in self._held:
                    made[address] = sockets_for(address, setting, self._count, self._inherited)
                else:
                    apply_options(self._held[address][1][0], address.text, setting.socket, dry_run=True)
        except BaseException:
            discard(made)
            raise
        return made

    def adopt(self, config: schema.Config, listeners: Mapping[str, Listener], made: Sockets) -> None:
        """These are the addresses from now on; `made` is what prepare gave for them."""
        wanted = addresses_of(config)
        for address, setting in wanted.items():
            if address not in self._held:
                self._held[address] = (setting, made[address])
                self._say(setting, made[address][0])
                continue
            before, several = self._held[address]
            if (before.socket, before.backlog) != (setting.socket, setting.backlog):
                for one in several:
                    apply_options(one, address.text, setting.socket)
                    one.listen(setting.backlog)
            self._held[address] = (setting, several)
        for address in [address for address in self._held if address not in wanted]:
            self._close(address)

    def of(self, worker: int) -> dict[Address, socket.socket]:
        """Those of one worker."""
        return {address: several[worker] for address, (_, several) in self._held.items()}

    def held(self) -> dict[Address, list[socket.socket]]:
        """All of them, for another process."""
        return {address: list(dict.fromkeys(several)) for address, (_, several) in self._held.items()}

    def close(self, *, unlink: bool = True) -> None:
        """Let go of all. unlink: the paths of unix sockets, which another process may have now."""
        for address in list(self._held):
            self._close(address, unlink)

    def _close(self, address: Address, unlink: bool = True) -> None:
        _, several = self._held.pop(address)
        for one in several:
            one.close()
        if unlink:
            unlink_unix(address.text)

    def _say(self, setting: schema.Listener, made: socket.socket) -> None:
        """Where, the kernel's choice of port included."""
        over = "+tls" if setting.tls is not None else ""
        where = bound_address(made)
        self._log.info(f"listener {setting.name}: listening on {where} ({setting.protocol}{over})")


class Listening(HeldSockets):
    """Those that a worker accepts from, one for each address."""

    def __init__(self, log: Log, *, is_owner: bool = True, inherited: Inherited | None = None) -> None:
        """is_owner: of the addresses: it tells the log of them and removes the paths of unix sockets."""
        super().__init__(log, 1, inherited)
        self._is_owner = is_owner
        self._acceptors: dict[Address, Acceptor] = {}

    def adopt(self, config: schema.Config, listeners: Mapping[str, Listener], made: Sockets) -> None:
        """Accept for these listeners from now on."""
        super().adopt(config, listeners, made)
        for address, (setting, (one,)) in self._held.items():
            listener, tcp = listeners[setting.name], setting.protocol == "tcp"
            if address in self._acceptors:
                self._acceptors[address].move(listener, tcp=tcp)
            else:  # with a descriptor of its own: ours is for options and names
                self._acceptors[address] = Acceptor(
                    listener, os.dup(one.fileno()), tcp=tcp, on_problem=self._on_problem
                )

    def _close(self, address: Address, unlink: bool = True) -> None:
        self._acceptors.pop(address).close()
        super()._close(address, unlink and self._is_owner)

    def _say(self, setting: schema.Listener, made: socket.socket) -> None:
        if self._is_owner:
            super()._say(setting, made)

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


def discard(made: Sockets) -> None:
    """Sockets of a configuration that is not put in force."""
    for address, several in made.items():
        for one in several:
            one.close()
        unlink_unix(address.text)
